"""Ingesters that are killed and start again: every batch there once, whatever was cut off where."""

from __future__ import annotations

from pathlib import Path

import pytest

import lake
from lake.gateway.doctor import DAMAGE, Doctor
from tests import world as w
from tests.gateway import ingesters
from tests.gateway.ingesters import Load, Tally
from tests.servers import buckets
from tests.servers.buckets import Bucket
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
    with world.open() as opened:
        assert [found for found in Doctor(opened.home).examine_lake() if found.state == DAMAGE] == []
    return tally


def test_a_few_that_are_killed_lose_and_double_nothing(world: World) -> None:
    """In a folder, with SQLite."""
    check(world, Load(ingesters=3, batches=4, kills=1))


def test_the_reckoning_sees_what_is_lost_doubled_or_partial(world: World) -> None:
    """The control of this file: batches that were tampered with are counted as what they are."""
    load = Load(ingesters=1, batches=4, kills=0)
    with world.open() as opened:
        for batch, rows in enumerate(
            ([], ingesters.rows_of(0, 1)[:2], ingesters.rows_of(0, 2) * 2, ingesters.rows_of(0, 3))
        ):
            if rows:
                opened.ingest("events", w.table(rows), batch_id=f"many-0-{batch}")
    run = ingesters.Run(world, load)
    run.acknowledged.update((0, batch) for batch in range(4))
    tally = run.reckon()
    assert (tally.visible, tally.doubled, tally.partial, tally.lost) == (2, 1, 1, 2)
    assert same_rows(world.rows("SELECT * FROM events WHERE app IS NULL OR app <> 'Many-QX'"), landed(w.known_rows()))


@pytest.mark.soak
def test_many_in_a_folder(world: World) -> None:
    """Eight ingesters of 200 batches each, over SQLite."""
    check(world, LONG)


@pytest.fixture
def on_s3(monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """A bucket, and the credentials to it in the environment."""
    for name, value in buckets.ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    return buckets.bucket("seaweedfs")


def lake_on_s3(folder: Path, bucket: Bucket, **databases: str) -> World:
    """A new lake whose objects are in the bucket."""
    world = World(folder / "lake", folder / "lake.key")
    lake.create(
        world.root, key_file=world.key, single_approver=True, store=bucket.url, endpoint=bucket.endpoint, **databases
    )
    with world.open() as opened:
        opened.add_contract(w.CONTRACT)
        opened.add_contract(w.MOODS)
        opened.apply_policy(w.POLICY)
        opened.ingest("events", w.table(w.known_rows()), batch_id="first-batch")
    return world


def test_a_few_on_s3_lose_and_double_nothing(on_s3: Bucket, tmp_path: Path) -> None:
    """The same over an object store, and no object is there that no row names but rests of what was killed."""
    world = lake_on_s3(tmp_path, on_s3)
    check(world, Load(ingesters=2, batches=3, kills=1))
    with world.open() as opened:
        assert opened.home.catalog.object_keys() <= {found.key for found in opened.home.objects.list()}


@pytest.mark.soak
def test_many_on_s3(on_s3: Bucket, tmp_path: Path) -> None:
    """Eight ingesters of 200 batches each, over S3 and SQLite."""
    check(lake_on_s3(tmp_path, on_s3), LONG)


@pytest.mark.soak
def test_many_on_s3_over_postgresql(on_s3: Bucket, postgres: PostgresServer, tmp_path: Path) -> None:
    """The same over S3 and PostgreSQL, as a company has it."""
    catalog, keys = (postgres.url(postgres.database()) for _ in range(2))
    check(lake_on_s3(tmp_path, on_s3, catalog_url=catalog, keys_url=keys), LONG)
