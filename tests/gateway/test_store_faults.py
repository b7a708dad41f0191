"""The object store in trouble, during ingest, queries, check-ups and sweeps: nothing lost, doubled or half visible."""

# ruff: noqa: DTZ001 - capture times are naive UTC
from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest

from jobs.sealed import sweep
from lake.errors import BatchConflictError, IntegrityError, LakeError, StoreRefusedError, UnavailableError
from lake.gateway.doctor import DAMAGE, UNCHECKED, WARNING
from lake.sealed.objects.s3 import S3Store
from lake.sealed.objects.s3_place import S3Place
from tests.gateway import storelakes
from tests.gateway.storelakes import HASTY, StoreWorld
from tests.servers import buckets
from tests.servers import fault_proxy as fp
from tests.servers.fault_proxy import Fault, FaultProxy
from tests.servers.s3_processes import ADMIN, SECRET
from tests.world import known_rows, row, same_rows, table
from tests.world import landed as as_landed

DATA = "/data/"
_numbers = itertools.count()
_stuck = threading.Event()

Trouble = Callable[[FaultProxy], None]
Batch = tuple[str, list[dict[str, Any]]]
KNOWN = as_landed(known_rows()[: storelakes.KNOWN])


def with_fault(fault: Fault) -> Trouble:
    """Every request about data meets it, but the first."""
    return lambda proxy: proxy.on(fp.after(1, fault), path=DATA)


TEMPORARY: dict[str, Trouble] = {
    "down": lambda proxy: proxy.down(),
    "silent": with_fault(fp.hangs(_stuck)),
    "500": with_fault(fp.answers("InternalError")),
    "503": with_fault(fp.answers("ServiceUnavailable")),
    "slow down": with_fault(fp.answers("SlowDown")),
    "full": with_fault(fp.answers("XMinioStorageFull")),
    "500 after acting": with_fault(fp.answers("InternalError", after_acting=True)),
    "answers lost": with_fault(fp.loses_answer),
    "requests lost": with_fault(fp.loses_request),
    "cut up": with_fault(fp.cuts_upload(700)),
}
REFUSING: dict[str, Trouble] = {
    "denied": with_fault(fp.answers("AccessDenied")),
    "credentials": with_fault(fp.answers("InvalidAccessKeyId")),
    "clock": with_fault(fp.answers("RequestTimeTooSkewed")),
    "no bucket": with_fault(fp.answers("NoSuchBucket")),
}
QUERIES = {name: TEMPORARY[name] for name in ("down", "silent", "500", "slow down", "answers lost")} | {
    "cut down": with_fault(fp.cuts_download(700)),
    "denied": REFUSING["denied"],
    "clock": REFUSING["clock"],
}
PASSING: dict[str, Fault] = {
    "500": fp.answers("InternalError"),
    "slow down": fp.answers("SlowDown"),
    "500 after acting": fp.answers("InternalError", after_acting=True),
    "answer lost": fp.loses_answer,
    "request lost": fp.loses_request,
    "late": fp.waits(0.1),
}
PASSING_UP = PASSING | {"cut up": fp.cuts_upload(700)}
PASSING_DOWN = {name: PASSING[name] for name in ("500", "answer lost", "late")} | {"cut down": fp.cuts_download(700)}


@pytest.fixture(scope="module", name="shared")
def _shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreWorld]:
    """One lake for the tests of this file: each adds a batch of its own."""
    bucket = buckets.bucket("seaweedfs")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in buckets.ENVIRONMENT.items():
            patch.setenv(name, value)
        with storelakes.made(tmp_path_factory.mktemp("faults"), bucket) as world:
            yield world


@pytest.fixture
def world(shared: StoreWorld) -> Iterator[StoreWorld]:
    """The lake with no trouble at first, and none afterwards."""
    yield shared
    _mend(shared.proxy)


def _mend(proxy: FaultProxy) -> None:
    proxy.mend()
    proxy.down()
    proxy.up()
    _stuck.set()
    _stuck.clear()


def fresh() -> Batch:
    """A batch that nobody has sent: its id, and rows that land in three files."""
    number = next(_numbers)
    when = datetime(2026, 9, 1) + timedelta(minutes=number)
    rows = [row(f"EMP-STORE-{person}", when, "focus", app="Store-QX", n=number % 500) for person in range(3)]
    return f"store-{number}", rows


def known(world: StoreWorld, *, impatient: bool = False) -> list[dict[str, Any]]:
    """The rows that the lake began with, all of them or an error."""
    with world.connect(impatient=impatient) as connection:
        return list(connection.sql("SELECT * FROM events WHERE ts < TIMESTAMP '2026-08-01'").arrow().to_pylist())


def send(world: StoreWorld, batch: Batch, *, impatient: bool = False) -> str:
    """One attempt at a batch; what became of it."""
    with world.open(impatient=impatient) as lake:
        return str(lake.ingest("events", table(batch[1]), batch_id=batch[0]).status)


def found(world: StoreWorld, batch: Batch) -> list[dict[str, Any]]:
    """The rows of the batch that are there: its time is its own."""
    return world.rows(f"SELECT * FROM events WHERE ts = TIMESTAMP '{batch[1][0]['ts']}'")  # noqa: S608 - a time


def there_once(world: StoreWorld, batch: Batch) -> bool:
    """Each row of the batch, once, and what was there before the tests."""
    return same_rows(found(world, batch), as_landed(batch[1])) and same_rows(known(world), KNOWN)


@pytest.mark.parametrize("name", [*TEMPORARY, *REFUSING])
def test_a_batch_that_could_not_be_stored_is_absent_and_lands_once_later(world: StoreWorld, name: str) -> None:
    """The sender is told what kind of trouble it is; nothing of the batch shows; sent again it is there once."""
    batch = fresh()
    (TEMPORARY | REFUSING)[name](world.proxy)
    with pytest.raises(LakeError) as caught:
        send(world, batch, impatient=True)
    assert isinstance(caught.value, UnavailableError if name in TEMPORARY else StoreRefusedError)
    assert caught.value.exit_code == (5 if name in TEMPORARY else 1)
    assert caught.value.hint
    _mend(world.proxy)
    assert found(world, batch) == []
    assert send(world, batch) == "landed"
    assert send(world, batch) == "already landed"
    assert there_once(world, batch)
    assert world.named() <= world.stored()


@pytest.mark.parametrize("name", PASSING_UP)
def test_trouble_that_passes_is_not_noticed_by_a_sender(world: StoreWorld, name: str) -> None:
    """Each request meets it once: the batch lands, and no object is there twice."""
    batch, strays = fresh(), world.stored() - world.named()
    world.proxy.on(PASSING_UP[name], method="PUT", path=DATA, times=3)
    assert send(world, batch) == "landed"
    assert there_once(world, batch)
    assert world.stored() - world.named() == strays


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_gives_every_row_or_an_error(world: StoreWorld, name: str) -> None:
    """Never a part of the rows; when the trouble is over, all of them."""
    QUERIES[name](world.proxy)
    with pytest.raises(StoreRefusedError if name in REFUSING else UnavailableError):
        known(world, impatient=True)
    _mend(world.proxy)
    assert same_rows(known(world), KNOWN)


@pytest.mark.parametrize("name", PASSING_DOWN)
def test_a_query_outlives_trouble_that_passes(world: StoreWorld, name: str) -> None:
    """Requests are repeated, a read that broke off is read again, and the rows are the same."""
    world.proxy.on(PASSING_DOWN[name], method="GET", path=DATA, times=6)
    assert same_rows(known(world), KNOWN)


def test_an_object_that_lacks_bytes_is_damage_and_not_fewer_rows(world: StoreWorld) -> None:
    """A store that gives less than was stored, and says that this is all, is caught by the length in the catalog."""
    world.proxy.on(fp.shortens(3), method="GET", path=DATA)
    with pytest.raises(IntegrityError, match="another length"):
        known(world, impatient=True)


@pytest.mark.parametrize("name", ["down", "500", *REFUSING])
def test_the_doctor_says_what_is_wrong_with_the_store(world: StoreWorld, name: str) -> None:
    """It is not damage; objects and strays are unchecked, with what to do; the rest is still examined."""
    troubles: dict[str, Trouble] = {
        "down": TEMPORARY["down"],
        "500": lambda proxy: proxy.on(fp.answers("InternalError")),
        "denied": lambda proxy: proxy.on(fp.answers("AccessDenied")),
        "credentials": lambda proxy: proxy.on(fp.answers("InvalidAccessKeyId")),
        "clock": lambda proxy: proxy.on(fp.answers("RequestTimeTooSkewed")),
        "no bucket": lambda proxy: proxy.on(fp.answers("NoSuchBucket")),
    }
    troubles[name](world.proxy)
    found = world.findings(impatient=True)
    assert DAMAGE not in found
    assert {text.partition(":")[0] for text in found[UNCHECKED]} == {"objects", "stray files"}
    assert all("object store" in text and "(" in text for text in found[UNCHECKED]), found[UNCHECKED]
    assert any(text.startswith("catalog") for text in found["ok"])
    _mend(world.proxy)
    healthy = world.findings()
    assert DAMAGE not in healthy
    assert UNCHECKED not in healthy


def test_wrong_credentials_are_refused_by_the_server_itself(world: StoreWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the proxy's help: a wrong secret and an unknown key, and no word of either in the error."""
    batch = fresh()
    for key, secret in ((ADMIN, "wrongsecret"), ("nobody", SECRET)):
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
        store = S3Store(world.store.place, HASTY)
        with world.open() as lake:
            lake.home.objects = store
            with pytest.raises(StoreRefusedError) as caught:
                lake.ingest("events", table(batch[1]), batch_id=batch[0])
        store.close()
        assert secret not in str(caught.value)
    assert send(world, batch) == "landed"


def test_a_missing_bucket_is_named_as_what_it_is(world: StoreWorld) -> None:
    """A put finds no bucket where the configuration says one is."""
    store = S3Store(S3Place.parse("s3://never-made-here/x", world.proxy.endpoint), HASTY)
    # SeaweedFS makes a bucket for an administrator who puts into none.
    world.proxy.on(fp.answers("NoSuchBucket"), path="never-made-here")
    with world.open() as lake:
        lake.home.objects = store
        with pytest.raises(StoreRefusedError, match="no such bucket"):
            lake.ingest("events", table(fresh()[1]), batch_id="x")
    store.close()


def orphan(world: StoreWorld) -> str:
    """An object that no catalog row names."""
    key = f"data/events/subject={'a' * 26}/dss=1/month=2026-09/{next(_numbers):032x}.parquet"
    world.store.put(key, memoryview(b"PARE rest of a batch"))
    return key


def swept(world: StoreWorld, *, impatient: bool = False) -> int:
    """Everything old enough, which is everything."""
    with world.open(impatient=impatient) as lake:
        return sweep.execute(lake.home, sweep.plan(lake.home, timedelta()), lake.actor)


def test_a_list_that_is_behind_hides_orphans_and_endangers_nothing(world: StoreWorld) -> None:
    """What the list does not show yet stays until it does; what the catalog names stays in any case."""
    swept(world)
    old, new = orphan(world), orphan(world)
    batch = fresh()
    assert send(world, batch) == "landed"
    fresh_keys = world.named()
    world.proxy.on(fp.hides([new, *list(fresh_keys)[:5]]), method="GET", path="list-type=2")
    assert swept(world) == 1
    world.proxy.mend()
    assert old not in world.stored()
    assert new in world.stored()
    assert swept(world) == 1
    assert world.stored() == world.named()
    assert there_once(world, batch)


def test_a_sweep_that_was_cut_off_goes_on(world: StoreWorld) -> None:
    """The store fails at the second removal: an error to try again after; then all orphans go and nothing else."""
    swept(world)
    for _ in range(3):
        orphan(world)
    named = world.named()
    world.proxy.on(fp.after(1, fp.answers("SlowDown")), method="DELETE")
    with pytest.raises(UnavailableError):
        swept(world, impatient=True)
    world.proxy.mend()
    assert len(world.stored() - named) == 2
    assert swept(world) == 2
    assert world.stored() == named


def test_removals_whose_answers_are_lost_are_done_once(world: StoreWorld) -> None:
    """Removing what is gone is no error."""
    swept(world)
    orphan(world)
    world.proxy.on(fp.loses_answer, method="DELETE", times=1)
    assert swept(world) == 1
    assert world.stored() == world.named()


def test_an_identity_that_may_only_put_leaves_orphans_and_no_other_error(world: StoreWorld) -> None:
    """What ingest cannot remove after a failure, the sweep removes; the sender sees the failure itself."""
    swept(world)
    batch = fresh()
    for method in ("DELETE", "GET", "HEAD"):
        world.proxy.on(fp.answers("AccessDenied"), method=method)
    world.proxy.on(fp.after(1, fp.answers("SlowDown")), method="PUT", path=DATA)
    with pytest.raises(UnavailableError, match="busy"):
        send(world, batch, impatient=True)
    world.proxy.mend()
    for method in ("DELETE", "GET", "HEAD"):
        world.proxy.on(fp.answers("AccessDenied"), method=method)
    assert send(world, batch) == "landed"
    world.proxy.mend()
    assert world.findings()[WARNING]
    assert swept(world) >= 1
    assert world.stored() == world.named()
    assert there_once(world, batch)


_meeting: list[threading.Barrier] = []


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "lake.step" and _meeting and arguments[0] == "ingest.announced":
        _meeting[0].wait(60)


sys.addaudithook(_hook)


@contextmanager
def together(parties: int) -> Iterator[None]:
    """All have their objects in the store before one of them commits."""
    _meeting[:] = [threading.Barrier(parties)]
    yield
    _meeting.clear()


@pytest.mark.parametrize("same", [True, False], ids=["same content", "other content"])
def test_two_with_one_batch_id_at_once(world: StoreWorld, same: bool) -> None:
    """One lands. The other finds it landed, or is told of the conflict; of its objects nothing stays."""
    swept(world)
    batch = fresh()
    other = batch if same else (batch[0], [one | {"n": 499} for one in batch[1]])
    outcomes: list[str | BaseException] = []

    def one(sent: Batch) -> None:
        try:
            outcomes.append(send(world, sent))
        except LakeError as error:
            outcomes.append(error)

    with together(2):
        threads = [threading.Thread(target=one, args=(sent,)) for sent in (batch, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert outcomes.count("landed") == 1
    (rest,) = [outcome for outcome in outcomes if outcome != "landed"]
    assert rest == "already landed" if same else isinstance(rest, BatchConflictError)
    assert there_once(world, batch) or (not same and there_once(world, other))
    assert world.stored() == world.named()
