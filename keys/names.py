"""Names of the keys at the top, the size of the hierarchy, and what each wrap is bound to."""

from __future__ import annotations

from functools import lru_cache

from keys import envelope
from keys.envelope import Kind
from keys.rows import BucketKeyRow, KekRow

BUCKETS = 256
SENSITIVITIES = (1, 2, 3, 4)
CONTROL_ROOT = "root-control"


def root_name(sensitivity: int) -> str:
    """The provider's key for one sensitivity; named by level so that a host can be kept away from 3 and 4."""
    return f"root-dss{sensitivity}"


ROOT_NAMES = (CONTROL_ROOT, *(root_name(level) for level in SENSITIVITIES))


def bucket_id(sensitivity: int, bucket: int) -> str:
    """A bucket key as logs and reports name it."""
    return f"dss{sensitivity}-b{bucket:03d}"


def subjects_id(bucket: int) -> str:
    """The employees of a bucket, as a part of a backup."""
    return f"subjects-b{bucket:03d}"


def bucket_context(lake: str, sensitivity: int, bucket: int, version: int) -> bytes:
    """What the wrap of a bucket key is bound to: not the root's version, so that a provider can re-wrap it."""
    return envelope.context(Kind.BUCKET_KEY, lake, sensitivity, bucket, version, root_name(sensitivity))


def bucket_row_context(lake: str, row: BucketKeyRow) -> bytes:
    """The same, of a row."""
    return bucket_context(lake, row.sensitivity, row.bucket, row.version)


def kek_context(lake: str, row: KekRow, bucket_version: int | None = None) -> bytes:
    """What the wrap of a KEK is bound to; under another version of its bucket key if one is given."""
    version = row.bucket_version if bucket_version is None else bucket_version
    begin = _under_bucket(lake, row.sensitivity, row.bucket, version)
    return begin + envelope.context_fields(row.subject, row.month, row.kek_id, row.version)


@lru_cache(maxsize=4 * BUCKETS * len(SENSITIVITIES))
def _under_bucket(lake: str, sensitivity: int, bucket: int, bucket_version: int) -> bytes:
    """What the contexts of all KEKs under one bucket key begin with; a sweep makes millions of them."""
    return envelope.context_head(Kind.KEK, 8) + envelope.context_fields(lake, sensitivity, bucket, bucket_version)
