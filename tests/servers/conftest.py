"""One server for the tests of what stands before it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.s3_processes import S3Process


@pytest.fixture(scope="session")
def seaweedfs() -> Iterator[S3Process]:
    """A real S3 server."""
    server = S3Process("seaweedfs")
    yield server
    server.stop()
