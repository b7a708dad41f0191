"""The one place that knows how the lake is laid out on storage. Formats: docs/formats.md, "Layout"."""

from __future__ import annotations

import re

from lake.rules.model import Partition

CONFIG = "lake.json"
CATALOG = "catalog.db"
AUDIT = "audit"
KEYS = "keys"
KEY_STORE = "keystore.db"
DATA = "data"
OWNER = f"{DATA}/owner-"
"""What the key of the object begins with that claims a store's prefix for one lake."""

FORMAT_PME = "pme"
"""Parquet with Modular Encryption: AES-256-GCM, encrypted footer, one DEK per file, external AAD prefix."""
FORMAT_PME_VERSION = 1

_OBJECT = re.compile(
    r"data/(?P<dataset>[a-z][a-z0-9_]{0,62})/subject=(?P<subject>[a-z2-7]{26})/dss=(?P<sensitivity>[1-4])"
    r"/month=(?P<month>\d{4}-\d{2})/(?P<file_id>[0-9a-f]{32})\.parquet"
)


def object_key(partition: Partition, file_id: str) -> str:
    """Where a data file lies: the path shows the pseudonym, never the employee."""
    return (
        f"{DATA}/{partition.dataset}/subject={partition.subject}/dss={partition.sensitivity}"
        f"/month={partition.month}/{file_id}.parquet"
    )


def is_object_key(key: str) -> bool:
    """Whether a key is one that :func:`object_key` makes."""
    return _OBJECT.fullmatch(key) is not None


def audit_origin(lake: str) -> str:
    """The origin line of a lake's audit log, which is also the name of its signing key."""
    return f"telemetry-lake/{lake}"
