"""A server that enforces policies (MinIO's S3 layer), and one that has no admin interface (SeaweedFS)."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import closing

import pytest

from lake.sealed.objects.credential_files import Credential
from lake.sealed.objects.provision_policies import Place
from lake.sealed.objects.provision_server import Server
from tests.servers import buckets
from tests.servers.s3_processes import ADMIN, SECRET, S3Process


@pytest.fixture(scope="session")
def minio() -> S3Process:
    """JuiceFS's gateway, whose users and policies are MinIO's own."""
    return buckets.server("juicefs")


@pytest.fixture(scope="session")
def seaweedfs() -> S3Process:
    """A server with versions and lifecycle rules, and without MinIO's admin interface."""
    return buckets.server("seaweedfs")


@pytest.fixture
def place() -> Place:
    """A bucket that is not there yet."""
    return Place(f"bucket-{secrets.token_hex(4)}", "site/lake")


@pytest.fixture(scope="session")
def admin() -> Credential:
    """The administrator of both."""
    return Credential(ADMIN, SECRET)


@pytest.fixture(scope="session")
def on_minio(minio: S3Process, admin: Credential) -> Iterator[Server]:
    """The first, as provisioning sees it."""
    with closing(Server(minio.endpoint, admin)) as server:
        yield server


@pytest.fixture(scope="session")
def on_seaweedfs(seaweedfs: S3Process, admin: Credential) -> Iterator[Server]:
    """The second."""
    with closing(Server(seaweedfs.endpoint, admin)) as server:
        yield server
