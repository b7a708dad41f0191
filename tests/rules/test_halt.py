"""Pauses: who is covered, what counts as their end, and what time they close."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake.rules.halt import (
    LEVELS,
    WAITS,
    Event,
    EventKind,
    Scope,
    ScopeKind,
    closed,
    epochs,
    newest_by_scope,
    parse_scope,
)
from lake.rules.lease import recordable
from tests.rules.collecting import ADA, BEN, CLEO, PLACES, TYPES, at, halts, pause, resumed

SALES, DESKTOP = Scope(ScopeKind.TEAM, "sales"), Scope(ScopeKind.PROGRAMME, "desktop")


@pytest.mark.parametrize(
    ("text", "scope"),
    [
        ("global", Scope(ScopeKind.GLOBAL)),
        ("programme:desktop", DESKTOP),
        ("region:eu", Scope(ScopeKind.REGION, "eu")),
        ("team:sales", SALES),
        ("employee:a:b", Scope(ScopeKind.EMPLOYEE, "a:b")),
        *((wrong, None) for wrong in ("", "global:", "global:x", "team", "team:", "reads:3", "everyone", "Team:sales")),
    ],
)
def test_scopes_are_read_strictly(text: str, scope: Scope | None) -> None:
    """What is no scope is none, and what is one shows as it was given."""
    assert parse_scope(text) == scope
    assert scope is None or str(scope) == text


def test_every_scope_covers_its_places_and_no_others() -> None:
    """Each place lies in one scope of each level."""
    for place in PLACES:
        for scope in place.scopes():
            (halt,) = halts(pause(1, 0, scope))
            assert {other for other in PLACES if halt.covers(other)} == {
                other for other in PLACES if scope in other.scopes()
            }
    (frozen,) = halts(pause(1, 0, Scope(ScopeKind.READS, "1")))
    assert not any(frozen.covers(place) for place in PLACES)


def test_it_ends_when_a_second_person_agrees_in_time() -> None:
    """Not by who asked, not without asking, not after the asking has lapsed; and it ends once."""
    begun = pause(1, 0)
    asked, agreed = resumed(begun, 2, 60)
    own = Event("1", EventKind.APPROVE, at(70), "ann", 3)
    late = Event("1", EventKind.APPROVE, at(60) + WAITS, "bob", 3)
    early = Event("1", EventKind.APPROVE, at(59), "bob", 3)
    for events in ([begun, agreed], [begun, asked, own], [begun, asked, late], [begun, asked, early], [agreed, begun]):
        assert [halt.ended for halt in halts(*events)] == [None], events
    again = Event("1", EventKind.APPROVE, at(90), "cid", 4)
    (ended,) = halts(begun, asked, agreed, again)
    assert (ended.since, ended.until) == (at(0), at(60))
    fresh, _ = resumed(begun, 5, 90_000)
    (halt,) = halts(begun, asked, fresh, Event("1", EventKind.APPROVE, at(90_001), "bob", 6))
    assert halt.until == at(90_001)


def test_a_clock_that_was_set_back_opens_nothing() -> None:
    """An end before the beginning closes what lies between the two."""
    begun = pause(1, 600)
    (ended,) = halts(begun, *resumed(begun, 2, 0))
    assert (ended.since, ended.until) == (at(0), at(600))


def test_epochs_are_of_the_place_alone() -> None:
    """Each level has the newest event of its own scope, and a resumption counts as one."""
    first = pause(3, 0, SALES)
    known = halts(first, *resumed(first, 5, 10), pause(9, 20, Scope(ScopeKind.REGION, "us")))
    newest = newest_by_scope(known)
    assert epochs(ADA, newest) == (0, 0, 0, 6, 0)
    assert epochs(BEN, newest) == (0, 0, 0, 0, 0)
    assert epochs(CLEO, newest) == (0, 0, 9, 6, 0)
    assert len(LEVELS) == 5


def test_nested_scopes_compose_and_deny_wins() -> None:
    """Ending one of two pauses opens nothing that the other closes; types add up."""
    wide, narrow = pause(1, 0, Scope(ScopeKind.GLOBAL), frozenset({"key"})), pause(2, 5, SALES)
    both = halts(wide, narrow)
    assert recordable(ADA, TYPES, both) == frozenset()
    assert recordable(BEN, TYPES, both) == TYPES - {"key"}
    without_wide = halts(wide, narrow, *resumed(wide, 3, 10))
    assert recordable(ADA, TYPES, without_wide) == frozenset()
    assert recordable(BEN, TYPES, without_wide) == TYPES
    without_narrow = halts(wide, narrow, *resumed(narrow, 3, 10))
    assert recordable(ADA, TYPES, without_narrow) == TYPES - {"key"}


def test_closed_times_without_a_lease() -> None:
    """Of everybody, of a team as far as it is known, of one employee; other datasets are left alone."""
    begun = pause(4, 0, Scope(ScopeKind.EMPLOYEE, "ben"))
    known = halts(
        pause(1, 0, SALES, frozenset({"key"})),
        pause(2, 0, Scope(ScopeKind.PROGRAMME, "browser")),
        pause(3, 0, Scope(ScopeKind.READS, "1")),
        begun,
        *resumed(begun, 5, 60),
        pause(7, 0, Scope(ScopeKind.REGION, "mars")),
    )
    members = {SALES: frozenset({"ada", "cleo"})}
    team, ben = closed(known, "desktop", members)
    assert (team.employees, team.types, team.until) == (members[SALES], {"key"}, None)
    assert (ben.employees, ben.types, ben.until) == ({"ben"}, None, at(60))
    assert len(closed(known, "browser", {})) == 2
    assert team.holds("ada", "key", at(0))
    assert not team.holds("ada", "key", at(-1))
    assert not team.holds("ada", "window", at(1))
    assert not team.holds("ben", "key", at(1))
    assert ben.holds("ben", "window", at(60) - timedelta(microseconds=1))
    assert not ben.holds("ben", "window", at(60))


@given(st.permutations(range(4)), st.sets(st.integers(0, 3)))
def test_more_pauses_never_allow_more(order: list[int], ended: set[int]) -> None:
    """Whatever is paused and resumed in whatever order, one pause more takes away or changes nothing."""
    scopes = (Scope(ScopeKind.GLOBAL), DESKTOP, SALES, Scope(ScopeKind.EMPLOYEE, "ada"))
    types = (frozenset({"key"}), None, frozenset({"click", "window"}), None)
    events = []
    for turn, which in enumerate(order):
        begun = pause(10 * turn + 1, turn, scopes[which], types[which])
        before = [recordable(place, TYPES, halts(*events)) for place in PLACES]
        events.append(begun)
        after = [recordable(place, TYPES, halts(*events)) for place in PLACES]
        assert all(new <= old for new, old in zip(after, before, strict=True))
        if which in ended:
            events += resumed(begun, 10 * turn + 2, turn)
            assert [recordable(place, TYPES, halts(*events)) for place in PLACES] == before
