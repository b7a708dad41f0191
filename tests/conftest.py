"""Fixtures shared by all tests."""

from __future__ import annotations

import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tests import compiled

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


def _compile_once() -> None:
    """Hundreds of processes load the project: each would compile it anew where nobody may keep what is compiled."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False


_lie_in_memory()
_compile_once()
compiled.share()


def pytest_collection_finish() -> None:
    """Thousands of tests and their modules stay to the end: no collection of garbage looks at them again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


def pytest_sessionfinish() -> None:
    """Let go of what was kept, as bindings report what outlives the interpreter."""
    gc.unfreeze()


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
