"""What the HTML report says, as plain values: counts and names; never a row's value, SQL text or a key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Levels = tuple[int, int, int, int]
"""One count for each sensitivity, 1 to 4."""

Outcome = Literal["allow", "deny", "error"]


@dataclass(frozen=True, slots=True)
class Figure:
    """A headline: a number (shown with thousands separators) or a short text, its label, and a line below it."""

    label: str
    value: int | str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Holding:
    """What one dataset stores about one employee, by sensitivity; at most one for each dataset and employee."""

    employee: str
    dataset: str
    rows: Levels
    files: Levels
    bytes: Levels


@dataclass(frozen=True, slots=True)
class Month:
    """Rows captured in a month (``YYYY-MM``), by sensitivity."""

    month: str
    rows: Levels


@dataclass(frozen=True, slots=True)
class Drop:
    """Events that did not land, for one reason; ``breach`` where they broke the collection contract."""

    dataset: str
    reason: str
    count: int
    breach: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    """One query as the audit log has it: ``employees`` are those whose rows it touched, ``entry`` its audit index."""

    time: str
    user: str
    roles: tuple[str, ...]
    purpose: str
    dataset: str
    outcome: Outcome
    rows: int
    employees: tuple[str, ...]
    levels: tuple[int, ...]
    entry: int


@dataclass(frozen=True, slots=True)
class Access:
    """Employees whose rows a user could read by policy, had file keys released for, and did read."""

    user: str
    could: int
    unwrapped: int
    did: int


@dataclass(frozen=True, slots=True)
class AuditState:
    """The audit log's newest checkpoint: entries, root hash as text, and whether its signature was verified."""

    size: int
    root_hash: str
    signature_ok: bool


@dataclass(frozen=True, slots=True)
class Scan:
    """A search of every stored byte for known plaintext: bytes read, needles looked for, hits."""

    bytes_searched: int
    needles: int
    found: int


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything the page says. Times are text; empty parts are shown as empty, a missing check as not done."""

    title: str
    lake_id: str
    created: str
    generated: str
    figures: tuple[Figure, ...] = ()
    holdings: tuple[Holding, ...] = ()
    months: tuple[Month, ...] = ()
    drops: tuple[Drop, ...] = ()
    queries: tuple[Query, ...] = ()
    access: tuple[Access, ...] = ()
    audit: AuditState | None = None
    scan: Scan | None = None
