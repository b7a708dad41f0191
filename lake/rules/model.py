"""The words of the lake as values: partitions, files, principals. Nothing here is secret and nothing acts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

SENSITIVITIES = (1, 2, 3, 4)
"""Ratings of a row, 4 the most sensitive. A row's rating is only ever raised."""

SENSITIVITY_COLUMN = "sensitivity"
TIME_COLUMN = "ts"
EMPLOYEE_COLUMN = "employee"
TYPE_COLUMN = "type"
RESERVED_COLUMNS = frozenset({SENSITIVITY_COLUMN, TIME_COLUMN, EMPLOYEE_COLUMN, TYPE_COLUMN})

NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
"""Datasets, fields, event types, roles and masks: lower case, usable unquoted in SQL."""

MONTH = re.compile(r"\d{4}-(0[1-9]|1[0-2])")
MAX_EMPLOYEE_ID = 128
"""Characters in an employee id."""


def is_month(text: str) -> bool:
    """Whether ``text`` is a month as ``YYYY-MM``."""
    return MONTH.fullmatch(text) is not None


def month_of(moment: datetime) -> str:
    """The month (UTC) that a capture time belongs to, as ``YYYY-MM``."""
    return f"{moment.year:04d}-{moment.month:02d}"


@dataclass(frozen=True, order=True, slots=True)
class Partition:
    """One employee's rows of one sensitivity and one month in one dataset; the employee under a pseudonym."""

    dataset: str
    subject: str
    sensitivity: int
    month: str


@dataclass(frozen=True, slots=True)
class Subject:
    """An employee as the sealed side knows them.

    Attributes:
        id: random pseudonym, 26 characters of base32; used in paths and key contexts.
        number: dense number from 0, used in the audit log's bitmaps.
    """

    id: str
    number: int


@dataclass(frozen=True, slots=True)
class DataFile:
    """What the catalog knows of one stored object; times are naive UTC, ``length`` in bytes."""

    file_id: str
    partition: Partition
    object_key: str
    format: str
    format_version: int
    schema_version: int
    length: int
    sha256: bytes
    rows: int
    first_ts: datetime
    last_ts: datetime
    kek_id: str
    kek_version: int
    wrapped_dek: bytes


@dataclass(frozen=True, slots=True)
class Identity:
    """Who authentication says is there.

    Attributes:
        groups: as an identity provider names them; the policy says which roles they hold.
        employee, attributes: from verified claims; what the policy says of the user wins over them.
    """

    user: str
    groups: tuple[str, ...] = ()
    employee: str | None = None
    attributes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks, with the roles that the policy gives them; nothing here comes from the caller unverified."""

    user: str
    roles: tuple[str, ...]
    employee: str | None = None
    attributes: tuple[tuple[str, str], ...] = ()

    def attribute(self, name: str) -> str | None:
        """The value of an attribute, or None."""
        return dict(self.attributes).get(name)
