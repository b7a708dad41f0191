"""Fixtures shared by all tests."""

from __future__ import annotations

import os
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
