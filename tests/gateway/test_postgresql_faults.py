"""Commits over PostgreSQL that are cut, lost or late: a batch is there once or not at all, and its objects with it."""

# ruff: noqa: DTZ001 - capture times are naive UTC
from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from jobs.clear.rekey import Rekey
from lake.api import Lake
from lake.errors import LeaseHeldError, UnavailableError
from lake.gateway.doctor import DAMAGE, WARNING, Doctor
from lake.sealed.catalog.catalog import Catalog
from lake.sealed.catalog.leases import Leases
from lake.sealed.catalog.upkeep import FileScope, Upkeep
from tests import world as w
from tests.gateway import pglakes
from tests.servers import cutting
from tests.servers.postgres import PostgresServer, wait_until
from tests.world import World, child, finished, landed, row, same_rows, table

Template = tuple[World, tuple[str, str]]
SENT = [row(f"EMP-NEW-{number}", datetime(2026, 9, 1), "focus", app="New-QX", n=number) for number in range(6)]
WHOLE = landed([*w.known_rows(), *SENT])
LANDING = """
rows = [w.row(f"EMP-NEW-{number}", w.datetime(2026, 9, 1), "focus", app="New-QX", n=number) for number in range(6)]
with world.open(settings=w.small_settings(threads=1)) as lake:
    sys.addaudithook(hook)
    print(lake.ingest("events", w.table(rows), batch_id="sent").status, flush=True)
"""
MANY = """
name = sys.argv[5]
with world.open(settings=w.small_settings(threads=1)) as lake:
    for number in range(5):
        rows = [w.row("EMP-" + name, w.datetime(2026, 9, 1, number), "focus", app="New-QX", n=number)]
        print(lake.ingest("events", w.table(rows), batch_id=f"{name}-{number}").status)
"""


@pytest.fixture(scope="module", name="made")
def _made(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Template:
    """The known lake; only to be copied."""
    return pglakes.make(tmp_path_factory.mktemp("pg"), postgres)


@pytest.fixture(name="world")
def _world(made: Template, tmp_path: Path, postgres: PostgresServer) -> Iterator[World]:
    """A copy of the known lake."""
    world = pglakes.copy(made, tmp_path, postgres)
    copies = pglakes.names(world)
    yield world
    for name in copies:
        postgres.drop(name)


@pytest.fixture(name="relay")
def _relay(world: World, postgres: PostgresServer, tmp_path: Path) -> Iterator[cutting.CuttingRelay]:
    """Stands between the lake and its catalog."""
    folder = tmp_path / "relay"
    folder.mkdir()
    relay = cutting.CuttingRelay(folder, postgres.folder, postgres.port)
    name = pglakes.names(world)[0]
    pglakes.place(world, catalog_url=postgres.url(name).replace(str(postgres.folder), str(folder)))
    yield relay
    relay.close()


def arm(monkeypatch: pytest.MonkeyPatch, of: type, method: str, relay: cutting.CuttingRelay, trouble: str) -> None:
    """Let the commit of the next call of a method meet trouble."""
    original = getattr(of, method)

    def armed(*arguments: Any, **options: Any) -> Any:
        monkeypatch.setattr(of, method, original)
        relay.trouble = trouble
        return original(*arguments, **options)

    monkeypatch.setattr(of, method, armed)


def send(lake: Lake) -> str:
    """Land the batch; gives what became of it."""
    return lake.ingest("events", table(SENT), batch_id="sent").status


def findings(world: World, state: str = DAMAGE) -> list[str]:
    """Checks of the doctor that end in a state."""
    with world.open() as lake:
        return [finding.check for finding in Doctor(lake.home).examine_lake() if finding.state == state]


@pytest.mark.parametrize(("trouble", "again"), [(cutting.BEFORE, "landed"), (cutting.AFTER, "already landed")])
def test_a_batch_whose_commit_had_no_answer_is_sent_again(
    world: World, relay: cutting.CuttingRelay, monkeypatch: pytest.MonkeyPatch, trouble: str, again: str
) -> None:
    """The sender is told to try again, and finds it landed or lands it: once, and with every object."""
    with world.open() as lake:
        arm(monkeypatch, Catalog, "land", relay, trouble)
        with pytest.raises(UnavailableError):
            send(lake)
        assert relay.trouble == cutting.PASS
        assert send(lake) == again
        assert send(lake) == "already landed"
    assert same_rows(world.rows(), WHOLE)
    assert (findings(world), "stray files" in findings(world, WARNING)) == ([], False)


def test_nothing_is_taken_back_while_its_commit_is_under_way(
    world: World, relay: cutting.CuttingRelay, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A COMMIT that arrives after its sender has lost the connection: the objects are still there for it."""
    outcome: list[object] = []

    def sending() -> None:
        with world.open() as lake:
            arm(monkeypatch, Catalog, "land", relay, cutting.LATER)
            try:
                outcome.append(send(lake))
            except UnavailableError as error:
                outcome.append(error)

    sender = threading.Thread(target=sending)
    sender.start()
    # The sender asks as a writer what became of its objects, and waits for whoever still holds the lock.
    wait_until(lambda: postgres.run("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"))
    relay.release()
    sender.join()
    assert isinstance(outcome[0], UnavailableError)
    assert same_rows(world.rows(), WHOLE)
    assert findings(world) == []
    with world.open() as lake:
        assert send(lake) == "already landed"


@pytest.mark.parametrize("trouble", [cutting.BEFORE, cutting.AFTER])
def test_a_rekey_whose_commit_had_no_answer_goes_on(
    world: World, relay: cutting.CuttingRelay, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    """New files that the catalog names by now are not taken back; the same command finishes the rest."""
    with world.open() as lake:
        arm(monkeypatch, Upkeep, "swap", relay, trouble)
        with pytest.raises(UnavailableError):
            Rekey(lake.home, lake.actor).run(FileScope())
        Rekey(lake.home, lake.actor).run(FileScope())
    assert same_rows(world.rows(), landed(w.known_rows()))
    assert findings(world) == []


def test_a_server_that_restarts_in_the_middle_of_a_commit(world: World, postgres: PostgresServer) -> None:
    """Crashed as the batch's COMMIT comes: the sender is told to try again, and lands it over new connections."""
    with world.open() as lake:
        engine = lake.home.catalog.database.engine
        armed = [True]

        def crash(connection: Any) -> None:
            if armed and connection.get_execution_options().get("immediate"):
                armed.clear()
                postgres.restart()

        lake.home.directory.enter(sorted({sent["employee"] for sent in SENT}))
        event.listen(engine, "commit", crash)
        with pytest.raises(UnavailableError):
            send(lake)
        assert send(lake) == "landed"
    assert same_rows(world.rows(), WHOLE)
    assert findings(world) == []


@pytest.mark.parametrize(
    ("step", "there"),
    [
        ("ingest.object-written", False),
        ("ingest.objects-durable", False),
        ("ingest.announced", False),
        ("ingest.committed", True),
        ("ingest.anchored", True),
        ("ingest.audited", True),
    ],
)
def test_a_killed_ingest_is_whole_or_absent(world: World, step: str, there: bool) -> None:
    """After kill -9 the batch is there or not, as the commit says; sent again it is there once."""
    status, out, err = finished(child(world, LANDING, step))
    assert (status, out) == (-signal.SIGKILL, ""), err
    assert same_rows(world.rows(), WHOLE if there else landed(w.known_rows()))
    with world.open() as lake:
        assert send(lake) == ("already landed" if there else "landed")
    assert same_rows(world.rows(), WHOLE)
    assert findings(world) == []


def test_two_ingesters_send_one_batch(world: World) -> None:
    """One lands it, the other finds it there; nothing is doubled and no object is left over."""
    outcomes = [finished(process) for process in [child(world, LANDING) for _ in range(2)]]
    assert sorted(out for _, out, _ in outcomes) == ["already landed\n", "landed\n"], outcomes
    assert same_rows(world.rows(), WHOLE)
    assert (findings(world), "stray files" in findings(world, WARNING)) == ([], False)


def test_many_ingesters_while_it_is_read(world: World) -> None:
    """Three processes land five batches each; a reader sees whole batches only, and more each time."""
    processes = [child(world, MANY, "", 1, name) for name in ("ONE", "TWO", "THREE")]
    seen = [144]
    with world.connect() as reader:
        while any(process.poll() is None for process in processes):
            seen.append(reader.sql("SELECT count(*) AS n FROM events").arrow()["n"][0].as_py())
    for process in processes:
        status, out, err = finished(process)
        assert (status, out) == (0, "landed\n" * 5), err
    assert seen == sorted(seen)
    assert len(world.rows()) == 144 + 15
    assert findings(world) == []


def test_a_job_of_another_host_is_waited_for(world: World) -> None:
    """While its lease runs nothing is rekeyed here."""
    with world.open() as lake:
        lease = Leases(lake.home.catalog.database).take("rekey", "another host", 60)
        with pytest.raises(LeaseHeldError, match="another host"):
            Rekey(lake.home, lake.actor).run(FileScope())
        Leases(lake.home.catalog.database).release(lease)
        assert Rekey(lake.home, lake.actor).run(FileScope()).done
    assert findings(world) == []
