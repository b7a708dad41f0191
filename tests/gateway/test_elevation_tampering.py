"""Events of break-glass changed behind the lake's back: noticed by whoever looks next, never an open door."""

# ruff: noqa: S608 - names of tables and columns are the schema's own
from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest

from keys.errors import KeyIntegrityError
from lake.errors import IntegrityError
from tests.gateway.elevated import Desk, desk_of
from tests.world import World


@pytest.fixture
def desk(world: World) -> Iterator[Desk]:
    """Break-glass on a copy of the known lake."""
    with desk_of(world) as opened:
        yield opened


LAST = "(SELECT id FROM elevations WHERE kind = 'request' ORDER BY seq DESC)"
OPENING = {
    "revocation removed": "DELETE FROM elevations WHERE kind = 'revoke'",
    "revocation and its commit removed": """
        DELETE FROM commits WHERE seq = (SELECT seq FROM elevations WHERE kind = 'revoke');
        DELETE FROM elevations WHERE kind = 'revoke'""",
    "revocation given to another": f"UPDATE elevations SET id = {LAST} WHERE kind = 'revoke'",
    "approval moved": "UPDATE elevations SET at = at + 3600000000 WHERE kind = 'approve'",
    "approval given to another": f"""
        UPDATE elevations SET id = {LAST}
        WHERE kind = 'approve' AND seq = (SELECT min(seq) FROM elevations WHERE kind = 'approve')""",
    "approval forged": f"""
        INSERT INTO elevations SELECT id, 'approve', sealed, at, seq + 1 FROM elevations
        WHERE kind = 'request' AND id = {LAST}""",
    "reordered": """
        UPDATE elevations SET seq = 0 - seq WHERE kind = 'approve';
        UPDATE elevations SET seq = (SELECT max(seq) - 1 FROM elevations)
        WHERE kind = 'approve' AND seq = (SELECT min(seq) FROM elevations)""",
}


@pytest.mark.parametrize("how", OPENING)
def test_events_changed_behind_the_lakes_back_are_noticed(desk: Desk, how: str) -> None:
    """One open, one revoked, one that waits: whoever looks next notices, as does the check of the whole catalog."""
    desk.opened()
    desk.revoke(desk.opened("coco"), "olga")
    desk.ask("wim")
    desk.lake.apply_policy(desk.policy.text + "\n# later\n")  # type: ignore[union-attr]
    connection = sqlite3.connect(desk.world.root / "catalog.db")
    with connection:
        for statement in OPENING[how].split(";"):
            assert connection.execute(statement).rowcount > 0, statement
    connection.close()
    for user in ("stu", "coco", "wim"):
        with pytest.raises((IntegrityError, KeyIntegrityError)):
            desk.active(user)
    with pytest.raises(IntegrityError):
        desk.lake.home.catalog.verify()


@pytest.mark.parametrize("kind", ["request", "approve"])
def test_an_event_less_closes(desk: Desk, kind: str) -> None:
    """Without its request or its approval nothing is in force, and the catalog does not verify."""
    desk.opened()
    connection = sqlite3.connect(desk.world.root / "catalog.db")
    with connection:
        connection.execute("DELETE FROM elevations WHERE kind = ?", (kind,))
    connection.close()
    try:
        assert desk.ids() == []
    except IntegrityError:
        assert kind == "approve"
    with pytest.raises(IntegrityError):
        desk.lake.home.catalog.verify()


def test_an_older_catalog_is_refused_before_anything_is_added(desk: Desk) -> None:
    """A catalog put back to before a revocation takes no event."""
    one = desk.opened()
    database = desk.world.root / "catalog.db"
    desk.lake.home.catalog.database.checkpoint()
    before = database.read_bytes()
    desk.revoke(one, "stu")
    desk.lake.home.catalog.database.close()
    database.write_bytes(before)
    with pytest.raises(IntegrityError, match="not the newest"):
        desk.ask("coco")
