"""Purges and shredding with catalog and key store in PostgreSQL."""

from __future__ import annotations

from pathlib import Path

from jobs.runner.run import Runner
from jobs.sealed.retention.shred import ShredJob
from tests.gateway import pglakes
from tests.jobs.purging import certified, files, kept, opens, purge, saved
from tests.servers.postgres import PostgresServer
from tests.world import DORA, known_rows, same_rows


def test_from_plan_to_certificate(tmp_path: Path, postgres: PostgresServer) -> None:
    """The same rows, counts and proofs as with files; archived logs of the server have no horizon unless stated."""
    world, _ = pglakes.make(tmp_path, postgres)
    with world.open() as lake:
        before, wraps = files(lake), saved(lake)
        purge(lake)
        assert not set(opens(lake, wraps)) & (before.keys() - files(lake).keys())
    assert same_rows(world.rows(), kept(known_rows()))
    data = certified(world).data
    assert data["counts"]["rows"] == len(known_rows()) - len(kept(known_rows()))
    assert data["horizon"]["after"] is None
    with world.open() as lake:
        job = ShredJob(lake.home, lake.actor, employees=[DORA], backup=tmp_path / "backup")
        assert Runner(lake.home).run(job).counts["entries"] == 1
        lake.home.catalog.verify()
    assert same_rows(world.rows(), [one for one in kept(known_rows()) if one["employee"] != DORA])
    assert certified(world, copies_kept=7).data["horizon"]["after"] is not None
