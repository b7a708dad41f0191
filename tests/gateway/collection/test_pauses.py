"""Pauses against collectors of every kind: nothing that was captured after a pause lands, and the bound is true."""

from __future__ import annotations

from datetime import timedelta

import pytest

from lake.errors import DeniedError, LeaseRefusedError, MalformedInputError, PausedError, UsageError
from lake.gateway.doctor import DAMAGE, Doctor
from lake.rules.halt import Backlog, EventKind, Order, Scope, ScopeKind
from lake.rules.lease import SKEW, TTL
from tests.gateway.collection.fleet import GLOBAL, REASON, START, Agent, Fleet, kinds, sent
from tests.world import ADA, BEN, CLEO

SALES = Scope(ScopeKind.TEAM, "sales")
HOURS = timedelta(hours=2)
AGENTS = {
    "online": {},
    "offline": {},
    "ignoring": {"obeys": False},
    "ahead": {"obeys": False, "wall": True, "skew": HOURS},
    "behind": {"obeys": False, "wall": True, "skew": -HOURS},
    "behind and obeying": {"wall": True, "skew": -HOURS},
    "suspended": {},
}


@pytest.mark.parametrize("backlog", list(Backlog))
def test_40_after_a_pause_nothing_more_is_captured_that_lands(fleet: Fleet, backlog: Backlog) -> None:
    """Online, offline, ignoring the server, clocks off by two hours, asleep until the next day."""
    agents = {kind: Agent(fleet, f"d-{number}", **ways) for number, (kind, ways) in enumerate(AGENTS.items())}
    for agent in agents.values():
        fleet.enrol(agent.name, ADA, "eu", "sales")
        assert agent.renew()
    number = _record(fleet, agents, 0, until=400)
    halt = fleet.pause(backlog=backlog)
    bound = fleet.status().bound
    assert not fleet.status().halted
    assert halt.since < bound <= halt.since + TTL + SKEW
    number = _record(fleet, agents, number, until=1_000)
    for kind in ("ignoring", "ahead", "behind"):
        assert agents[kind].captured[-1][0] > bound
    for kind in ("online", "offline", "suspended", "behind and obeying"):
        assert agents[kind].captured[-1][0] <= bound
    fleet.now = START + timedelta(days=1)
    for kind in ("offline", "suspended"):
        assert not agents[kind].capture(0)
        agents[kind].flush()
    after = {n for agent in agents.values() for moment, n in agent.captured if moment >= halt.since}
    assert len(after) > 30
    assert after.isdisjoint(fleet.rows())
    _check_status(fleet, agents)
    fleet.resume(halt)
    for kind, agent in agents.items():
        assert agent.renew()
        assert agent.capture(500)
        agent.flush()
        if not agent.wall:
            assert 500 in fleet.rows(), kind
    assert after.isdisjoint(fleet.rows())


def _record(fleet: Fleet, agents: dict[str, Agent], number: int, until: float) -> int:
    """Every half a minute each records, and those that are in reach renew; every minute these send."""
    while (fleet.now - START).total_seconds() < until:
        passed = (fleet.now - START).total_seconds()
        early = passed < 200
        for kind, agent in agents.items():
            if kind == "suspended" and not early:
                continue
            if (kind != "offline" or early) and (agent.held is None or agent.held.due(agent.monotonic)):
                agent.renew()
            number += 1
            agent.capture(number)
            if kind not in {"offline", "suspended"} and passed % 60 == 0:
                agent.flush()
        fleet.wait(30)
    return number


def _check_status(fleet: Fleet, agents: dict[str, Agent]) -> None:
    """Those that go on are named, with what was refused; of the others the bound holds."""
    status = fleet.status()
    found = {one.device.name: one for one in status.devices}
    assert not status.halted
    assert agents["ignoring"].name in {one.device.name for one in status.exceptions}
    assert found[agents["ignoring"].name].state(fleet.now) == "still sending"
    assert found[agents["ignoring"].name].refused == agents["ignoring"].refused > 5
    for kind in ("online", "offline", "suspended"):
        assert found[agents[kind].name].state(fleet.now) == "acknowledged"


def test_what_an_accepted_backlog_trusts(fleet: Fleet) -> None:
    """A clock that does not count while asleep: its rows land by their lease's time, so such a pause says drop."""
    agents = [Agent(fleet, "ada-1"), Agent(fleet, "cleo-1", employee=CLEO)]
    for agent in agents:
        agent.renew()
    fleet.wait(1_000)
    fleet.pause(SALES, backlog=Backlog.ACCEPT)
    fleet.pause(Scope(ScopeKind.EMPLOYEE, CLEO), backlog=Backlog.DROP)
    fleet.wait(3_600)
    for number, agent in enumerate(agents):
        agent.spool.append((agent.granted.token, sent(agent.employee, agent.held.stamp(1_100), number)))
        agent.flush()
    assert fleet.rows() == [0]


def test_the_bound_is_true_and_is_reached(fleet: Fleet) -> None:
    """With collectors that obey: before it somebody's lease runs, from it on nobody's; earlier if all have said so."""
    ada, ben = Agent(fleet, "ada-1"), Agent(fleet, "ben-1")
    assert ada.renew()
    fleet.wait(100)
    assert ben.renew()
    halt = fleet.pause()
    status = fleet.status()
    assert status.bound == START + timedelta(seconds=100) + TTL + SKEW
    assert {one.device.name for one in status.exceptions} == {"ada-1", "ben-1"}
    fleet.wait(20)
    assert not ben.renew()
    assert fleet.status().bound == START + TTL + SKEW
    fleet.now = START + TTL + SKEW - timedelta(microseconds=1)
    assert [one.device.name for one in fleet.status().exceptions] == ["ada-1"]
    fleet.wait(0.000001)
    assert fleet.status().halted
    states = {one.device.name: one.state(fleet.now) for one in fleet.status().devices}
    assert states == {"ada-1": "expired", "ben-1": "acknowledged"}
    assert not ada.capture(1)
    fleet.resume(halt)
    assert fleet.statuses() == []
    fleet.wait(TTL.total_seconds())
    halt = fleet.pause()
    assert fleet.status().bound == halt.since
    assert fleet.status().halted


def test_who_sends_without_a_lease_in_a_pause_is_named(fleet: Fleet) -> None:
    """Counted at the pause that covers the device, and no more once it says that it has stopped."""
    fleet.pause(SALES)
    for name in ("ada-1", "ben-1", "ada-1"):
        with pytest.raises(LeaseRefusedError):
            fleet.upload(name, "no lease", [sent(ADA, START, 1)])
    (one,) = fleet.status().exceptions
    assert (one.device.name, one.refused, one.leases, one.state(fleet.now)) == ("ada-1", 2, 0, "still sending")
    assert fleet.rows() == []
    fleet.collection.acknowledge(one.device, fleet.collection.mark())
    assert fleet.status().halted
    assert fleet.status().bound == fleet.status().halt.since


def test_an_acknowledgement_holds_for_what_was_ordered_before_it(fleet: Fleet) -> None:
    """A number from the future counts as the newest of now."""
    Agent(fleet, "ada-1").renew()
    fleet.collection.acknowledge(fleet.device("ada-1"), 10**12)
    fleet.pause()
    assert fleet.status().devices[0].acknowledged is None
    fleet.collection.acknowledge(fleet.device("ada-1"), fleet.collection.mark())
    assert fleet.status().halted


@pytest.mark.parametrize(("backlog", "landed"), [(Backlog.DROP, 0), (Backlog.ACCEPT, 2)])
def test_42_a_backlog_from_before_a_pause(fleet: Fleet, backlog: Backlog, landed: int) -> None:
    """Dropped, or landed if its whole lease was over; a lease that the pause interrupted brings nothing."""
    agent = Agent(fleet, "ada-1")
    assert agent.renew()
    agent.capture(1)
    fleet.wait(250)
    agent.capture(2)
    fleet.wait(400)
    assert agent.renew()
    agent.capture(3)
    fleet.wait(5)
    fleet.pause(backlog=backlog)
    agent.capture(4)
    fleet.wait(3_600)
    assert agent.flush() == landed
    assert fleet.rows() == [1, 2][:landed]
    assert fleet.status().devices[0].refused == 2 - landed // 2


def test_43_a_control_plane_that_is_down_stops_collectors_and_loses_nothing(fleet: Fleet) -> None:
    """For ten minutes nothing is granted: collectors stop when their leases end, and what they have lands later."""
    agent = Agent(fleet, "ada-1")
    agent.renew()
    fleet.reached = False
    recorded = []
    for number in range(60):
        if agent.held is not None and agent.held.due(agent.monotonic):
            assert not agent.renew()
        if agent.capture(number):
            recorded.append(number)
        fleet.wait(10)
    assert recorded == list(range(30))
    fleet.reached = True
    assert agent.flush() == 30
    assert agent.renew()
    assert fleet.rows() == recorded


def test_45_one_team_one_type_one_employee(fleet: Fleet) -> None:
    """The others go on as before; nested pauses add up, and ending one leaves the other."""
    tokens = {name: fleet.grant(name).token for name in ("ada-1", "ben-1", "cleo-1")}
    team = fleet.pause(SALES, frozenset({"say"}))
    one = fleet.pause(Scope(ScopeKind.EMPLOYEE, CLEO))
    rows = {ADA: "ada-1", BEN: "ben-1", CLEO: "cleo-1"}
    number = 0
    for employee, name in rows.items():
        both = [sent(employee, START, number + 1), sent(employee, START, number + 2, "say")]
        if employee == CLEO:
            with pytest.raises(PausedError):
                fleet.upload(name, tokens[name], both)
        else:
            report = fleet.upload(name, tokens[name], both)
            assert report.dropped == ({"paused": 1} if employee == ADA else {})
        number += 2
    assert fleet.rows() == [1, 3, 4]
    assert fleet.grant("ada-1").lease.types == {"focus", "judge"}
    assert fleet.grant("ben-1").lease.types == {"focus", "judge", "say"}
    with pytest.raises(PausedError):
        fleet.grant("cleo-1")
    fleet.resume(one)
    assert fleet.grant("cleo-1").lease.types == {"focus", "judge"}
    fleet.resume(team)
    assert fleet.grant("cleo-1").lease.types == {"focus", "judge", "say"}


def test_an_operators_file_is_cut_by_capture_time(fleet: Fleet) -> None:
    """No lease there: what lies inside a pause is dropped and counted, of the people and types it is about."""
    fleet.pause(SALES, frozenset({"focus"}))
    fleet.wait(60)
    times = [START - timedelta(seconds=1), START, START + timedelta(seconds=59)]
    people = (ADA, BEN, "EMP-NEW-1")
    rows = [sent(who, ts, 10 * place + at) for place, who in enumerate(people) for at, ts in enumerate(times)]
    rows.append(sent(ADA, START, 99, "say"))
    report = fleet.land(rows)
    assert (report.rows, report.dropped) == (8, {"paused": 2})
    assert fleet.rows() == [0, 10, 11, 12, 20, 21, 22, 99]


def test_an_operators_file_knows_ended_pauses_too(fleet: Fleet) -> None:
    """A gap stays a gap."""
    fleet.resume(fleet.pause(), "olga")
    fleet.wait(60)
    halt = next(iter(fleet.halts.known().halts.values()))
    assert halt.ended is None
    fleet.resume(halt, "stu")
    fleet.wait(60)
    report = fleet.land([sent(ADA, START + timedelta(seconds=s), s) for s in (-1, 0, 59, 60, 119)])
    assert report.dropped == {"paused": 2}
    assert fleet.rows() == [-1, 60, 119]
    with pytest.raises(MalformedInputError):
        fleet.land([sent(ADA, START + HOURS, 1)])


def test_who_may_end_a_pause(fleet: Fleet) -> None:
    """Two people; asking again changes nothing; an approval counts once; what is no pause is none."""
    halt = fleet.pause()
    with pytest.raises(UsageError, match="reason"):
        fleet.halts.resume("stu", halt.id)
    assert fleet.resume(halt, "olga", "olga", "olga").ended is None
    assert fleet.resume(halt, "stu", "coco", "stu").ended.by == "stu"
    assert kinds(fleet, "collection.") == ["collection.pause", "collection.resume", "collection.resume"]
    with pytest.raises(UsageError, match="no such order"):
        fleet.halts.resume("stu", "0" * 32, REASON)
    fleet.wait(1)
    lapsed = fleet.pause()
    fleet.resume(lapsed, "olga")
    fleet.wait(25 * 3600)
    assert fleet.resume(lapsed, "stu").ended is None
    assert fleet.resume(lapsed, "olga").ended.by == "olga"


def test_the_same_pause_again_is_the_same_unless_somebody_wants_to_end_it(fleet: Fleet) -> None:
    """Then it is one of its own, so that an approval on its way does not end it."""
    first = fleet.pause()
    assert fleet.pause(by="stu").id == first.id
    fleet.resume(first, "olga")
    second = fleet.pause()
    assert second.id != first.id
    fleet.resume(first, "stu")
    with pytest.raises(PausedError):
        fleet.grant("ada-1")


def test_a_pause_of_nobody_is_refused(fleet: Fleet) -> None:
    """A slip of the pen must not look like a pause."""
    for scope, types in (
        (Scope(ScopeKind.TEAM, "Sales"), None),
        (Scope(ScopeKind.REGION, "sales"), None),
        (Scope(ScopeKind.PROGRAMME, "event"), None),
        (GLOBAL, frozenset({"focuss"})),
        (Scope(ScopeKind.PROGRAMME, "moods"), frozenset({"focus"})),
        (GLOBAL, frozenset()),
    ):
        with pytest.raises(UsageError):
            fleet.pause(scope, types)
    with pytest.raises(UsageError, match="reason"):
        fleet.halts.order("olga", Order(GLOBAL, "short"))
    assert fleet.statuses() == []
    fleet.pause(Scope(ScopeKind.PROGRAMME, "moods"), frozenset({"mood"}))
    assert fleet.grant("ada-1").lease.types == {"focus", "judge", "say"}


def test_an_opt_out_stops_and_requests_a_purge(fleet: Fleet) -> None:
    """By the same epochs, for the employee alone; two people are needed to end it."""
    token = fleet.grant("ada-1").token
    order = Order(Scope(ScopeKind.EMPLOYEE, ADA), REASON)
    halt = fleet.halts.order("olga", order, EventKind.OPT_OUT)
    with pytest.raises(PausedError):
        fleet.upload("ada-1", token, [sent(ADA, START, 1)])
    assert fleet.upload("ben-1", fleet.grant("ben-1").token, [sent(BEN, START, 2)]).rows == 1
    (entry,) = fleet.world.entries("collection.opt_out")
    assert entry["purge"] == "requested"
    assert ADA not in str(entry)
    assert [one.begun.kind for one in fleet.halts.known().lasting()] == [EventKind.OPT_OUT]
    assert fleet.resume(halt).ended is not None


def test_everything_is_on_record_as_counts_and_pseudonyms(fleet: Fleet) -> None:
    """Leases, refusals, pauses; no name of an employee, a device or a person, and no reason in clear."""
    agent = Agent(fleet, "ada-1")
    agent.renew()
    fleet.wait(200)
    agent.renew()
    fleet.wait(1_000)
    agent.renew()
    agent.capture(1)
    fleet.pause(Scope(ScopeKind.EMPLOYEE, ADA))
    agent.flush()
    agent.renew()
    found = fleet.world.entries()
    expected = [*["device.enrol"] * 3, "lease.grant", "lease.renew", "lease.expire", "lease.grant", "collection.pause"]
    assert kinds(fleet) == [*expected, "ingest.refused", "lease.acknowledge", "lease.deny", "lease.acknowledge"]
    text = str([entry for entry in found if entry["type"] in set(kinds(fleet))])
    for secret in (ADA, BEN, CLEO, "ada-1", "olga", REASON):
        assert secret not in text
    assert next(entry for entry in found if entry["type"] == "ingest.refused")["reason"] == "paused"
    assert [one for one in Doctor(fleet.lake.home).examine_lake() if one.state == DAMAGE] == []


def test_nobody_alone_ends_a_pause_with_two_names_of_one_request(fleet: Fleet) -> None:
    """Who asks twice under one name gets nothing; the rule sees names, and the door gives each person one."""
    halt = fleet.pause()
    for _ in range(3):
        assert fleet.resume(halt, "olga").ended is None
    with pytest.raises((DeniedError, UsageError)):
        fleet.halts.resume("olga", halt.id + "0", REASON)
