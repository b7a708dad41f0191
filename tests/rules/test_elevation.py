"""Break-glass by rule: doors that can be opened, and no sequence of events that opens one too far."""

# ruff: noqa: DTZ001 - times are naive UTC
from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st

from lake.errors import DocumentError
from lake.rules.elevation import WAITS, Asked, Door, Event, EventKind, State, active, elevate, fold
from lake.rules.elevation_document import parse_length
from lake.rules.model import Principal
from lake.rules.policy_document import parse_policy

HOUR = timedelta(hours=1)
START = datetime(2026, 4, 1, 12)
PEOPLE = ("ann", "bob", "eve", "two")
GOOD = {
    "role": "analyst",
    "purposes": "[security, ergonomics]",
    "request": "[bob, eve]",
    "approve": "[ann@example.org, eve, two]",
    "at_most": "4h",
}


def document(policy_text: str, **values: str | None) -> str:
    """A policy with one door, some of its keys changed or left out."""
    part = ", ".join(f"{key}: {value}" for key, value in (GOOD | values).items() if value is not None)
    return f"{policy_text}break_glass:\n  open_all: {{{part}}}\n"


def test_a_door_is_read_wholly(policy_text, contracts):
    """Every part is that of the text; a policy without the key has no door."""
    policy = parse_policy(document(policy_text), contracts)
    assert policy.break_glass == {
        "open_all": Door(
            "open_all",
            "analyst",
            frozenset({"security", "ergonomics"}),
            frozenset({"bob", "eve"}),
            frozenset({"ann@example.org", "eve", "two"}),
            4 * HOUR,
        )
    }
    assert parse_policy(policy_text, contracts).break_glass == {}


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        *(({key: None}, "is missing") for key in GOOD),
        ({"role": "nobody"}, "not known"),
        ({"purposes": "[sales]"}, "not known"),
        ({"purposes": "[payroll]"}, "grants nothing"),
        ({"purposes": "[]"}, "at least one"),
        ({"purposes": "security"}, "list"),
        ({"request": "[stranger]"}, "no user"),
        ({"approve": "[ann@example.org, stranger]"}, "no user"),
        ({"request": "[]"}, "empty"),
        ({"approve": "[]"}, "empty"),
        ({"request": "bob"}, "list"),
        ({"approve": "[eve]"}, "nobody else"),
        ({"request": "[eve]", "approve": "[eve, eve]"}, "nobody else"),
        *(
            ({"at_most": text}, "length of time")
            for text in ("4", "'4 h'", "0h", "-1h", "4d", "4H", "1h30m", "1\u0664h")
        ),
        ({"at_most": "73h"}, "longer"),
        ({"at_most": "4321m"}, "longer"),
        ({"reason": "none"}, "unknown key"),
    ],
)
def test_a_door_that_could_not_be_opened_is_an_error(policy_text, contracts, values, complaint):
    """Unknown words, nobody to approve, or no end: with line and column of the door."""
    text = document(policy_text, **values)
    with pytest.raises(DocumentError, match=complaint) as caught:
        parse_policy(text, contracts)
    assert caught.value.line == text.count("\n")


@pytest.mark.parametrize("text", ["break_glass: []", "break_glass: {Open: {}}", "break_glass: {open_all: []}"])
def test_doors_have_names_and_parts(policy_text, contracts, text):
    """A list is no door, nor is a name in capitals one."""
    with pytest.raises(DocumentError):
        parse_policy(f"{policy_text}{text}\n", contracts)


def test_a_length_of_time_is_minutes_or_hours():
    """Whole ones, from one on."""
    assert (parse_length("30m"), parse_length("72h")) == (HOUR / 2, 72 * HOUR)
    assert [parse_length(text) for text in ("", "m", "0m", "1.5h", "1h ", "99999m", "1d")] == [None] * 7


DOOR = Door("door", "all", frozenset({"why"}), frozenset(PEOPLE[:3]), frozenset(PEOPLE[1:]), 4 * HOUR)
MOMENTS = st.integers(-30, 30).map(lambda hours: START + hours * HOUR / 2)
WISHES = st.builds(
    Asked,
    user=st.sampled_from(PEOPLE),
    door=st.sampled_from(["door", "door", "other"]),
    role=st.sampled_from(["all", "all", "some"]),
    purpose=st.sampled_from(["why", "why", "else"]),
    reason=st.just("because of it"),
    lasting=st.integers(0, 12).map(lambda halves: halves * HOUR / 2),
)
LIKELY = st.builds(
    replace,
    st.just(Asked("ann", "door", "all", "why", "because of it", 3 * HOUR)),
    user=st.sampled_from(PEOPLE[:2]),
    lasting=st.integers(1, 10).map(lambda halves: halves * HOUR / 2),
)
NEAR = st.integers(0, 6).map(lambda hours: START + hours * HOUR / 2)


def happened(kinds, asked=WISHES, moments=MOMENTS):
    """Events of two ids."""
    return st.builds(
        lambda name, kind, at, by, what: Event(name, kind, at, by, what if kind is EventKind.REQUEST else None),
        st.sampled_from(["1" * 32, "1" * 32, "2" * 32]),
        st.sampled_from(kinds),
        moments,
        st.sampled_from(PEOPLE),
        asked,
    )


HISTORIES = st.builds(
    lambda before, asked, between, approved, after: [*before, asked, *between, approved, *after],
    st.lists(happened([*EventKind]), max_size=1),
    happened([EventKind.REQUEST], LIKELY, NEAR),
    st.lists(happened([*EventKind]), max_size=2),
    happened([EventKind.APPROVE], moments=NEAR),
    st.lists(happened([*EventKind]), max_size=3),
)


def everywhere(events):
    """(user, moment, what is open for them then), for everybody and a day of half hours."""
    known = fold(events).values()
    for user in PEOPLE:
        for now in (START + halves * HOUR / 2 for halves in range(-2, 24)):
            for lent in active(known, {"door": DOOR}, user, "why", now):
                yield user, now, lent


@settings(max_examples=400)
@given(HISTORIES)
def test_no_sequence_of_events_opens_a_door_too_far(events):
    """Whatever happened in whatever order: never without another's yes, never beyond at_most, never after an end."""
    for user, now, lent in everywhere(events):
        own = [event for event in events if event.id == lent.id]
        first = next(event for event in own if event.kind is EventKind.REQUEST)
        said = own[own.index(first) + 1 :]
        assert first.asked is not None
        assert (first.asked.user, first.asked.purpose, first.asked.role, lent.role) == (user, "why", "all", "all")
        assert {user, first.by} <= DOOR.request
        assert not any(event.kind in {EventKind.REVOKE, EventKind.EXPIRE} for event in said)
        yes = next(event for event in said if event.kind is EventKind.APPROVE and event.by not in {user, first.by})
        assert yes.by in DOOR.approve
        assert yes.at <= now < lent.expires == yes.at + first.asked.lasting <= yes.at + DOOR.at_most


def test_the_histories_do_open_doors():
    """The property above is about something: some of its histories leave a door open."""
    assert len(find(HISTORIES, lambda events: bool(list(everywhere(events))))) >= 2


@given(WISHES, st.sampled_from(PEOPLE), st.sampled_from(PEOPLE), MOMENTS)
def test_what_is_asked_and_approved_by_the_rules_is_open(asked, by, approver, now):
    """The other way round: the two events open exactly what the door admits, for as long as was asked."""
    events = [Event("1" * 32, EventKind.REQUEST, START, by, asked), Event("1" * 32, EventKind.APPROVE, START, approver)]
    (one,) = fold(events).values()
    found = active([one], {"door": DOOR}, asked.user, "why", now)
    allowed = DOOR.admits(asked, by) and approver in DOOR.approve and approver not in {asked.user, by}
    assert bool(found) == (allowed and START <= now < START + asked.lasting)
    assert active([one], {}, asked.user, "why", now) == ()


def test_a_state_is_computed_from_events():
    """Requested, lapsed, active, expired, and whichever end came first."""
    asked = Asked("ann", "door", "all", "why", "because of it", HOUR)
    request = Event("1" * 32, EventKind.REQUEST, START, "ann", asked)
    approve = Event("1" * 32, EventKind.APPROVE, START + HOUR, "bob")
    revoke = Event("1" * 32, EventKind.REVOKE, START + HOUR, "ann")
    expire = replace(revoke, kind=EventKind.EXPIRE)

    def state(*events: Event, at: datetime = START + 1.5 * HOUR) -> State:
        (one,) = fold(events).values()
        return one.state(at)

    assert state(request) is State.REQUESTED
    assert state(request, at=START + WAITS) is State.EXPIRED
    assert state(request, approve) is State.ACTIVE
    assert state(request, approve, at=START) is State.REQUESTED
    assert state(request, approve, at=START + 2 * HOUR) is State.EXPIRED
    assert state(request, approve, revoke, expire) is State.REVOKED
    assert state(request, expire, approve, revoke) is State.EXPIRED
    assert fold([approve, revoke]) == {}


def test_a_lent_role_is_added_once():
    """Behind the own ones; one that is held already is not repeated."""
    asked = Asked("ann", "door", "all", "why", "because of it", HOUR)
    events = [
        Event("1" * 32, EventKind.REQUEST, START, "ann", asked),
        Event("1" * 32, EventKind.APPROVE, START, "two"),
    ]
    lent = active(fold(events).values(), {"door": DOOR}, "ann", "why", START)
    assert elevate(Principal("ann", ("own",)), lent).roles == ("own", "all")
    assert elevate(Principal("ann", ("all", "own"), "E1", (("a", "b"),)), lent) == Principal(
        "ann", ("all", "own"), "E1", (("a", "b"),)
    )
