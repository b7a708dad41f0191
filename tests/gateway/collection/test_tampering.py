"""Pauses and devices changed behind the lake's back: noticed by whoever looks next, and nothing lands meanwhile."""

# ruff: noqa: S608 - names of tables and columns are the schema's own
from __future__ import annotations

import sqlite3

import pytest

from keys.errors import KeyIntegrityError
from lake.errors import IntegrityError, PausedError
from lake.gateway.collection.service import Collection
from lake.rules.halt import Scope, ScopeKind
from tests.gateway.collection.fleet import START, Fleet, fleet_of, sent
from tests.world import ADA, World

LAST = "(SELECT max(seq) FROM halts)"
FIRST = "(SELECT min(seq) FROM halts)"
OPENING = {
    "the only pause in force removed": f"DELETE FROM halts WHERE seq = {LAST}",
    "and its commit": f"DELETE FROM commits WHERE seq = {LAST}; DELETE FROM halts WHERE seq = {LAST}",
    "every pause removed": "DELETE FROM halts",
    "the first removed": f"DELETE FROM halts WHERE seq = {FIRST}",
    "an end given to another": f"""
        UPDATE halts SET id = (SELECT id FROM halts WHERE seq = {LAST})
        WHERE kind IN ('resume-request', 'resume-approve')""",
    "an end moved": "UPDATE halts SET at = at - 3600000000 WHERE kind = 'resume-approve'",
    "an end repeated": f"""
        INSERT INTO halts SELECT (SELECT id FROM halts WHERE seq = {LAST}), kind, sealed, at, seq + 900
        FROM halts WHERE kind = 'resume-approve'""",
    "reordered": f"""
        UPDATE halts SET seq = 0 - seq WHERE seq = {LAST};
        UPDATE halts SET seq = 2 - seq WHERE seq < 0""",
}


def run(world: World, statements: str) -> None:
    """Plain SQL on the file."""
    connection = sqlite3.connect(world.root / "catalog.db")
    with connection:
        for statement in statements.split(";"):
            assert connection.execute(statement).rowcount > 0, statement
    connection.close()


def prepare(fleet: Fleet) -> str:
    """One pause that has ended, one that lasts; gives a lease from before both."""
    token = fleet.grant("ada-1").token
    fleet.resume(fleet.pause(Scope(ScopeKind.EMPLOYEE, ADA)))
    fleet.wait(1)
    fleet.pause(Scope(ScopeKind.TEAM, "sales"))
    return token


@pytest.mark.parametrize("how", OPENING)
def test_pauses_changed_behind_the_lakes_back_are_noticed(fleet: Fleet, how: str) -> None:
    """A process that had not read them says so; one that had may go by what it knows, which is paused."""
    token, device = prepare(fleet), fleet.device("ada-1")
    assert fleet.serving.halts.known().number
    run(fleet.world, OPENING[how])
    errors = (IntegrityError, KeyIntegrityError)
    for collection, refused in ((fleet.serving, (*errors, PausedError)), (fleet.collection, errors)):
        with pytest.raises(refused):
            collection.grant(device, "events", None, frozenset({"focus"}))
        with pytest.raises(refused):
            collection.judge(token, device, fleet.header("ada-1"))
    with pytest.raises(errors):
        fleet.statuses()
    with pytest.raises(errors):
        fleet.land([sent(ADA, START, 1)])
    with pytest.raises(errors):
        fleet.pause()
    with pytest.raises(IntegrityError):
        check_catalog(fleet)


def check_catalog(fleet: Fleet) -> None:
    """As the doctor does it."""
    fleet.lake.home.catalog.verify()
    fleet.lake.home.catalog.check_anchor(*fleet.lake.home.key_store.anchor("catalog"))


def test_a_pause_taken_away_before_a_server_has_seen_it_is_missed(fleet: Fleet) -> None:
    """The key store remembers it."""
    token, device = fleet.grant("ada-1").token, fleet.device("ada-1")
    judgement = fleet.serving.judge(token, device, fleet.header("ada-1"))
    fleet.pause()
    run(fleet.world, f"DELETE FROM commits WHERE seq = {LAST}; DELETE FROM halts WHERE seq = {LAST}")
    with pytest.raises(IntegrityError):
        fleet.serving.judge(token, device, fleet.header("ada-1"))
    with pytest.raises(IntegrityError):
        fleet.land([sent(ADA, START, 1)], judgement=judgement)


def test_a_retirement_that_is_taken_away_is_noticed(fleet: Fleet) -> None:
    """The device does not come back to life."""
    device = fleet.device("ada-1")
    fleet.collection.devices.retire(fleet.lake.actor, "ada-1")
    run(fleet.world, "DELETE FROM devices WHERE kind = 'retire'")
    for collection in (fleet.serving, fleet.collection):
        with pytest.raises(IntegrityError):
            collection.devices.find(device.tag)


def test_an_older_catalog_is_refused(fleet: Fleet) -> None:
    """One put back to before a pause lands nothing, neither in this process nor in a new one."""
    token = fleet.grant("ada-1").token
    database = fleet.world.root / "catalog.db"
    fleet.lake.home.catalog.database.checkpoint()
    before = database.read_bytes()
    fleet.pause()
    fleet.lake.home.catalog.database.close()
    database.write_bytes(before)
    with pytest.raises(IntegrityError):
        fleet.upload("ada-1", token, [sent(ADA, START, 1)])
    with pytest.raises(IntegrityError):
        fleet.pause()
    with pytest.raises(IntegrityError, match="not the newest"), fleet.world.open():
        pass


def test_an_event_that_was_not_anchored_counts_all_the_same(world: World) -> None:
    """After a crash between commit and anchor: the pause is in force, and anchored by who reads it next."""
    with fleet_of(world) as fleet:
        halt = fleet.pause()
    keys = sqlite3.connect(world.root / "keys" / "keystore.db")
    with keys:
        assert keys.execute("DELETE FROM anchors WHERE name = 'halts'").rowcount == 1
    keys.close()
    with world.open() as lake:
        assert list(Collection(lake.home, lake.contracts).halts.known().halts) == [halt.id]
        assert lake.home.key_store.anchor("halts")[0] == halt.number
