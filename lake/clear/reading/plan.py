"""The sealed plan: all that reading needs to make one slice, and nothing that it could ask for more with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import pyarrow as pa

from lake.rules.masks import Mask
from lake.rules.row_filter import Expression
from lake.sealed.objects import Location

SUBJECT_COLUMN = "__lake_subject"
"""The employee's dense number, for grants that show groups of people alone. No query can name it."""


@dataclass(frozen=True, slots=True)
class FileToRead:
    """One permitted file. ``label`` is the employee as the grant shows them, None if it does not."""

    file_id: str
    object_key: str
    format: str
    format_version: int
    length: int
    rows: int
    number: int
    label: str | None
    sensitivity: int
    dek: bytes = field(repr=False)
    aad_prefix: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Source:
    """Whose rows: an employee's dense number and the rows' sensitivity."""

    number: int
    sensitivity: int


Era = tuple[str, int]
"""The digest of the policy in force and the key epoch: what was read in another era is never used again."""


@dataclass(frozen=True, slots=True)
class SliceKey:
    """What a slice's rows depend on: the era, and a digest of all else."""

    era: Era
    digest: bytes


@dataclass(frozen=True, slots=True)
class SealedPlan:
    """How one dataset becomes one slice.

    Attributes:
        schema: visible columns in order, in their stored types; after them the subject's, where groups are counted.
        stored: every stored column with its type; what the row filter may use.
        coded: columns of short texts, which are handed over as dictionaries.
        attributes: the principal's, for the row filter; ``now`` is the query's time, naive UTC.
        first, last: the grant's window on capture times, inclusive.
        mask_key: key of pseudonym masks.
    """

    dataset: str
    location: Location
    files: tuple[FileToRead, ...]
    schema: pa.Schema
    stored: pa.Schema
    masks: Mapping[str, Mask]
    row_filter: Expression | None
    attributes: Mapping[str, str]
    now: datetime
    first: datetime | None
    last: datetime | None
    mask_key: bytes = field(repr=False)
    coded: frozenset[str] = frozenset()
