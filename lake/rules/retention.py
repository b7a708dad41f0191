"""How long rows are kept: rules by dataset, sensitivity and contract version. Pure decisions; the shortest wins.

Times are naive UTC and a day is 24 hours, so that neither leap days nor daylight saving move an end. A row is past a
limit of N days from the moment on that is N days after the time that the limit counts from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from lake.rules.contract import Contract
from lake.rules.document import Node, read_document
from lake.rules.model import NAME, SENSITIVITIES

MOST_RULES = 1_000
NEVER, ALL = datetime.min, datetime.max  # noqa: DTZ901 - bounds of naive UTC times
"""As a cut: no row, every row."""


class ClockKind(StrEnum):
    """What ``keep`` counts from: when a row was captured, as its device says, or when it landed."""

    CAPTURED = "captured"
    RECEIVED = "received"


class Method(StrEnum):
    """How rows go that are past ``keep``.

    CRYPTO waits until a whole month of an employee and sensitivity is past, and destroys its key. REWRITE writes files
    anew without the rows, as soon as they are past.
    """

    CRYPTO = "crypto"
    REWRITE = "rewrite"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; None matches all.

    Attributes:
        keep: days after which rows may go by ``method``.
        hard_max: days after which no row is left whatever the method, from the earlier of capture and landing.
    """

    dataset: str | None
    sensitivities: frozenset[int] | None
    contracts: frozenset[int] | None
    keep: int
    hard_max: int | None = None
    clock: ClockKind = ClockKind.CAPTURED
    method: Method = Method.REWRITE

    def matches(self, dataset: str, sensitivity: int, contract: int) -> bool:
        """Whether it is about these rows."""
        return (
            self.dataset in {None, dataset}
            and (self.sensitivities is None or sensitivity in self.sensitivities)
            and (self.contracts is None or contract in self.contracts)
        )


@dataclass(frozen=True, slots=True)
class Threshold:
    """Above which a purge takes a second person; 0 for always."""

    rows: int = 0
    employees: int = 0

    def exceeded(self, rows: int, employees: int) -> bool:
        """Whether a purge of so much takes one."""
        return rows > self.rows or employees > self.employees


@dataclass(frozen=True, slots=True)
class Retention:
    """The rules of one lake. Without a document there are none, and contracts alone say how long."""

    rules: tuple[Rule, ...] = ()
    threshold: Threshold = Threshold()
    text: str = ""
    digest: str = "sha256:" + hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True, slots=True)
class Kept:
    """What is to be decided of: where rows lie, the contract version they landed under, and when (naive UTC)."""

    dataset: str
    sensitivity: int
    contract: int
    received: datetime


@dataclass(frozen=True, slots=True)
class Cut:
    """Rows captured at ``may`` or before may go with their month; those at ``must`` or before must go now."""

    may: datetime
    must: datetime


def parse_retention(text: str, source: str = "retention rules") -> Retention:
    """Read and check rules.

    Raises:
        DocumentError: anything unknown, missing or out of range; names line and column.
    """
    top = read_document(text, source).mapping(required=("rules",), optional=("second_person_above",))
    nodes = top["rules"].sequence()
    if len(nodes) > MOST_RULES:
        raise top["rules"].error(f"more than {MOST_RULES} rules")
    rules = tuple(map(_rule, nodes))
    if len(set(rules)) != len(rules):
        raise top["rules"].error("a rule is listed twice")
    threshold = _threshold(top["second_person_above"]) if "second_person_above" in top else Threshold()
    return Retention(rules, threshold, text, "sha256:" + hashlib.sha256(text.encode()).hexdigest())


def _threshold(node: Node) -> Threshold:
    part = node.mapping(required=("rows", "employees"))
    return Threshold(
        part["rows"].integer(minimum=0, maximum=10**15), part["employees"].integer(minimum=0, maximum=10**9)
    )


def _rule(node: Node) -> Rule:
    part = node.mapping(required=("match", "keep"), optional=("hard_max", "clock", "method"))
    match = part["match"].mapping(optional=("dataset", "sensitivity", "contract"))
    keep = part["keep"].days()
    hard_max = part["hard_max"].days() if "hard_max" in part else None
    clock = ClockKind(part["clock"].one_of(list(ClockKind))) if "clock" in part else ClockKind.CAPTURED
    if hard_max is not None and hard_max < keep:
        raise part["hard_max"].error("'hard_max' is shorter than 'keep'")
    method = Method(part["method"].one_of(list(Method))) if "method" in part else Method.REWRITE
    return Rule(
        dataset=match["dataset"].name(NAME) if "dataset" in match else None,
        sensitivities=_numbers(match["sensitivity"], len(SENSITIVITIES)) if "sensitivity" in match else None,
        contracts=_numbers(match["contract"], 1_000_000) if "contract" in match else None,
        keep=keep,
        hard_max=hard_max,
        clock=clock,
        method=method,
    )


def _numbers(node: Node, most: int) -> frozenset[int]:
    nodes = [node] if node.is_scalar() else node.sequence()
    if not nodes:
        raise node.error("name at least one number")
    return frozenset(one.integer(minimum=1, maximum=most) for one in nodes)


def rules_of(retention: Retention, kept: Kept, contracts: Iterable[Contract]) -> list[Rule]:
    """Everything that limits how long these rows are kept.

    Args:
        contracts: those that bind: the version that the rows landed under, and the newest. What employees were told is
            a promise: it counts from the earlier of capture and landing, to the row.
    """
    found = [rule for rule in retention.rules if rule.matches(kept.dataset, kept.sensitivity, kept.contract)]
    for contract in contracts:
        days = contract.retention[kept.sensitivity]
        found.append(Rule(None, None, None, days, days))
    return found


def cut(rules: Sequence[Rule], received: datetime, as_of: datetime) -> Cut:
    """Which rows are past, at a moment, of those that landed at one time."""
    may, must = NEVER, NEVER
    for rule in rules:
        if rule.clock is ClockKind.CAPTURED:
            past = _before(as_of, rule.keep)
        else:
            past = ALL if received <= _before(as_of, rule.keep) else NEVER
        may = max(may, past)
        if rule.method is Method.REWRITE:
            must = max(must, past)
        if rule.hard_max is not None:
            bound = _before(as_of, rule.hard_max)
            must = max(must, ALL if received <= bound else bound)
    return Cut(max(may, must), must)


def latest_end(rules: Sequence[Rule], month: str) -> datetime:
    """From when on no row of a month can be kept, whenever it lands: what comes later is past on arrival."""
    days = [
        limit
        for rule in rules
        for limit in (rule.keep if rule.clock is ClockKind.CAPTURED else None, rule.hard_max)
        if limit is not None
    ]
    return _after(_month_end(month), min(days)) if days else ALL


def _month_end(month: str) -> datetime:
    year, number = int(month[:4]), int(month[5:])
    following = (year + number // 12, number % 12 + 1)
    return datetime(*following, 1) if following[0] <= ALL.year else ALL  # noqa: DTZ001 - naive UTC


def _after(moment: datetime, days: int) -> datetime:
    try:
        return moment + timedelta(days=days)
    except OverflowError:
        return ALL


def _before(moment: datetime, days: int) -> datetime:
    try:
        return moment - timedelta(days=days)
    except OverflowError:
        return NEVER


@dataclass(frozen=True, slots=True)
class Span:
    """Capture times of a file's rows, both inclusive, and what is past of them."""

    first: datetime
    last: datetime
    cut: Cut


def due(spans: Sequence[Span]) -> bool:
    """Whether a month of an employee and sensitivity is dealt with now.

    It is if a row of it must go, or all of it may. Then every row that may go does.
    """
    return any(span.first <= span.cut.must for span in spans) or all(span.last <= span.cut.may for span in spans)


def month_ends(retention: Retention, contracts: Iterable[Contract], sensitivity: int, month: str) -> datetime:
    """From when on no row of a month and sensitivity can be kept in any dataset that is collected.

    Args:
        contracts: every version that batches may name.
    """
    ends = [
        latest_end(rules_of(retention, Kept(one.dataset, sensitivity, one.version, ALL), [one]), month)
        for one in contracts
    ]
    return max(ends, default=NEVER)
