"""A whole lake on real S3 servers: ingest, queries, doctor, sweep, rekey, damage, and kill -9 at steps of ingest."""

# ruff: noqa: DTZ001 - capture times are naive UTC
from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

import lake
from jobs.clear.rekey import Rekey
from jobs.sealed import sweep
from lake.cli.main import main
from lake.errors import BatchConflictError, IntegrityError, StoreRefusedError, UsageError
from lake.gateway.doctor import DAMAGE, OK, UNCHECKED, WARNING, Doctor, Finding
from lake.rules.layout import OWNER
from lake.sealed.catalog.upkeep import FileScope
from lake.sealed.objects.s3_calls import Patience
from tests import world as w
from tests.gateway.s3lakes import S3World, copy, make
from tests.servers.buckets import ENVIRONMENT, bucket
from tests.servers.s3_processes import SECRET, free_ports
from tests.world import child, finished, landed, row, same_rows, table

LANDING = """
offset = int(sys.argv[5])
rows = [w.row(f"EMP-NEW-{number}", w.datetime(2026, 9, 1), "focus", app="New-QX", n=number + offset)
        for number in range(3)]
with world.open(settings=w.small_settings(threads=1)) as lake:
    sys.addaudithook(hook)
    lake.ingest("events", w.table(rows), batch_id=f"killed-{offset}")
"""
KILLS = (
    ("ingest.object-written", 1),
    ("ingest.object-written", 3),
    ("ingest.objects-durable", 1),
    ("ingest.announced", 1),
    ("ingest.committed", 1),
    ("ingest.anchored", 1),
    ("ingest.audited", 1),
)
FEW = (("ingest.object-written", 2), ("ingest.announced", 1), ("ingest.committed", 1))
COMMITTED = {"ingest.committed", "ingest.anchored", "ingest.audited"}


@pytest.fixture(autouse=True, scope="module")
def credentials() -> Iterator[None]:
    """In the environment."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> S3World:
    """The known lake on SeaweedFS; only to be copied or read."""
    return make(tmp_path_factory.mktemp("template"), "seaweedfs")


@pytest.fixture
def world(template: S3World, tmp_path: Path) -> S3World:
    """A copy of the known lake."""
    return copy(template, tmp_path)


def sent(offset: int) -> list[dict[str, object]]:
    """What a child lands."""
    return [
        row(f"EMP-NEW-{number}", datetime(2026, 9, 1), "focus", app="New-QX", n=number + offset) for number in range(3)
    ]


def examined(world: S3World) -> list[Finding]:
    """What the doctor says."""
    with world.open() as opened:
        return list(Doctor(opened.home).examine_lake())


def states(world: S3World, state: str) -> list[str]:
    """Checks with that state."""
    return [finding.check for finding in examined(world) if finding.state == state]


def test_what_was_landed_is_read(template: S3World) -> None:
    """Every row once; nothing of the data lies in the lake's folder, and no plaintext or name in the bucket."""
    assert same_rows(template.rows(), landed(w.known_rows()))
    assert template.rows("SELECT count(*) AS n FROM events WHERE app = 'Mail-QX'") != [{"n": 0}]
    assert not (template.root / "data").exists()
    for key in template.objects_there():
        content = template.content(key)
        assert b"canary" not in content
        assert content[:4] == b"PARE"
        assert not any(employee in key for employee in w.EMPLOYEES)


def test_the_lake_on_a_server_that_can_do_less(tmp_path: Path) -> None:
    """On JuiceFS's gateway too: land, again, read, doctor, sweep, rekey; the doctor says what the server lacks."""
    world = make(tmp_path, "juicefs")
    assert same_rows(world.rows(), landed(w.known_rows()))
    with world.open() as opened:
        assert opened.ingest("events", table(w.known_rows()), batch_id="first-batch").status == "already landed"
        opened.home.objects.put("data/events/orphan.parquet", memoryview(b"orphan"))
        planned = sweep.plan(opened.home, timedelta(0))
        assert [orphan.key for orphan in planned.orphans] == ["data/events/orphan.parquet"]
        assert sweep.execute(opened.home, planned, opened.actor) == 1
        found = list(Doctor(opened.home).examine_lake())
    assert [finding for finding in found if finding.state in {DAMAGE, UNCHECKED}] == []
    lacking = [finding.message for finding in found if (finding.check, finding.state) == ("object store", WARNING)]
    assert [text for text in lacking if "conditional writes" in text]
    key = world.objects_there()[0]
    world.damage(key, world.content(key)[:-1])
    assert states(world, DAMAGE) == ["objects"]


def test_the_doctor_is_content_with_a_good_server(template: S3World) -> None:
    """Nothing is lacking, nothing is damaged, and nothing of the examination stays."""
    before = template.objects_there()
    found = examined(template)
    assert [finding for finding in found if finding.state in {DAMAGE, UNCHECKED}] == []
    said = [finding for finding in found if finding.check == "object store"]
    assert said
    assert all(finding.state == OK for finding in said)
    assert template.objects_there() == before


def test_a_batch_lands_once(world: S3World) -> None:
    """The same again is no second one, and the same name with other rows is refused."""
    with world.open() as opened:
        assert opened.ingest("events", table(sent(0)), batch_id="mine").status == "landed"
        before = world.objects_there()
        assert opened.ingest("events", table(sent(0)), batch_id="mine").status == "already landed"
        with pytest.raises(BatchConflictError):
            opened.ingest("events", table(sent(100)), batch_id="mine")
    assert world.objects_there() == before
    assert same_rows(world.rows(), landed([*w.known_rows(), *sent(0)]))


@pytest.mark.parametrize("kills", [FEW, pytest.param(KILLS, marks=pytest.mark.soak)], ids=["few", "all"])
def test_a_kill_leaves_a_batch_whole_or_absent(world: S3World, kills: tuple[tuple[str, int], ...]) -> None:
    """After kill -9 at each step the batch is there or not, as the commit says; sent again it is there once."""
    expected = w.known_rows()
    for turn, (step, times) in enumerate(kills):
        offset = 10 * turn
        status, _, err = finished(child(world, LANDING, step, times, offset))
        assert status == -signal.SIGKILL, err
        there = [*expected, *sent(offset)] if step in COMMITTED else expected
        assert same_rows(world.rows(), landed(there)), step
        with world.open() as opened:
            again = opened.ingest("events", table(sent(offset)), batch_id=f"killed-{offset}")
        assert again.status == ("already landed" if step in COMMITTED else "landed"), step
        expected = [*expected, *sent(offset)]
    assert same_rows(world.rows(), landed(expected))
    found = examined(world)
    assert [finding for finding in found if finding.state in {DAMAGE, UNCHECKED}] == []
    assert "stray files" in [finding.check for finding in found if finding.state == WARNING]
    with world.open() as opened:
        young, all_of_them = sweep.plan(opened.home), sweep.plan(opened.home, timedelta(0))
        orphans = len(all_of_them.orphans)
        assert sum(times for step, times in kills if step not in COMMITTED) <= orphans <= 3 * len(kills)
        assert (young.orphans, young.waiting) == ((), orphans)
        assert sweep.execute(opened.home, all_of_them, opened.actor) == orphans
    assert same_rows(world.rows(), landed(expected))
    assert "stray files" in states(world, OK)


def test_uploads_that_were_cut_off_are_swept(world: S3World) -> None:
    """Once they are old; they are counted in the record."""
    for number in range(2):
        key = f"{world.prefix}data/events/{number}.parquet"
        world.bucket.client.create_multipart_upload(Bucket=world.bucket.name, Key=key)
    with world.open() as opened:
        assert sweep.plan(opened.home).uploads == ()
        planned = sweep.plan(opened.home, timedelta(0))
        assert (planned.orphans, len(planned.uploads)) == ((), 2)
        sweep.execute(opened.home, planned, opened.actor)
        assert sweep.plan(opened.home, timedelta(0)).uploads == ()
    (entry,) = world.entries(sweep.SWEEP)
    assert (entry["files"], entry["uploads"]) == (0, 2)
    assert same_rows(world.rows(), landed(w.known_rows()))


def test_rekey_writes_every_file_anew(world: S3World) -> None:
    """The rows stay, all objects are others, and the old ones go with the sweep."""
    before = set(world.objects_there())
    with world.open() as opened:
        Rekey(opened.home, opened.actor).run(FileScope())
        assert same_rows(world.rows(), landed(w.known_rows()))
        planned = sweep.plan(opened.home, timedelta(0))
        assert {orphan.key for orphan in planned.orphans} == before
        sweep.execute(opened.home, planned, opened.actor)
    after = set(world.objects_there())
    assert len(after) == len(before)
    assert not after & before
    assert same_rows(world.rows(), landed(w.known_rows()))


def test_damage_is_noticed_by_queries_and_doctor(world: S3World) -> None:
    """A flipped byte, another length, another file's content, a missing object: no wrong row, and all are named."""
    keys = world.objects_there()
    good = {key: world.content(key) for key in keys[:7]}

    def flipped(at: int) -> Callable[[bytes], bytes]:
        return lambda content: content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]

    ways: list[Callable[[bytes], bytes] | None] = [
        *(flipped(at) for at in (1, 700, -2, -100)),
        lambda content: content[:-5],
        lambda _: good[keys[6]],
        None,
    ]

    def damage(key: str, way: Callable[[bytes], bytes] | None) -> None:
        if way is None:
            world.lose(key)
        else:
            world.damage(key, way(good[key]))

    with world.connect() as connection:
        for key, way in zip(keys[:6], ways[:5] + ways[6:], strict=True):
            damage(key, way)
            with pytest.raises(IntegrityError):
                connection.sql("SELECT * FROM events").arrow()
            world.damage(key, good[key])
        assert same_rows(connection.sql("SELECT * FROM events").arrow().to_pylist(), landed(w.known_rows()))
    for key, way in zip(keys, ways, strict=False):
        damage(key, way)
    damaged = [finding for finding in examined(world) if finding.state == DAMAGE]
    assert {finding.check for finding in damaged} == {"objects"}
    assert len(damaged) == 7


def test_a_store_that_refuses_is_told_by_the_doctor(world: S3World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong credentials are no damage: they are named, with what to do, and a query says that it can not."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrongcanary")
    found = examined(world)
    (line,) = [finding for finding in found if finding.check == "object store"]
    assert line.state == UNCHECKED
    assert "AWS_ACCESS_KEY_ID" in line.message
    assert not [finding for finding in found if finding.state == DAMAGE]
    with pytest.raises(StoreRefusedError) as caught:
        world.rows()
    assert "wrongcanary" not in str(caught.value)


def test_the_command_makes_a_lake_on_a_store(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """``lake init --store``; where the place is taken, or the server is not there, nothing is made."""
    place = bucket("seaweedfs")

    def init(name: str, *options: str) -> int:
        paths = ("--lake", str(tmp_path / name), "--key-file", str(tmp_path / f"{name}.key"))
        return main(["init", "--single-approver", *paths, *options])

    assert init("one", "--store", f"{place.url}?region=eu-west-1", "--endpoint", place.endpoint) == 0
    (claimed,) = place.names()
    assert OWNER in claimed
    with lake.open(tmp_path / "one", key_file=tmp_path / "one.key") as opened:
        opened.add_contract(w.CONTRACT)
        opened.ingest("events", table(sent(0)))
        assert opened.home.config.store == f"{place.url}?region=eu-west-1"
    assert len(place.names()) == 1 + 3
    (port,) = free_ports(1)
    refused = {
        "taken": ("--store", place.url, "--endpoint", place.endpoint),
        "password": ("--store", place.url, "--endpoint", f"http://lake:{SECRET}@127.0.0.1"),
        "alone": ("--endpoint", place.endpoint),
    }
    for name, options in refused.items():
        assert init(name, *options) == UsageError.exit_code
        assert not (tmp_path / name).exists()
        assert not (tmp_path / f"{name}.key").exists()
    assert SECRET not in "".join(capsys.readouterr())
    monkeypatch.setattr("lake.sealed.objects.s3_examination.PATIENCE", Patience(deadline=0.0))
    assert init("away", "--store", place.url, "--endpoint", f"http://127.0.0.1:{port}") == 5
    assert not (tmp_path / "away").exists()
    assert "no connection" in capsys.readouterr().err
