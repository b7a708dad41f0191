"""Rows of the key store as values. They hold wraps, never open keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, TypeVar

from keys.refs import KeyState, SubjectRef

_T = TypeVar("_T")
_STATES = {state.value: state for state in KeyState}
IN_LIST = 5_000
"""Values in one SQL IN list."""

KekName = tuple[str, int, str]
"""(subject, sensitivity, month)."""

BucketPlace = tuple[int, int]
"""(sensitivity, bucket)."""


@dataclass(frozen=True, slots=True)
class RootRow:
    """A version of a provider's key, as the key store follows it; times are microseconds since 1970."""

    name: str
    version: int
    state: KeyState
    created_at: int


@dataclass(frozen=True, slots=True)
class BucketKeyRow:
    """A wrapped bucket key, one version."""

    sensitivity: int
    bucket: int
    version: int
    state: KeyState
    root_version: int
    wrapped: bytes
    created_at: int

    @property
    def place(self) -> BucketPlace:
        """Which bucket key it is a version of."""
        return self.sensitivity, self.bucket


@dataclass(frozen=True, slots=True)
class KekRow:
    """A wrapped KEK, one version."""

    kek_id: str
    version: int
    subject: str
    sensitivity: int
    month: str
    state: KeyState
    bucket: int
    bucket_version: int
    wrapped: bytes
    created_at: int

    @property
    def name(self) -> KekName:
        """The partition that it stands for."""
        return self.subject, self.sensitivity, self.month


@dataclass(frozen=True, slots=True)
class KekScope:
    """Some KEKs: of these employees (pseudonyms), levels and months; None for all."""

    subjects: frozenset[str] | None = None
    sensitivities: frozenset[int] | None = None
    months: frozenset[str] | None = None


@dataclass(frozen=True)
class KeyView:
    """The key store at one moment: everything that one release or delivery needs, read in one transaction.

    Attributes:
        epoch: moves whenever a key changes its state or its parent.
        subjects: employees whose keys exist; one who is tombstoned is absent.
        roots: states by name and version.
        buckets: by (sensitivity, bucket, version).
        keks: by (id, version).
    """

    epoch: int
    subjects: Mapping[str, SubjectRef]
    roots: Mapping[tuple[str, int], KeyState]
    buckets: Mapping[tuple[int, int, int], BucketKeyRow]
    keks: Mapping[tuple[str, int], KekRow]

    @cached_property
    def _wrapping(self) -> dict[KekName, KekRow]:
        ordered = sorted(self.keks.values(), key=lambda row: row.version)
        return {row.name: row for row in ordered if row.state.wraps}

    def has_wrapping(self, name: KekName) -> bool:
        """Whether a partition has a KEK that may wrap."""
        return name in self._wrapping

    def wrapping_kek(self, name: KekName) -> KekRow:
        """The newest KEK of a partition that may wrap."""
        return self._wrapping[name]


def chunks(values: Sequence[_T], size: int = IN_LIST) -> Iterator[Sequence[_T]]:
    """Parts of at most ``size``."""
    for start in range(0, len(values), size):
        yield values[start : start + size]


def values_of(row: RootRow | BucketKeyRow | KekRow) -> dict[str, Any]:
    """A row's columns."""
    return {field.name: getattr(row, field.name) for field in fields(row)}


def root_row(row: Any) -> RootRow:
    """From a result's row."""
    return RootRow(row.name, row.version, KeyState(row.state), row.created_at)


def bucket_row(row: Any) -> BucketKeyRow:
    """From a result's row."""
    return BucketKeyRow(
        row.sensitivity, row.bucket, row.version, KeyState(row.state), row.root_version, row.wrapped, row.created_at
    )


def kek_row(row: Any) -> KekRow:
    """From a result's row with the table's columns in order."""
    kek_id, version, subject, sensitivity, month, state, bucket, bucket_version, wrapped, created_at = row
    return KekRow(
        kek_id, version, subject, sensitivity, month, _STATES[state], bucket, bucket_version, wrapped, created_at
    )
