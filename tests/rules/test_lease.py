"""Leases: what is judged by them lands only as pauses allow, and a collector stops by its own clock."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.rules.halt import Backlog, Place, Scope, ScopeKind
from lake.rules.lease import SKEW, TTL, Batch, Held, Lease, judge, mismatch, newer, outstanding, recordable
from tests.rules.collecting import ADA, BEN, PLACES, TYPES, at, halts, lease, passes, pause, resumed

SCOPES = sorted({scope for place in PLACES for scope in place.scopes()}, key=str)


def test_a_lease_is_for_one_device_employee_dataset_contract_and_its_types() -> None:
    """Whatever differs is named, the first first."""
    one = lease(ADA, 0, [])
    batch = Batch("d", 1, "ada", "desktop", "sha256:c", frozenset({"key"}))
    assert mismatch(one, batch, ADA) is None
    assert mismatch(one, replace(batch, types=None), ADA) is None
    for word, value in (
        ("device", "e"),
        ("enrolment", 2),
        ("employee", "ben"),
        ("dataset", "browser"),
        ("contract", "sha256:d"),
        ("types", frozenset({"key", "screen"})),
    ):
        assert mismatch(one, replace(batch, **{word: value}), ADA) == word


@pytest.mark.parametrize("backlog", list(Backlog))
def test_a_pause_that_the_lease_knew_forbids_nothing_but_its_own_time(backlog: Backlog) -> None:
    """After a resumption a new lease records; what it says of the time of the pause is dropped all the same."""
    begun = pause(1, 0, backlog=backlog)
    known = halts(begun, *resumed(begun, 2, 600))
    one = lease(ADA, 610, known)
    gate, forbidding = judge(one, ADA, known)
    assert forbidding == []
    assert passes(gate, "ada", "key", at(611))
    # Within the skew before its beginning, and still inside the pause.
    assert not passes(gate, "ada", "key", at(599))
    assert passes(gate, "ada", "key", at(605))


def test_an_old_lease_is_refused_for_good() -> None:
    """Also when the pause has ended meanwhile, and whatever the capture time is said to be."""
    one = lease(ADA, 0, [])
    begun = pause(1, 100)
    for known in (halts(begun), halts(begun, *resumed(begun, 2, 200))):
        gate, forbidding = judge(one, ADA, known)
        assert gate.types == frozenset()
        assert [halt.id for halt in forbidding] == ["1"]
        assert not passes(gate, "ada", "key", at(50))


def test_a_backlog_is_accepted_if_the_whole_lease_was_over() -> None:
    """By the lease's time and the skew, to the second; a row inside the pause is dropped even so."""
    one = lease(ADA, 0, [])
    over = (one.expires + SKEW - at(0)).total_seconds()
    for since, accepted in ((over, True), (over + 1, True), (over - 1, False), (1, False)):
        known = halts(pause(1, since, backlog=Backlog.ACCEPT))
        gate, _ = judge(one, ADA, known)
        assert passes(gate, "ada", "key", at(10)) is accepted
        assert not passes(gate, "ada", "key", at(since))
    assert judge(one, ADA, halts(pause(1, over, backlog=Backlog.DROP)))[0].types == frozenset()


def test_a_pause_of_some_types_drops_those_rows_alone() -> None:
    """The others of the same batch land."""
    one = lease(ADA, 0, [])
    gate, forbidding = judge(one, ADA, halts(pause(1, 10, types=frozenset({"key"}))))
    assert len(forbidding) == 1
    assert not passes(gate, "ada", "key", at(5))
    assert passes(gate, "ada", "window", at(5))
    assert judge(one, ADA, halts(pause(1, 10, types=frozenset({"other"}))))[1] == []


def test_rows_outside_of_the_lease_do_not_pass() -> None:
    """Two hours early or late, another's, or of a type that was not granted."""
    one = lease(ADA, 0, [], TYPES - {"key"})
    gate, _ = judge(one, ADA, [])
    assert passes(gate, "ada", "window", at(0) - SKEW)
    assert passes(gate, "ada", "window", one.expires + SKEW)
    for wrong in (timedelta(hours=-2), timedelta(hours=2), -SKEW - timedelta(microseconds=1)):
        assert not passes(gate, "ada", "window", at(0) + wrong)
    assert not passes(gate, "ben", "window", at(1))
    assert not passes(gate, "ada", "key", at(1))


def test_which_leases_a_pause_has_to_wait_for() -> None:
    """Those that were issued before it, cover what it stops, and were not surely over."""
    (halt,) = halts(pause(1, 1000, Scope(ScopeKind.EMPLOYEE, "ada"), frozenset({"key"})))
    assert outstanding(halt, lease(ADA, 900, []), ADA)
    assert outstanding(halt, lease(ADA, 1000 - 329, []), ADA)
    assert not outstanding(halt, lease(ADA, 1000 - 330, []), ADA)
    assert not outstanding(halt, lease(BEN, 900, []), BEN)
    assert not outstanding(halt, lease(ADA, 900, [], frozenset({"click"})), ADA)
    assert not outstanding(halt, lease(ADA, 1001, [halt], frozenset({"click"})), ADA)


def test_a_collector_stops_by_its_own_clock() -> None:
    """From when the request was sent, so that a slow answer or a wall clock set wrong gives nothing away."""
    held = Held(at(0), 300, sent=1_000.0)
    assert held.live(1_000)
    assert held.live(1_299.9)
    assert not held.live(1_300)
    assert not held.live(999.9)
    assert (held.due(1_149), held.due(1_150)) == (False, True)
    assert held.stamp(1_042.5) == at(42.5)


class Story:
    """A random story: who paused and resumed what, which leases were granted, what was captured under them."""

    def __init__(self) -> None:
        self.events = []
        self.clock = 0
        self.number = 0

    def known(self):
        """The pauses so far."""
        return halts(*self.events)

    def pause(self, scope: Scope, types: frozenset[str] | None, backlog: Backlog) -> None:
        """One more."""
        self.number += 1
        self.events.append(pause(self.number, self.clock, scope, types, backlog))

    def resume(self, which: int) -> None:
        """One less."""
        lasting = [halt for halt in self.known() if halt.ended is None]
        if lasting:
            self.events += resumed(lasting[which % len(lasting)].begun, self.number + 1, self.clock)
            self.number += 2

    def forbidden(self, place: Place, kind: str, moment: float) -> bool:
        """Whether it was paused when something was captured; straight from the words of the orders."""
        for halt in self.known():
            inside = halt.begun.at <= at(moment) and (halt.ended is None or at(moment) < halt.ended.at)
            if inside and halt.order.scope in place.scopes() and (halt.order.types is None or kind in halt.order.types):
                return True
        return False


STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("pause"),
            st.sampled_from(SCOPES),
            st.sampled_from([None, frozenset({"key"}), frozenset({"window", "click"})]),
            st.sampled_from(list(Backlog)),
        ),
        st.tuples(st.just("resume"), st.integers(0, 5)),
        st.tuples(st.just("wait"), st.integers(1, 400)),
        st.tuples(st.just("grant"), st.sampled_from(PLACES)),
        st.tuples(st.just("capture"), st.integers(0, 9), st.sampled_from(sorted(TYPES))),
        st.tuples(st.just("upload"), st.integers(0, 9)),
    ),
    max_size=40,
)


@settings(max_examples=300)
@given(STEPS)
def test_nothing_captured_in_a_pause_ever_lands_and_the_unaffected_lose_nothing(steps: list[tuple]) -> None:
    """Agents that record on whatever happens, and stamp truly; random pauses, resumptions and late uploads."""
    story = Story()
    leases: list[tuple[Place, Lease, list[tuple[float, str]]]] = []
    for step, *rest in steps:
        story.clock += 1
        match step:
            case "pause":
                story.pause(*rest)
            case "resume":
                story.resume(*rest)
            case "wait":
                story.clock += rest[0]
            case "grant":
                (place,) = rest
                types = recordable(place, TYPES, story.known())
                for kind in TYPES:
                    assert (kind in types) is not story.forbidden(place, kind, story.clock)
                if types:
                    leases.append((place, lease(place, story.clock, story.known(), types), []))
            case "capture" if leases:
                # Under any lease it ever had, over or not: a broken agent.
                leases[rest[0] % len(leases)][2].append((story.clock, rest[1]))
            case "upload" if leases:
                _land(story, *leases[rest[0] % len(leases)])
    for held in leases:
        _land(story, *held)


def _land(story: Story, place: Place, one: Lease, captured: list[tuple[float, str]]) -> None:
    gate, _ = judge(one, place, story.known())
    covered = [halt for halt in story.known() if halt.covers(place)]
    for moment, kind in captured:
        landed = passes(gate, place.employee, kind, at(moment))
        assert not (landed and story.forbidden(place, kind, moment))
        if not covered and kind in one.types and one.issued <= at(moment) <= one.expires:
            assert landed


@settings(max_examples=200)
@given(
    st.integers(1, 400),
    st.sampled_from(SCOPES),
    st.sampled_from([None, frozenset({"key"})]),
    st.floats(-10_000, 10_000),
    st.sampled_from(sorted(TYPES)),
)
def test_while_it_lasts_a_dropping_pause_takes_nothing_whatever_an_agent_says(
    since: int, scope: Scope, types: frozenset[str] | None, said: float, kind: str
) -> None:
    """With any lease from before, and any capture time that it may claim."""
    known = halts(pause(1, since, scope, types))
    (halt,) = known
    for place in PLACES:
        gate, _ = judge(lease(place, 0, []), place, known)
        if halt.covers(place) and (types is None or kind in types):
            assert not passes(gate, place.employee, kind, at(said))
        else:
            assert passes(gate, place.employee, kind, at(said)) is (-SKEW <= timedelta(seconds=said) <= TTL + SKEW)


@given(st.lists(st.sampled_from(SCOPES), max_size=6), st.integers(0, 6))
def test_epochs_say_exactly_which_pauses_are_newer(scopes: list[Scope], granted: int) -> None:
    """As one number for all would, of the place's own scopes."""
    events = [pause(number + 1, number, scope) for number, scope in enumerate(scopes)]
    for place in PLACES:
        one = lease(place, granted, halts(*events[:granted]))
        expected = [event.id for event in events[granted:] if event.order.scope in place.scopes()]
        assert [halt.id for halt in newer(one, place, halts(*events))] == expected
