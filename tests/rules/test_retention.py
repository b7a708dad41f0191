"""Rules of retention: the shortest wins, to the microsecond, on any day."""

# ruff: noqa: DTZ001 - naive UTC
from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lake.errors import DocumentError
from lake.rules.contract import parse_contract
from lake.rules.hold import HoldEvent, HoldKind, HoldScope, Spared, fold, touching
from lake.rules.retention import (
    ALL,
    NEVER,
    ClockKind,
    Cut,
    Kept,
    Method,
    Rule,
    Span,
    Threshold,
    cut,
    due,
    latest_end,
    month_ends,
    parse_retention,
    rules_of,
)
from tests import world as w

TIMES = st.datetimes(datetime(2023, 1, 1), datetime(2029, 1, 1))
RULES = st.lists(
    st.builds(
        Rule,
        st.none(),
        st.none(),
        st.none(),
        st.integers(1, 60),
        st.none() | st.integers(60, 120),
        st.sampled_from(ClockKind),
        st.sampled_from(Method),
    ),
    max_size=4,
)


def past(rule: Rule, captured: datetime, received: datetime, at: datetime) -> tuple[bool, bool]:
    """Whether a rule lets a row go, and whether it must: said in other words than the rules themselves."""
    counted = captured if rule.clock is ClockKind.CAPTURED else received
    may = counted + timedelta(days=rule.keep) <= at
    must = rule.hard_max is not None and min(captured, received) + timedelta(days=rule.hard_max) <= at
    return may or must, must or (may and rule.method is Method.REWRITE)


@given(RULES, TIMES, TIMES, TIMES)
@example([Rule(None, None, None, 1)], datetime(2028, 2, 28, 12), datetime(2028, 2, 28, 12), datetime(2028, 2, 29, 12))
@example([Rule(None, None, None, 1)], datetime(2028, 2, 29), datetime(2028, 2, 29), datetime(2028, 3, 1))
@example([Rule(None, None, None, 1)], datetime(2027, 3, 28, 1, 30), datetime(2027, 3, 28), datetime(2027, 3, 29, 1, 29))
@example([Rule(None, None, None, 30, 60)], datetime(2028, 12, 1), datetime(2027, 1, 1), datetime(2027, 3, 2))
def test_a_cut_is_what_each_rule_says_of_each_row(
    rules: list[Rule], captured: datetime, received: datetime, at: datetime
) -> None:
    """A row is at or before the cut exactly if one rule lets it go."""
    found = cut(rules, received, at)
    said = [past(rule, captured, received, at) for rule in rules]
    assert (captured <= found.may) == any(may for may, _ in said)
    assert (captured <= found.must) == any(must for _, must in said)
    assert found.must <= found.may


@given(RULES, TIMES, TIMES)
def test_after_the_end_of_a_month_nothing_of_it_is_kept(rules: list[Rule], captured: datetime, late: datetime) -> None:
    """Whenever it lands: so its key needs no successor."""
    end = latest_end(rules, f"{captured:%Y-%m}")
    if end != ALL:
        at = max(end, late)
        assert captured <= cut(rules, late, at).may


def test_ends_of_months() -> None:
    """Leap years, Decembers and the last year that there is."""
    rule = [Rule(None, None, None, 1)]
    assert latest_end(rule, "2028-02") == datetime(2028, 3, 2)
    assert latest_end(rule, "2027-02") == datetime(2027, 3, 2)
    assert latest_end(rule, "2026-12") == datetime(2027, 1, 2)
    assert latest_end(rule, "9999-12") == ALL
    assert latest_end([], "2026-12") == ALL
    assert latest_end([Rule(None, None, None, 99_999)], "9998-12") == ALL
    assert cut([Rule(None, None, None, 99_999)], datetime(1, 1, 2), datetime(2, 1, 1)) == Cut(NEVER, NEVER)


def test_contracts_are_rules_of_their_own() -> None:
    """Nothing is kept longer than the version that it landed under, and the newest, promise."""
    old = parse_contract(w.CONTRACT, "old")
    new = parse_contract(w.CONTRACT.replace('"4": 30d', '"4": 20d').replace("version: 1", "version: 2"), "new")
    kept = Kept("events", 4, 1, datetime(2026, 9, 1))
    at = datetime(2026, 9, 30)
    assert cut(rules_of(parse_retention("rules: []"), kept, [old]), kept.received, at).must == datetime(2026, 8, 31)
    assert cut(rules_of(parse_retention("rules: []"), kept, [old, new]), kept.received, at) == Cut(ALL, ALL)
    longer = parse_retention("rules: [{match: {}, keep: 900d}]")
    assert cut(rules_of(longer, kept, [old]), kept.received, at).must == datetime(2026, 8, 31)
    assert month_ends(longer, [old, new], 4, "2026-08") == datetime(2026, 10, 1)
    assert month_ends(longer, [new], 4, "2026-08") == datetime(2026, 9, 21)


def test_a_month_is_due_if_a_row_must_go_or_all_may() -> None:
    """And not while some of it may stay."""
    first, last = datetime(2026, 7, 1), datetime(2026, 7, 31)
    assert due([Span(first, last, Cut(last, NEVER))])
    assert not due([Span(first, last, Cut(last - timedelta(microseconds=1), NEVER))])
    assert due([Span(first, last, Cut(last, first))])
    assert not due([Span(first, last, Cut(ALL, NEVER)), Span(first, last, Cut(first, NEVER))])


def test_documents() -> None:
    """What is written is what is read; a digest is of the text."""
    text = """
rules:
  - match: {dataset: events, sensitivity: [3, 4], contract: 2}
    keep: 30d
    hard_max: 90d
    clock: received
    method: crypto
  - {match: {sensitivity: 1}, keep: 10d}
second_person_above: {rows: 10, employees: 2}
"""
    found = parse_retention(text)
    assert found.rules == (
        Rule("events", frozenset({3, 4}), frozenset({2}), 30, 90, ClockKind.RECEIVED, Method.CRYPTO),
        Rule(None, frozenset({1}), None, 10),
    )
    assert found.rules[0].matches("events", 3, 2)
    assert not any(found.rules[0].matches(*other) for other in (("other", 3, 2), ("events", 2, 2), ("events", 3, 1)))
    assert found.threshold == Threshold(10, 2)
    assert [found.threshold.exceeded(*much) for much in ((10, 2), (11, 1), (1, 3))] == [False, True, True]
    assert parse_retention("rules: []").threshold.exceeded(1, 1)
    assert found.digest != parse_retention(text + "\n").digest


BROKEN = [
    "rules: {}",
    "rules: [{match: {}, keep: 30}]",
    "rules: [{match: {}, keep: 0d}]",
    "rules: [{keep: 30d}]",
    "rules: [{match: {}, keep: 30d, hard_max: 20d}]",
    "rules: [{match: {sensitivity: 5}, keep: 30d}]",
    "rules: [{match: {sensitivity: []}, keep: 30d}]",
    "rules: [{match: {person: 5}, keep: 30d}]",
    "rules: [{match: {}, keep: 30d, clock: wall}]",
    "rules: [{match: {}, keep: 30d, method: rm}]",
    "rules: [{match: {}, keep: 30d}, {match: {}, keep: 30d}]",
    "rules: []\nsecond_person_above: {rows: -1, employees: 0}",
    "rules: []\nsecond_person_above: {rows: 1}",
    "keep: 30d",
]


@pytest.mark.parametrize("text", BROKEN)
def test_documents_that_are_not_valid_say_where(text: str) -> None:
    """Line and column."""
    with pytest.raises(DocumentError, match=r"rules\.yaml:\d+:\d+"):
        parse_retention(text, "rules.yaml")


def test_a_hold_takes_two_people_to_release() -> None:
    """Who asks does not agree; what was released stays so."""
    at = datetime(2026, 9, 1)

    def event(kind: HoldKind, by: str, hold: str = "a") -> HoldEvent:
        scope = HoldScope("E1") if kind is HoldKind.PLACE else None
        return HoldEvent(hold, kind, at, by, "because of it", scope, at.date() if scope else None)

    placed, asked = event(HoldKind.PLACE, "ann"), event(HoldKind.ASK, "ann")
    assert fold([placed]).holds["a"].active
    assert fold([placed, asked, event(HoldKind.RELEASE, "ann")]).holds["a"].active
    assert fold([placed, event(HoldKind.RELEASE, "ben")]).holds["a"].active
    done = fold([placed, asked, event(HoldKind.RELEASE, "ben"), event(HoldKind.PLACE, "ann")])
    assert not done.holds["a"].active
    assert done.active() == []
    assert fold([asked, event(HoldKind.PLACE, "ann", "b")]).holds.keys() == {"b"}
    assert fold([placed]).holds["a"].overdue(at.date() + timedelta(days=1))


@given(TIMES, TIMES, st.none() | TIMES, st.none() | TIMES, TIMES)
def test_holds_cover_what_they_touch(
    one: datetime, other: datetime, first: datetime | None, last: datetime | None, row: datetime
) -> None:
    """Between two times: a row that is held is touched; if all are covered each is held."""
    begin, end = min(one, other), max(one, other)
    spared = Spared("a", None, None, first, last)
    held = (first is None or row >= first) and (last is None or row < last)
    if begin <= row <= end:
        assert spared.touches(begin, end) or not held
        assert held or not spared.covers(begin, end)
        assert bool(touching([spared], 1, "events", begin, end)) == spared.touches(begin, end)
    assert not touching([Spared("a", 2, None, None, None)], 1, "events", begin, end)
    assert not touching([Spared("a", None, "moods", None, None)], 1, "events", begin, end)
