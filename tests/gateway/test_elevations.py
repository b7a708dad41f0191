"""Break-glass: a second person, a limit, an end, and every step of it on record."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, timedelta

import pytest

from lake.errors import AuditUnavailableError, DeniedError, UsageError
from lake.rules.elevation import State, elevate
from lake.rules.model import Identity
from tests.gateway.elevated import DOOR, REASON, START, Desk, desk_of, kinds, wish
from tests.world import World

HOUR = timedelta(hours=1)


@pytest.fixture
def desk(world: World) -> Iterator[Desk]:
    """Break-glass on a copy of the known lake."""
    with desk_of(world) as opened:
        yield opened


def test_a_second_person_opens_the_door_for_a_while(desk: Desk) -> None:
    """Asked for, approved, in force for user and purpose, over; the role is lent and no other is lost."""
    one = desk.ask()
    assert desk.ids() == []
    desk.now += HOUR
    desk.approve(one)
    (active,) = desk.active()
    assert (active.id, active.door, active.role, active.purpose) == (one.id, "open_all", "all", "incident")
    assert active.expires == START + 3 * HOUR
    assert desk.ids("coco") == desk.ids("stu", "study") == desk.ids("olga") == []
    assert desk.policy is not None
    principal = desk.policy.principal(Identity("stu"))
    assert elevate(principal, desk.active()).roles == ("student", "all")
    assert elevate(principal, desk.active() * 2) == elevate(elevate(principal, desk.active()), desk.active())
    assert elevate(principal, ()) == principal
    desk.now = START + 3 * HOUR - timedelta(microseconds=1)
    assert desk.ids() == [one.id]
    desk.now = START + 3 * HOUR
    assert desk.ids() == []


@pytest.mark.parametrize("by", ["olga", "vera-canary", "nobody-known", "none"])
def test_who_the_door_does_not_name_cannot_ask(desk: Desk, by: str) -> None:
    """One answer to all of them, also for a door that does not exist; nothing is made, each is on record."""
    texts = set()
    for asked in (wish(), wish(door="no_such_door"), wish(user="stu"), wish(door="\udc80" * 100)):
        with pytest.raises(DeniedError) as caught:
            desk.elevations.request(desk.policy, by, asked)
        texts.add(str(caught.value))
    assert len(texts) == 1
    with pytest.raises(DeniedError):
        desk.elevations.request(None, by, wish())
    assert desk.elevations.all() == []
    assert kinds(desk) == ["break_glass.deny"] * 5


@pytest.mark.parametrize(
    "asked",
    [
        wish(purpose="study"),
        wish(purpose="no_such_purpose"),
        wish(hours=4.001),
        wish(hours=0),
        wish(hours=-1),
        wish(hours=0.0001),
        wish(reason="too short"),
        wish(reason="x" + " " * 20 + "y"),
        wish(reason="r" * 501),
        wish(reason="a reason with \udc80 in it"),
        wish(reason="a reason with \x1b[2J in it"),
    ],
)
def test_a_request_is_one_that_the_door_takes(desk: Desk, asked: object) -> None:
    """Purpose, length and reason; complaints do not quote the reason."""
    with pytest.raises(UsageError) as caught:
        desk.elevations.request(desk.policy, "stu", asked)  # type: ignore[arg-type]
    assert "reason with" not in str(caught.value)
    assert desk.elevations.all() == []


def test_the_limits_themselves_are_taken(desk: Desk) -> None:
    """Exactly as long as the door opens, and reasons of exactly 10 and 500 characters."""
    for asked in (wish(hours=4), wish(reason="r" * 10), wish(reason="r" * 500)):
        assert desk.elevations.request(desk.policy, "stu", asked).asked.lasting <= 4 * HOUR
    assert len(desk.elevations.all()) == 3


def test_nobody_approves_what_they_asked_for_or_get(desk: Desk) -> None:
    """Neither for themselves nor for another, though the door names them; a third person does."""
    own, given = desk.ask("coco"), desk.ask("coco", user="wim")
    for one, by in ((own, "coco"), (given, "coco"), (given, "wim")):
        with pytest.raises(DeniedError, match="second person"):
            desk.approve(one, by)
    for by in ("stu", "vera-canary", "nobody-known"):
        with pytest.raises(DeniedError, match="access denied"):
            desk.approve(own, by)
    assert desk.ids("coco") == desk.ids("wim") == []
    desk.approve(own, "wim")
    desk.approve(given, "olga")
    assert desk.ids("coco") == [own.id]
    assert desk.ids("wim") == [given.id]
    assert kinds(desk).count("break_glass.deny") == 6


def test_a_request_is_withdrawn_or_lapses(desk: Desk) -> None:
    """What was withdrawn, and what has waited for a day, cannot be approved any more."""
    withdrawn, late = desk.ask(), desk.ask("coco")
    desk.revoke(withdrawn, "stu")
    with pytest.raises(UsageError, match="has ended"):
        desk.approve(withdrawn)
    desk.now += 24 * HOUR
    with pytest.raises(UsageError, match="has ended"):
        desk.approve(late)
    assert desk.ids() == desk.ids("coco") == []
    with pytest.raises(UsageError, match="no such request"):
        desk.elevations.approve(desk.policy, "olga", "0" * 32)


@pytest.mark.parametrize("by", ["stu", "olga", "wim", "coco"])
def test_who_may_end_it(desk: Desk, by: str) -> None:
    """Holder and approvers, at once and for good; twice is once."""
    one = desk.opened()
    assert desk.ids() == [one.id]
    ended = desk.revoke(one, by)
    assert ended.ended is not None
    assert ended.ended.by == by
    assert desk.ids() == []
    assert desk.revoke(one, "olga") == ended
    with pytest.raises(UsageError):
        desk.approve(one)
    assert desk.ids() == []
    assert kinds(desk) == ["break_glass.request", "break_glass.approve", "break_glass.revoke"]


def test_who_may_not_end_it(desk: Desk) -> None:
    """Others, unless they operate the lake; also without a policy in force."""
    one = desk.opened()
    for by in ("vera-canary", "nobody-known"):
        with pytest.raises(DeniedError):
            desk.revoke(one, by)
    with pytest.raises(DeniedError):
        desk.elevations.revoke(None, "olga", one.id)
    assert desk.ids() == [one.id]
    desk.revoke(one, "root", operator=True)
    assert desk.ids() == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (DOOR, ""),
        ("open_all:", "other:"),
        ("{role: all, purposes: [incident], request", "{role: student, purposes: [incident], request"),
        ("role: all, purposes: [incident]", "role: student, purposes: [study, incident]"),
        ("request: [stu, coco, wim]", "request: [coco, wim]"),
        ("approve: [olga, coco, wim]", "approve: [coco, wim]"),
        ("at_most: 4h", "at_most: 119m"),
    ],
)
def test_the_policy_in_force_must_still_hold_the_door(desk: Desk, old: str, new: str) -> None:
    """Without door, role, holder, approver or length it is closed at once, and not approved either."""
    waiting, one = desk.ask(), desk.opened("stu", reason="another reason")
    assert desk.ids() == [one.id]
    desk.change(old, new)
    assert desk.ids() == []
    with pytest.raises(DeniedError):
        desk.approve(waiting)
    desk.change("at_most: 4h", "at_most: 3h")
    assert desk.ids() == [one.id]


def test_the_same_again_changes_nothing(desk: Desk) -> None:
    """A request that waits is not made twice, an approval counts from the first one, and each is on record once."""
    one = desk.ask()
    assert desk.ask() == one
    assert desk.ask(reason="another reason").id != one.id
    assert desk.ask("coco").id != one.id
    first = desk.approve(one)
    desk.now += HOUR
    assert desk.approve(one) == desk.approve(one, "wim") == first
    assert kinds(desk) == ["break_glass.request"] * 3 + ["break_glass.approve"]
    assert desk.ask().id != one.id


def test_a_clock_set_back_brings_nothing_back(desk: Desk) -> None:
    """What was seen to have run out stays closed; what was approved in the future is not in force yet."""
    one = desk.opened()
    desk.now += 2 * HOUR
    assert desk.ids("nobody-known") == []  # whoever looks, for whomever
    desk.now = START
    assert desk.ids() == []
    assert desk.elevations.all()[0].state(START) is State.EXPIRED
    assert kinds(desk)[-1] == "break_glass.expire"
    other = desk.opened("coco")
    desk.now = START - HOUR
    assert desk.ids("coco") == []
    desk.now = START
    assert desk.ids("coco") == [other.id]
    assert one.id != other.id


def test_an_end_in_another_process_counts_here(desk: Desk) -> None:
    """What is kept in memory is dropped after every event."""
    kept = desk.elevations
    assert desk.policy is not None
    one = desk.ask()
    assert kept.active(desk.policy, "stu", "incident", desk.now) == ()
    before = kept.mark()
    desk.approve(one)
    assert kept.mark() > before
    assert [active.id for active in kept.active(desk.policy, "stu", "incident", desk.now)] == [one.id]
    desk.revoke(one, "stu")
    assert kept.active(desk.policy, "stu", "incident", desk.now) == ()


def test_every_step_is_on_record(desk: Desk) -> None:
    """Who, for whom, which door and role; the reason sealed, and nobody named in clear."""
    one = desk.ask("coco", user="stu")
    desk.approve(one)
    desk.now += 2 * HOUR
    assert desk.ids() == []
    found = [entry for entry in desk.world.entries() if entry["type"].startswith("break_glass.")]
    tag = desk.lake.home.control.actor_tag
    for entry, kind, by in zip(found, ("request", "approve", "expire"), ("coco", "olga", "stu"), strict=True):
        assert entry["type"] == f"break_glass.{kind}"
        assert (entry["actor"]["p"], entry["for"], entry["elevation"]) == (tag(by), tag("stu"), one.id)
        assert (entry["door"], entry["role"], entry["purpose"]) == ("open_all", "all", "incident")
    assert found[0]["seconds"] == 7200
    assert found[1]["until"] == "2026-09-15T14:00:00.000Z"
    assert desk.lake.home.recorder.open_detail(found[0]) == {"reason": REASON}
    desk.lake.home.anchor_log()
    stored = b"".join(path.read_bytes() for path in desk.world.root.rglob("*") if path.is_file())
    for word in (REASON, "ticket 4711", "coco", "olga"):
        assert word.encode() not in stored


def test_what_cannot_be_recorded_does_not_happen(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a request nor an approval, nor a revocation, nor a look at what has run out."""
    one, two = desk.ask(), desk.opened("coco")
    head = desk.lake.home.catalog.head()

    def refuse(_: object) -> None:
        raise AuditUnavailableError("injected")

    with monkeypatch.context() as patched:
        patched.setattr(desk.lake.home.log, "append", refuse)
        for act in (
            lambda: desk.ask(reason="another reason"),
            lambda: desk.approve(one),
            lambda: desk.revoke(two, "coco"),
        ):
            with pytest.raises(AuditUnavailableError):
                act()
        desk.now += 2 * HOUR
        with pytest.raises(AuditUnavailableError):
            desk.active("coco")
    assert desk.lake.home.catalog.head() == head
    desk.now = START
    assert desk.ids() == []
    assert desk.ids("coco") == [two.id]


def test_times_are_utc(desk: Desk) -> None:
    """A clock with an offset is the same moment."""
    one = desk.opened()
    assert one.approved is not None
    assert one.approved.at.replace(tzinfo=UTC) == desk.clock()
