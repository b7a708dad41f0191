"""Least privilege on the object store: three identities, and the policy documents that say what each may do.

*ingest* puts new objects and aborts its own uploads; it can neither read, list nor delete. *reader* gets objects whose
name it knows. *jobs* lists, gets, puts and deletes, versions included. None of them may make credentials: MinIO
would let any user do that for themselves, and such a credential outlives a change of the user's secret.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lake.errors import UsageError
from lake.rules.layout import DATA

INGEST, READER, JOBS = "ingest", "reader", "jobs"
IDENTITIES = (INGEST, READER, JOBS)

_OBJECT_ACTIONS = {
    INGEST: ("AbortMultipartUpload", "PutObject"),
    READER: ("GetObject",),
    JOBS: (
        "AbortMultipartUpload",
        "DeleteObject",
        "DeleteObjectVersion",
        "GetObject",
        "GetObjectVersion",
        "ListMultipartUploadParts",
        "PutObject",
    ),
}

# No wildcard and no variable of a policy: a place must not mean more than itself.
_STORE = re.compile(
    r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?P<prefix>(/[A-Za-z0-9_=-][A-Za-z0-9._=-]*)*)/?"
)

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """A bucket, and what every key of the lake in it begins with (no slash at either end, or nothing)."""

    bucket: str
    prefix: str

    @classmethod
    def parse(cls, store: str) -> Place:
        """The place that ``s3://bucket/prefix`` names.

        Raises:
            UsageError: it is no such URL.
        """
        found = _STORE.fullmatch(store)
        if found is None:
            raise UsageError("the store is not s3://BUCKET or s3://BUCKET/PREFIX of letters, digits and . _ = - only")
        return cls(found["bucket"], found["prefix"].strip("/"))

    @property
    def data(self) -> str:
        """What the keys of data objects begin with."""
        return f"{self.prefix}/{DATA}/" if self.prefix else f"{DATA}/"

    def name(self, identity: str) -> str:
        """Of the identity's user and policy: the same on every run, another for every place, 20 characters at most."""
        digest = hashlib.sha256(f"{self.bucket}/{self.prefix}".encode()).hexdigest()
        return f"lake-{identity}-{digest[:8]}"


def policy(place: Place, identity: str) -> Document:
    """The policy document of an identity."""
    bucket = f"arn:aws:s3:::{place.bucket}"
    statements: list[Document] = [
        {
            "Effect": "Allow",
            "Action": [f"s3:{action}" for action in _OBJECT_ACTIONS[identity]],
            "Resource": [f"{bucket}/{place.data}*"],
        }
    ]
    if identity == JOBS:
        statements.append(
            {
                "Effect": "Allow",
                "Action": ["s3:ListBucket", "s3:ListBucketVersions"],
                "Resource": [bucket],
                "Condition": {"StringLike": {"s3:prefix": [f"{place.data}*"]}},
            }
        )
        # MinIO knows no condition for this one.
        statements.append({"Effect": "Allow", "Action": ["s3:ListBucketMultipartUploads"], "Resource": [bucket]})
    statements.append({"Effect": "Deny", "Action": ["admin:*"]})
    return {"Version": "2012-10-17", "Statement": statements}


def same_policy(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two documents say the same, whatever the order of statements and lists in them."""
    return _canonical(one) == _canonical(other)


def _canonical(value: Any) -> str:
    if isinstance(value, Mapping):
        named = sorted((str(key), _canonical(_listed(key, item))) for key, item in value.items() if item != "")
        return json.dumps(named)
    if isinstance(value, list):
        return json.dumps(sorted(_canonical(item) for item in value))
    return json.dumps(value)


def _listed(key: object, value: Any) -> Any:
    """IAM takes one action or resource bare where we write a list of one."""
    return [value] if key in {"Action", "Resource", "s3:prefix", "Statement"} and not isinstance(value, list) else value
