"""What S3 has beside other stores: versions, locks, uploads in parts, answers that are lost, credentials, refusals."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lake.errors import IntegrityError, LakeError, ObjectRetainedError, StoreRefusedError, UnavailableError, UsageError
from lake.sealed.objects.s3 import S3Store
from lake.sealed.objects.s3_calls import Patience
from lake.sealed.objects.s3_examination import claim, examine, release
from lake.sealed.objects.s3_place import S3Place
from tests import forking
from tests.servers.buckets import QUICK, Bucket, bucket
from tests.servers.fault_proxy import FaultProxy, answers, cuts_download, cuts_upload, loses_answer, shortens
from tests.servers.s3_processes import ADMIN, SECRET, free_ports

KEY = "data/events/one.parquet"
MIB = 1024 * 1024
AT_ONCE = Patience(connect=2.0, read=5.0, deadline=0.0)
SIZES = {"large": 6 * MIB, "part": 5 * MIB}


@pytest.fixture(scope="module")
def seaweed() -> Bucket:
    """One bucket for tests that use names of their own."""
    return bucket("seaweedfs")


@pytest.fixture
def proxied(request: pytest.FixtureRequest) -> Iterator[tuple[FaultProxy, Bucket]]:
    """A bucket behind a proxy, and the same bucket as it is."""
    direct = bucket("seaweedfs")
    proxy = FaultProxy(direct.endpoint)
    yield proxy, direct
    proxy.close()


def through(proxy: FaultProxy, direct: Bucket, patience: Patience = QUICK) -> S3Store:
    """A store that talks to the proxy; large objects are those of 6 MiB."""
    return S3Store(S3Place.parse(direct.url, proxy.endpoint), patience, **SIZES)


def test_a_put_whose_answer_was_lost_has_written_once(proxied: tuple[FaultProxy, Bucket]) -> None:
    """The second attempt finds the first one's object, and that is the one that was to be written."""
    proxy, direct = proxied
    proxy.on(loses_answer, method="PUT", times=1)
    through(proxy, direct).put(KEY, memoryview(b"content"))
    assert direct.store().read(KEY) == b"content"
    assert proxy.count("PUT") == 2


def test_an_upload_whose_end_was_lost_has_written_once(proxied: tuple[FaultProxy, Bucket]) -> None:
    """The upload is gone when it is finished again, and the object is there."""
    proxy, direct = proxied
    proxy.on(loses_answer, method="POST", path="uploadId=", times=1)
    content = os.urandom(7 * MIB)
    through(proxy, direct).put(KEY, memoryview(content))
    assert direct.store().read(KEY) == content
    assert list(direct.store().unfinished()) == []


def test_a_name_that_another_wrote_is_refused_after_a_lost_answer(proxied: tuple[FaultProxy, Bucket]) -> None:
    """Same length, other content: it is not ours."""
    proxy, direct = proxied
    direct.store().put(KEY, memoryview(b"theirs!"))
    with pytest.raises(UnavailableError, match="another object"):
        through(proxy, direct).put(KEY, memoryview(b"content"))
    assert direct.store().read(KEY) == b"theirs!"


@pytest.mark.parametrize(
    "fault",
    [answers("SlowDown"), answers("InternalError"), answers("SlowDown", after_acting=True), cuts_upload(3)],
    ids=["slow down", "internal error", "done and denied", "cut in the middle"],
)
def test_a_put_gets_through_what_passes(proxied: tuple[FaultProxy, Bucket], fault: Callable[..., None]) -> None:
    """Two troubles in a row, and the object is there."""
    proxy, direct = proxied
    proxy.on(fault, method="PUT", times=2)
    through(proxy, direct).put(KEY, memoryview(b"content"))
    assert direct.store().read(KEY) == b"content"


@pytest.mark.parametrize(
    "fault",
    [answers("SlowDown"), cuts_download(2), loses_answer],
    ids=["slow down", "cut in the middle", "answer lost"],
)
def test_a_read_gets_through_what_passes(proxied: tuple[FaultProxy, Bucket], fault: Callable[..., None]) -> None:
    """Whole and in part."""
    proxy, direct = proxied
    direct.store().put(KEY, memoryview(b"0123456789"))
    for read, expected in ((lambda s: s.read(KEY), b"0123456789"), (lambda s: s.part(KEY, 2, 5).content, b"23456")):
        proxy.on(fault, method="GET", times=1)
        assert read(through(proxy, direct)) == expected


def test_a_part_that_came_short_is_not_passed_off_as_whole(proxied: tuple[FaultProxy, Bucket]) -> None:
    """Fewer bytes in an answer that agrees with itself: the reader sees that they are fewer."""
    proxy, direct = proxied
    direct.store().put(KEY, memoryview(b"0123456789"))
    proxy.on(shortens(2), method="GET", times=1)
    assert through(proxy, direct).part(KEY, 0, 10).content == b"01234567"


def test_what_does_not_pass_ends_in_time_and_says_so(proxied: tuple[FaultProxy, Bucket]) -> None:
    """A busy store is asked until the deadline, with pauses that grow, and the error says that it may pass."""
    proxy, direct = proxied
    proxy.on(answers("SlowDown"))
    patience = Patience(deadline=0.5, first_pause=0.01, longest_pause=0.05)
    with pytest.raises(UnavailableError, match=r"too busy.*may succeed later"):
        through(proxy, direct, patience).put(KEY, memoryview(b"content"))
    assert 5 < proxy.count("PUT") < 200


def test_a_store_that_is_not_there_is_unavailable() -> None:
    """Nobody listens."""
    (port,) = free_ports(1)
    store = S3Store(S3Place.parse("s3://bucket/lake", f"http://127.0.0.1:{port}"), AT_ONCE)
    for act in (lambda: store.read(KEY), lambda: store.put(KEY, memoryview(b"x")), lambda: list(store.list())):
        with pytest.raises(UnavailableError, match="no connection"):
            act()


def test_a_server_that_says_nothing_is_given_up() -> None:
    """It accepts the connection, and no answer comes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place = S3Place.parse("s3://bucket/lake", f"http://127.0.0.1:{listener.getsockname()[1]}")
        store = S3Store(place, Patience(connect=0.3, read=0.3, deadline=0.0))
        with pytest.raises(UnavailableError, match="no answer in time"):
            store.read(KEY)


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        ("AccessDenied", StoreRefusedError, "give this identity the right"),
        ("InvalidAccessKeyId", StoreRefusedError, "AWS_ACCESS_KEY_ID"),
        ("RequestTimeTooSkewed", StoreRefusedError, "NTP"),
        ("NoSuchBucket", StoreRefusedError, "make the bucket"),
        ("XMinioStorageFull", UnavailableError, "make room"),
        ("ServiceUnavailable", UnavailableError, "may succeed later"),
    ],
)
def test_every_refusal_says_what_to_do(
    proxied: tuple[FaultProxy, Bucket], code: str, kind: type[LakeError], words: str
) -> None:
    """Of a put, a read and a list; a refusal is not repeated, and the server's own words do not get out."""
    proxy, direct = proxied
    proxy.on(answers(code))
    store = through(proxy, direct, QUICK if kind is StoreRefusedError or "Full" in code else AT_ONCE)
    for act in (lambda: store.put(KEY, memoryview(b"x")), lambda: store.read(KEY), lambda: list(store.list())):
        with pytest.raises(kind, match=words) as caught:
            act()
        assert "made up" not in str(caught.value)
    assert len(proxy.seen) == 3


def test_wrong_credentials_are_a_refusal_that_shows_none(
    seaweed: Bucket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the error nor a log at its most talkative has a secret or a session token."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrongcanarysecret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "tokencanary")
    with caplog.at_level(logging.DEBUG), pytest.raises(StoreRefusedError, match="credentials") as caught:
        seaweed.store().put(KEY, memoryview(b"x"))
    for text in (str(caught.value), repr(caught.value), caplog.text):
        assert "wrongcanarysecret" not in text
        assert "tokencanary" not in text


def test_no_credentials_are_a_refusal(seaweed: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says where they are looked for."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(StoreRefusedError, match="AWS_SHARED_CREDENTIALS_FILE"):
        seaweed.store().read(KEY)


def test_credentials_come_from_a_file(seaweed: Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As the provisioning of a server writes it."""
    file = tmp_path / "ingest.credentials"
    file.write_text(f"[default]\naws_access_key_id = lakeaccess\naws_secret_access_key = {SECRET}\n")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    store = seaweed.store()
    store.put("data/file", memoryview(b"x"))
    assert store.read("data/file") == b"x"


def test_credentials_are_renewed_while_a_store_is_open(
    seaweed: Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A process that hands out credentials for a time is asked again when they run out, without a new store."""
    asked = tmp_path / "asked"
    soon = (datetime.now(UTC) + timedelta(seconds=30)).isoformat()
    program = tmp_path / "hand-out"
    given = {"Version": 1, "AccessKeyId": ADMIN, "SecretAccessKey": SECRET, "Expiration": soon}
    program.write_text(f"#!/bin/sh\necho again >> {asked}\necho '{json.dumps(given)}'\n")
    program.chmod(0o700)
    config = tmp_path / "config"
    config.write_text(f"[default]\ncredential_process = {program}\n")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    store = seaweed.store()
    store.put("data/renewed", memoryview(b"x"))
    before = len(asked.read_text().splitlines())
    assert store.part("data/renewed", 0, 1).content == b"x"
    assert len(asked.read_text().splitlines()) > before


def test_every_version_of_a_deleted_object_goes() -> None:
    """On a bucket with versions nothing of it is left, markers included."""
    place = bucket("seaweedfs", versions=True)
    full = f"{place.place.root}{KEY}"
    store = place.store(page=2)
    store.put(KEY, memoryview(b"one"))
    for content in (b"two", b"three"):
        place.client.put_object(Bucket=place.name, Key=full, Body=content)
    place.client.delete_object(Bucket=place.name, Key=full)
    assert store.length(KEY) is None
    store.delete(KEY)
    left = place.client.list_object_versions(Bucket=place.name, Prefix=full)
    assert [*left.get("Versions", ()), *left.get("DeleteMarkers", ())] == []


def test_an_object_that_the_store_keeps_is_said_to_be_kept() -> None:
    """By a legal hold, or until a date; it is there afterwards."""
    place = bucket("seaweedfs", locks=True)
    store = place.store()
    held, locked = f"{KEY}-held", f"{KEY}-locked"
    for name in (held, locked):
        store.put(name, memoryview(b"kept"))
    root = place.place.root
    place.client.put_object_legal_hold(Bucket=place.name, Key=root + held, LegalHold={"Status": "ON"})
    until = datetime.now(UTC) + timedelta(days=2)
    retention = {"Mode": "COMPLIANCE", "RetainUntilDate": until}
    place.client.put_object_retention(Bucket=place.name, Key=root + locked, Retention=retention)
    for name, why in ((held, "legal hold"), (locked, f"locked until {until:%Y-%m-%d}")):
        with pytest.raises(ObjectRetainedError, match=why):
            store.delete(name)
        assert store.read(name) == b"kept"


@pytest.mark.parametrize("kind", ["seaweedfs", "juicefs"])
def test_an_upload_that_was_cut_off_is_found_and_given_up(kind: str) -> None:
    """It is listed with its age, page by page, until it is given up; giving up twice is no error."""
    place = bucket(kind)
    store = place.store(page=1)
    for number in range(3):
        place.client.create_multipart_upload(Bucket=place.name, Key=f"{place.place.root}{KEY}-{number}")
    found = list(store.unfinished())
    assert sorted(upload.key for upload in found) == [f"{KEY}-{number}" for number in range(3)]
    assert all(0 <= upload.age < 60 for upload in found)
    for upload in found:
        store.abort(upload)
        store.abort(upload)
    assert list(store.unfinished()) == []
    assert list(store.list()) == []


def test_an_upload_that_fails_is_given_up_at_once(proxied: tuple[FaultProxy, Bucket]) -> None:
    """A part that the store refuses leaves neither an object nor an upload."""
    proxy, direct = proxied
    proxy.on(answers("AccessDenied"), method="PUT", path="partNumber=2")
    with pytest.raises(StoreRefusedError):
        through(proxy, direct).put(KEY, memoryview(bytes(7 * MIB)))
    assert list(direct.store().unfinished()) == []
    assert direct.names() == []


@pytest.mark.parametrize("step", ["store.upload-begun", "store.part-written", "store.upload-completed"])
def test_a_kill_in_an_upload_leaves_an_object_whole_or_absent(step: str) -> None:
    """What is left otherwise is an upload, which is found and given up; written again it is there."""
    place = bucket("seaweedfs")
    source = """
import os, signal, sys
from lake.sealed.objects.s3 import S3Store
from lake.sealed.objects.s3_place import S3Place

def hook(event, arguments):
    if event == "lake.step" and arguments[0] == sys.argv[3]:
        os.kill(os.getpid(), signal.SIGKILL)

store = S3Store(S3Place.parse(sys.argv[1], sys.argv[2]), large=6 << 20, part=5 << 20)
sys.addaudithook(hook)
store.put("data/events/one.parquet", memoryview(bytes(7 << 20)))
"""
    ended = forking.run(source, place.url, place.endpoint, step)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    store = place.store(**SIZES)
    whole = step == "store.upload-completed"
    assert [found.length for found in store.list()] == ([7 * MIB] if whole else [])
    uploads = list(store.unfinished())
    assert [upload.key for upload in uploads] == ([] if whole else [KEY])
    for upload in uploads:
        store.abort(upload)
    store.put(KEY, memoryview(bytes(7 * MIB)))
    assert store.read(KEY) == bytes(7 * MIB)
    assert list(store.unfinished()) == []


def test_content_that_was_changed_on_its_way_is_refused_by_the_server(proxied: tuple[FaultProxy, Bucket]) -> None:
    """The checksum travels with it; what arrives otherwise is not stored."""
    proxy, direct = proxied
    store = through(proxy, direct)
    store.put(KEY, memoryview(b"content"))
    (put,) = [seen for seen in proxy.seen if seen.method == "PUT"]
    assert put.header("x-amz-checksum-sha256") == "7XACtDnprIRfIjV9giusFERzD722AW0+yUMil7nsn3M="
    assert put.header("if-none-match") == "*"
    assert examine(direct.place).lacking == []


def test_examination_says_what_a_server_lacks_and_leaves_nothing() -> None:
    """The gateway of JuiceFS ignores conditional writes and checksums, and keeps no versions."""
    weak, strong = bucket("juicefs"), bucket("seaweedfs", versions=True)
    found = examine(weak.place)
    assert [line for line in found.lacking if "conditional" in line]
    assert [line for line in found.lacking if "checksums" in line]
    assert [line for line in found.good if "keeps no versions" in line]
    found = examine(strong.place)
    assert found.lacking == []
    assert [line for line in found.good if "keeps versions" in line]
    assert weak.names() == strong.names() == []
    assert "Versions" not in strong.client.list_object_versions(Bucket=strong.name)


def test_a_clock_that_is_wrong_is_said(proxied: tuple[FaultProxy, Bucket]) -> None:
    """Before it is so wrong that requests are refused."""
    proxy, direct = proxied

    def late(exchange: object) -> None:
        answer = exchange.forward()  # type: ignore[attr-defined]
        then = datetime.now(UTC) - timedelta(minutes=5)
        headers = [(name, value) for name, value in answer.headers if name.lower() != "date"]
        answer.headers = [*headers, ("Date", f"{then:%a, %d %b %Y %H:%M:%S} GMT")]
        exchange.reply(answer)  # type: ignore[attr-defined]

    proxy.on(late, method="PUT")
    (line,) = examine(S3Place.parse(direct.url, proxy.endpoint)).lacking
    assert "differ by 300 s" in line or "differ by 301 s" in line or "differ by 299 s" in line


def test_a_place_that_is_used_already_is_refused() -> None:
    """Two lakes in one place would take each other's objects for orphans."""
    place = bucket("seaweedfs")
    claim(place.place, "one")
    claim(place.place, "one")  # what was killed is begun again
    with pytest.raises(UsageError, match="prefix of its own"):
        claim(place.place, "two")
    assert place.names() == [f"{place.place.root}data/owner-one"]
    assert list(place.store().list()) == []  # no orphan
    release(place.place, "one")
    claim(place.place, "two")
    place.store().put(KEY, memoryview(b"x"))
    with pytest.raises(UsageError, match="prefix of its own"):
        claim(place.place, "two")
    assert len(place.names()) == 2


@pytest.mark.parametrize("kind", ["seaweedfs", "juicefs"])
def test_of_two_who_take_a_place_at_once_one_at_most_gets_it(kind: str) -> None:
    """Whatever the server makes of conditions; who is refused leaves nothing."""
    place = bucket(kind)

    def take(owner: str) -> bool:
        try:
            claim(place.place, owner)
        except UsageError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        got = [owner for owner, taken in zip("abcd", pool.map(take, "abcd"), strict=True) if taken]
    assert len(got) <= 1
    assert [name.rpartition("-")[2] for name in place.names()] == got


@pytest.mark.parametrize(
    ("store", "endpoint"),
    [
        ("s3://Bucket/x", ""),
        ("s3://bucket/../x", ""),
        ("s3://key:secret@bucket/x", ""),
        ("file:///tmp", ""),
        ("s3://bucket/x?region=", ""),
        ("s3://bucket/x?region=eu&key=1", ""),
        ("s3://bucket/x", "http://key:secret@host:1"),
        ("s3://bucket/x", "ftp://host"),
        ("s3://bucket/x", "http://host:port"),
        ("s3://bucket/x", "http://host/path"),
        ("s3://bucket/x", "host:9000"),
    ],
)
def test_what_is_no_place_is_refused(store: str, endpoint: str) -> None:
    """A URL with a secret is none, and the secret is not repeated."""
    with pytest.raises(UsageError) as caught:
        S3Place.parse(store, endpoint)
    assert "secret" not in str(caught.value)


def test_a_place_has_a_region_and_a_root() -> None:
    """Of the URL, or of the environment."""
    place = S3Place.parse("s3://some.bucket/a/b/?region=eu-west-1", "https://host:9000/")
    assert (place.bucket, place.root, place.region) == ("some.bucket", "a/b/", "eu-west-1")
    assert (place.url, place.endpoint) == ("s3://some.bucket/a/b", "https://host:9000")
    assert S3Place.parse("s3://bucket").root == ""


def test_a_location_shows_no_secret(seaweed: Bucket) -> None:
    """It says where, and reads; nothing of the credentials is in it."""
    location = seaweed.store().location()
    assert SECRET not in repr(location)
    assert "lakeaccess" not in repr(location)
    assert (location.kind, location.root) == ("s3", seaweed.url)


def test_a_missing_object_is_damage(seaweed: Bucket) -> None:
    """And not a refusal."""
    with pytest.raises(IntegrityError, match="missing"):
        seaweed.store().read("data/not-there")
