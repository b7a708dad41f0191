"""Ingesters that are killed and start again: every batch there once, whatever was cut off where."""

from __future__ import annotations

from pathlib import Path

import pytest

from lake.gateway.doctor import DAMAGE, Doctor
from tests import world as w
from tests.gateway import ingesters, pglakes
from tests.gateway.ingesters import Load, Tally
from tests.servers.postgres import PostgresServer
from tests.world import World, landed, same_rows

LONG = Load(ingesters=8, batches=200, kills=5)


def check(world: World, load: Load) -> Tally:
    """Run it; nothing lost, doubled, half there or strange, and no damage; what was there before is untouched."""
    before = world.rows("SELECT * FROM events WHERE app IS NULL OR app <> 'Many-QX'")
    tally = ingesters.run(world, load)
    print(tally)
    assert tally.errors == []
    assert (tally.acknowledged, tally.visible) == (tally.wanted, tally.wanted), tally
    assert (tally.doubled, tally.partial, tally.lost, tally.strange) == (0, 0, 0, 0), tally
    assert tally.kills == load.ingesters * load.kills
    assert same_rows(world.rows("SELECT * FROM events WHERE app IS NULL OR app <> 'Many-QX'"), before)
    with world.open() as lake:
        assert [found for found in Doctor(lake.home).examine() if found.state == DAMAGE] == []
    return tally


def test_a_few_that_are_killed_lose_and_double_nothing(world: World) -> None:
    """In a folder, with SQLite."""
    check(world, Load(ingesters=3, batches=6, kills=1))


def test_the_reckoning_sees_what_is_lost_doubled_or_partial(world: World) -> None:
    """The control of this file: batches that were tampered with are counted as what they are."""
    load = Load(ingesters=1, batches=4, kills=0)
    with world.open() as lake:
        for batch, rows in enumerate(
            ([], ingesters.rows_of(0, 1)[:2], ingesters.rows_of(0, 2) * 2, ingesters.rows_of(0, 3))
        ):
            if rows:
                lake.ingest("events", w.table(rows), batch_id=f"many-0-{batch}")
    run = ingesters.Run(world, load)
    run.acknowledged.update((0, batch) for batch in range(4))
    tally = run.reckon()
    assert (tally.visible, tally.doubled, tally.partial, tally.lost) == (2, 1, 1, 2)
    assert same_rows(world.rows("SELECT * FROM events WHERE app IS NULL OR app <> 'Many-QX'"), landed(w.known_rows()))


@pytest.mark.soak
def test_many_in_a_folder(world: World) -> None:
    """Eight ingesters of 200 batches each, over SQLite."""
    check(world, LONG)


@pytest.mark.soak
def test_many_over_postgresql(postgres: PostgresServer, tmp_path: Path) -> None:
    """The same over PostgreSQL."""
    check(pglakes.make(tmp_path, postgres)[0], LONG)
