"""Purges on a store with versions and locks: every version goes, and what is locked is a residual with its date."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from tests.gateway.s3lakes import S3World, make
from tests.jobs.purging import certified, files, job, kept, purge
from tests.servers.buckets import ENVIRONMENT
from tests.world import known_rows, same_rows


@pytest.fixture(autouse=True, scope="module")
def credentials() -> Iterator[None]:
    """The servers' own, for every process of these tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> S3World:
    """The known lake in a bucket with versions and locks."""
    return make(tmp_path_factory.mktemp("locked"), "seaweedfs", versions=True, locks=True)


def test_versions_go_and_a_locked_object_is_a_residual_with_its_date(world: S3World) -> None:
    """The rows are gone whatever the store keeps, and the certificate lists it until it can be deleted."""
    client, bucket = world.bucket.client, world.bucket.name
    with world.open() as lake:
        groups = [group for item in job(lake).plan().items for group in item.work["groups"] if group["destroy"]]
        names = [file_id for group in groups for file_id, _ in group["files"]]
        locked, again = (files(lake)[name].object_key for name in names[:2])
        until = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
        retention = {"Mode": "GOVERNANCE", "RetainUntilDate": until}
        client.put_object_retention(Bucket=bucket, Key=world.prefix + locked, Retention=retention)
        client.put_object(Bucket=bucket, Key=world.prefix + again, Body=world.content(again))  # another version
        before = set(files(lake).values())
        done = purge(lake)
        gone = {file.object_key for file in before} - {file.object_key for file in files(lake).values()}
    assert done.counts["residuals"] == 1
    assert same_rows(world.rows(), kept(known_rows()))
    data = certified(world).data
    (residual,) = [one for one in data["residuals"] if one["what"] == "object"]
    assert residual == {"what": "object", "id": locked, "until": f"{until:%Y-%m-%dT%H:%M:%SZ}", "readable": False}
    versions = client.list_object_versions(Bucket=bucket, Prefix=world.prefix + "data/")
    left = {one["Key"].removeprefix(world.prefix) for one in versions.get("Versions", ())}
    assert left & gone == {locked}
    (version,) = [one for one in versions["Versions"] if one["Key"].endswith(locked)]
    client.delete_object(
        Bucket=bucket, Key=version["Key"], VersionId=version["VersionId"], BypassGovernanceRetention=True
    )
    assert not [one for one in certified(world).data["residuals"] if one["what"] == "object"]
