"""One server for the tests of what stands before it."""

from __future__ import annotations

import pytest

from tests.servers import buckets
from tests.servers.s3_processes import S3Process


@pytest.fixture(scope="session")
def seaweedfs() -> S3Process:
    """A real S3 server."""
    return buckets.server("seaweedfs")
