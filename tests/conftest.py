"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from tests.servers.postgres import PostgresServer

# How long an example takes is the machine's affair.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

ROOT = Path(__file__).resolve().parent.parent
GIB = 1 << 30


def _lie_in_memory() -> None:
    """Lakes of tests are synced thousands of times: in memory, where there is enough, that takes a third less time.

    What survives a kill does so anywhere; what would survive a power cut no test could tell on a disk either.
    """
    memory = Path("/dev/shm")  # noqa: S108 - pytest makes a folder of the user's own there
    if "TMPDIR" not in os.environ and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free >= 4 * GIB:
        os.environ["TMPDIR"] = tempfile.tempdir = str(memory)


_lie_in_memory()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real telemetry, which is not part of the project; tests that need it skip without it."""
    folder = Path(os.environ.get("LAKE_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real telemetry at {folder}: set LAKE_SHARED_DATA to try it")
    return folder


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server, one for each process of tests; without the system's package they are skipped."""
    pytest.importorskip("psycopg", reason="the extra 'postgres' is not installed")
    from tests.servers.postgres import MISSING, PostgresServer, binaries

    if binaries() is None:
        pytest.skip(MISSING)
    server = PostgresServer()
    yield server
    server.stop()
