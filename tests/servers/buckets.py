"""Buckets of the servers of tests, each for one test or module, and the credentials to them."""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from botocore.config import Config

from lake.sealed.objects.s3 import S3Store
from lake.sealed.objects.s3_calls import Patience
from lake.sealed.objects.s3_place import S3Place
from tests.servers import descriptions  # noqa: F401
from tests.servers.s3_processes import ADMIN, SECRET, S3Process, missing, shared

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": ADMIN,
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_EC2_METADATA_DISABLED": "true",
    # What the machine has of its own must not matter.
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}
QUICK = Patience(connect=2.0, read=10.0, deadline=20.0, first_pause=0.01, longest_pause=0.1)
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket with a place for a lake in it."""

    name: str
    endpoint: str
    client: Any

    @property
    def url(self) -> str:
        """Where a lake may put its objects."""
        return f"s3://{self.name}/some/lake"

    @property
    def place(self) -> S3Place:
        """The same for the store."""
        return S3Place.parse(self.url, self.endpoint)

    def store(self, patience: Patience = QUICK, **sizes: int) -> S3Store:
        """A store over it."""
        return S3Store(self.place, patience, **sizes)

    def names(self) -> list[str]:
        """Every name in the bucket."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name)
        return sorted(found["Key"] for page in pages for found in page.get("Contents", ()))


def server(kind: str) -> S3Process:
    """The server of a kind; the test is skipped where its package is not installed."""
    if why := missing(kind):
        pytest.skip(why)
    return shared(kind)


def client(endpoint: str) -> Any:
    """A plain client, to look from outside."""
    plain = Config(
        request_checksum_calculation="when_required", response_checksum_validation="when_required", proxies={}
    )
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=ADMIN,
        aws_secret_access_key=SECRET,
        config=plain,
    )


def bucket(kind: str, *, versions: bool = False, locks: bool = False) -> Bucket:
    """A new bucket on the server of a kind."""
    endpoint = server(kind).endpoint
    made = Bucket(f"lake-{os.getpid()}-{next(_numbers)}", endpoint, client(endpoint))
    made.client.create_bucket(Bucket=made.name, **({"ObjectLockEnabledForBucket": True} if locks else {}))
    if versions:
        made.client.put_bucket_versioning(Bucket=made.name, VersioningConfiguration={"Status": "Enabled"})
    return made
