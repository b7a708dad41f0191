"""``lake jobs sweep``: it plans, and removes only with --yes and only what is old enough."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli.conftest import Shell

DAY = 24 * 3600


@pytest.fixture
def orphans(shell: Shell) -> tuple[Path, Path]:
    """Two objects that no batch owns: one two days old, one of now."""
    old, young = shell.world.root / "data" / "old.parquet", shell.world.root / "data" / "young.parquet"
    for path in (old, young):
        path.write_bytes(b"PARE rest of a batch")
    past = young.stat().st_mtime - 2 * DAY
    os.utime(old, (past, past))
    return old, young


def test_without_yes_nothing_changes(shell: Shell, orphans: tuple[Path, Path]) -> None:
    """The plan names what would go and how many are too young."""
    ran = shell("jobs", "sweep", "--json")
    assert [orphan["object"] for orphan in ran.document["orphans"]] == ["data/old.parquet"]
    assert (ran.document["waiting"], ran.document["removed"]) == (1, 0)
    assert all(path.exists() for path in orphans)
    assert "--yes removes them" in shell("jobs", "sweep").out


def test_with_yes_the_old_ones_go_and_it_is_recorded(shell: Shell, orphans: tuple[Path, Path]) -> None:
    """The young one may belong to a batch that is landing now; no object of a batch is touched."""
    owned = set(shell.world.objects()) - set(orphans)
    assert shell("jobs", "sweep", "--yes", "--json").document["removed"] == 1
    assert set(shell.world.objects()) == owned | {orphans[1]}
    assert [entry["files"] for entry in shell.world.entries("job.sweep")] == [1]
    assert shell("jobs", "sweep", "--yes", "--grace-hours", "0", "--json").document["removed"] == 1
    assert shell("doctor").code == 0


@pytest.mark.parametrize("hours", ["-1", "nan", "inf", "1e300"])
def test_a_grace_that_is_none_is_a_usage_error(shell: Shell, orphans: tuple[Path, Path], hours: str) -> None:
    """A negative or boundless time would remove objects of a batch under way."""
    assert shell("jobs", "sweep", "--yes", f"--grace-hours={hours}").code == 2
    assert all(path.exists() for path in orphans)
