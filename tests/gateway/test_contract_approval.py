"""Contracts that bind: two people for anything wider, one for less; only versions in force take batches."""

from __future__ import annotations

import signal
import sqlite3
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from keys.errors import KeysError
from keys.signing import NoteVerifier
from lake.errors import ContractBreachError, DeniedError, IntegrityError, LakeError, UsageError
from lake.gateway.contract_approval import Approvals
from lake.gateway.doctor import DAMAGE, Doctor
from tests.gateway.approving import ANN, BOB, CAT, FIRST, NARROWER, REASON, WIDER, Council, council_of, make_strict
from tests.gateway.approving import version as version_of
from tests.leak_scanner import scan
from tests.world import World, child, copy, finished


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A lake for two approvers; only to be copied."""
    return make_strict(tmp_path_factory.mktemp("strict"))


@pytest.fixture
def council(strict: World, tmp_path: Path) -> Iterator[Council]:
    """A copy of it, opened."""
    with council_of(copy(strict, tmp_path)) as opened:
        yield opened


@pytest.fixture
def begun(council: Council) -> Council:
    """The first version is in force."""
    council.approve(council.propose())
    return council


def test_a_first_version_takes_two(council: Council) -> None:
    """Until the second person has said yes nothing lands, and there is no way round by the operator's shortcut."""
    one = council.propose()
    assert council.states() == ["waiting"]
    with pytest.raises(ContractBreachError, match="no collection contract"):
        council.land()
    with pytest.raises(DeniedError, match="second person"):
        council.approve(one, ANN)
    with pytest.raises(DeniedError, match="second person"):
        council.lake.add_contract(FIRST)
    assert council.in_force() == []
    assert council.approve(one).approved is not None
    assert council.approve(one, CAT).approved.by == BOB  # type: ignore[union-attr]
    assert council.land().rows == 1
    assert council.kinds() == ["contract.propose", "contract.deny", "contract.approve"]


def test_wider_waits_and_narrower_does_not(begun: Council) -> None:
    """Batches without a version go by the newest in force; those that name an older one by that."""
    wider = begun.propose(WIDER)
    assert begun.in_force() == [1]
    assert begun.propose(WIDER).id == wider.id
    narrower = begun.propose(NARROWER)
    assert (begun.in_force(), narrower.what.alone) == ([1, 2], "narrower")
    assert begun.states() == ["in force", "overtaken", "in force"]
    with pytest.raises(UsageError, match="overtaken"):
        begun.approve(wider)
    with pytest.raises(ContractBreachError):
        begun.land(n=450)
    assert begun.land(1, n=450).rows == 1


def test_what_is_withdrawn_takes_nothing_any_more(begun: Council) -> None:
    """From the withdrawal on batches that name it are refused, and the refusal is recorded."""
    begun.propose(NARROWER)
    begun.approvals.withdraw(CAT, "events", 1, REASON)
    with pytest.raises(ContractBreachError, match="not in force"):
        begun.land(1)
    assert begun.land(2).rows == 1
    begun.approvals.withdraw(CAT, "events", 2, REASON)
    with pytest.raises(ContractBreachError):
        begun.land(batch="c")
    assert [entry["reason"] for entry in begun.world.entries("ingest.refused")] == ["contract_breach"] * 2


def test_a_withdrawn_version_does_not_come_back_by_one_person(begun: Council) -> None:
    """The next one is compared with what is in force, not with what was."""
    begun.approve(begun.propose(WIDER))
    begun.approvals.withdraw(ANN, "events", 2, REASON)
    assert begun.propose(version_of(3, maximum="600")).approved is None
    begun.approvals.withdraw(ANN, "events", 1, REASON)
    assert begun.propose(version_of(3, maximum="10")).approved is None
    assert begun.in_force() == []


def test_a_batch_that_is_under_way_when_its_version_goes_does_not_land(
    begun: Council, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit asks again."""

    def late(*given: object) -> object:
        begun.approvals.withdraw(CAT, "events", 1, REASON)
        return settle(*given)

    settle = begun.lake.home.objects.settle
    monkeypatch.setattr(begun.lake.home.objects, "settle", late)
    with pytest.raises(ContractBreachError, match="not in force"):
        begun.land()
    assert begun.world.objects() == []


def test_a_rejected_proposal_is_over(council: Council) -> None:
    """By anyone, with a reason; it can be made again."""
    one = council.propose()
    with pytest.raises(UsageError, match="reason"):
        council.approvals.reject(CAT, one.id, "no")
    council.approvals.reject(CAT, one.id, REASON)
    with pytest.raises(UsageError, match="rejected"):
        council.approve(one)
    with pytest.raises(UsageError, match="no such proposal"):
        council.approvals.approve(BOB, "f" * 32)
    again = council.propose()
    assert again.id != one.id
    council.approve(again)
    with pytest.raises(UsageError, match="in force already"):
        council.approvals.reject(CAT, again.id, REASON)
    assert council.states() == ["rejected", "in force"]


def test_a_single_approver_is_for_datasets_without_rows(world: World) -> None:
    """A lake made so takes a contract from one person until rows have landed; after that it takes two."""
    with council_of(world) as council:
        newest = council.lake.contracts.get("events")
        wider = newest.text.replace("version: 1", "version: 2").replace("maximum: 500", "maximum: 501")
        with pytest.raises(DeniedError, match="second person"):
            council.lake.add_contract(wider)
        assert council.lake.add_contract(wider.replace("maximum: 501", "maximum: 499"))
        with pytest.raises(UsageError, match="new lake"):
            council.approvals.make_single(ANN)


def test_a_lake_does_not_become_one_for_a_single_approver(begun: Council) -> None:
    """How it was made is its first event."""
    with pytest.raises(UsageError, match="new lake"):
        begun.approvals.make_single(ANN)
    with pytest.raises(DeniedError):
        begun.lake.add_contract(WIDER)


def test_the_lakes_signature_can_be_verified_by_others(begun: Council) -> None:
    """With the public key alone; the note names dataset, version and digest, and is no checkpoint of the log."""
    one = begun.approvals.standing().in_force("events")[1]
    text = NoteVerifier([begun.approvals.verifier_key]).open(one.note)
    assert text == f"telemetry-lake contract\nevents\n1\n{one.what.digest}\n"
    with pytest.raises(KeysError):
        NoteVerifier([begun.lake.home.config.audit_key]).open(one.note)


def race(*acts: object) -> list[str]:
    """Call each at once; gives ids or error codes."""
    gate, said = threading.Barrier(len(acts)), [""] * len(acts)

    def run(place: int, act: object) -> None:
        gate.wait()
        try:
            said[place] = act().id  # type: ignore[operator]
        except LakeError as error:
            said[place] = error.code

    threads = [threading.Thread(target=run, args=found) for found in enumerate(acts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return said


def test_approvals_that_race_are_one(council: Council) -> None:
    """One entry, one row, all are told the same."""
    one = council.propose()
    said = race(*(lambda by=by: Approvals(council.lake.home).approve(by, one.id) for by in (BOB, CAT, BOB)))
    assert set(said) == {one.id}
    assert council.kinds().count("contract.approve") == 1
    assert council.lake.home.catalog.verify() == council.lake.home.catalog.head()


def test_of_two_versions_that_race_one_comes_into_force(begun: Council) -> None:
    """A narrower and a wider one with the same number."""
    wider = begun.propose(WIDER)
    said = race(lambda: begun.propose(NARROWER, CAT), lambda: begun.approve(wider))
    assert said.count("usage") == 1
    assert begun.in_force() == [1, 2]
    assert len([state for state in begun.states() if state == "in force"]) == 2


def test_a_rejection_that_races_an_approval(council: Council) -> None:
    """Whichever comes first holds."""
    one = council.propose()
    said = race(lambda: council.approve(one), lambda: Approvals(council.lake.home).reject(CAT, one.id, REASON))
    assert said.count("usage") == 1
    assert council.states() == (["in force"] if said[0] == one.id else ["rejected"])


ACTING = """
from tests.gateway.approving import council_of
from tests.gateway.test_contract_approval import act as do

with council_of(world) as council:
    sys.addaudithook(hook)
    do(council, sys.argv[5])
print("finished")
"""
STATES = {
    "propose": ([], ["waiting"]),
    "approve": (["waiting"], ["in force"]),
    "narrow": (["in force"], ["in force", "in force"]),
    "reject": (["waiting"], ["rejected"]),
    "withdraw": (["in force"], ["withdrawn"]),
}


def prepare(council: Council, event: str) -> None:
    """What must be there before; everybody is known already, so that the event's own commit is the only one."""
    for user in (ANN, BOB, CAT):
        council.lake.home.actor(user)
    if event != "propose":
        one = council.propose()
        if event in {"narrow", "withdraw"}:
            council.approve(one)


def act(council: Council, event: str) -> None:
    """Let it happen."""
    (*_, newest) = [None, *council.approvals.standing().proposals.values()]
    if newest is None or event == "propose":
        council.propose()
    elif event == "approve":
        council.approve(newest)
    elif event == "narrow":
        council.propose(NARROWER)
    elif event == "reject":
        council.approvals.reject(CAT, newest.id, REASON)
    else:
        council.approvals.withdraw(CAT, "events", 1, REASON)


@pytest.mark.parametrize(
    "step",
    ["audit.journal-written", "audit.journal-synced", "contract.recorded", "contract.committed", "collection.advanced"],
)
@pytest.mark.parametrize("event", STATES)
def test_a_kill_leaves_an_event_whole_or_absent(strict: World, tmp_path: Path, event: str, step: str) -> None:
    """Before the commit nothing has happened, after it everything has; again it happens once, and all is sound."""
    world = copy(strict, tmp_path)
    with council_of(world) as council:
        prepare(council, event)
    status, out, err = finished(child(world, ACTING, step, 1, event))
    assert (status, out) == (-signal.SIGKILL, ""), err
    before, after = STATES[event]
    committed = step in {"contract.committed", "collection.advanced"}
    with council_of(world) as council:
        assert council.states() == (after if committed else before)
        act(council, event)
        act(council, event)
        assert council.states() == after
        assert [found for found in Doctor(council.lake.home).examine_lake() if found.state == DAMAGE] == []


TAMPERING = {
    "withdrawal removed": "DELETE FROM contract_events WHERE kind = 'withdraw'",
    "withdrawal and its commit removed": """
        DELETE FROM commits WHERE seq = (SELECT seq FROM contract_events WHERE kind = 'withdraw');
        DELETE FROM contract_events WHERE kind = 'withdraw'""",
    "withdrawal given to another": """
        UPDATE contract_events SET id = (SELECT id FROM contract_events ORDER BY seq LIMIT 1)
        WHERE kind = 'withdraw'""",
    "approval forged": """
        INSERT INTO contract_events SELECT (SELECT id FROM contract_events WHERE kind = 'propose' ORDER BY seq DESC),
        'approve', sealed, at, seq + 900 FROM contract_events WHERE kind = 'approve' ORDER BY seq LIMIT 1""",
    "proposal made an approval": "UPDATE contract_events SET kind = 'approve' WHERE kind = 'withdraw'",
    "every event removed": "DELETE FROM contract_events",
    "moved": "UPDATE contract_events SET at = at - 3600000000 WHERE kind = 'withdraw'",
}


@pytest.mark.parametrize("how", TAMPERING)
def test_events_changed_behind_the_lakes_back_are_noticed(begun: Council, how: str) -> None:
    """One in force, one withdrawn, one that waits: nothing lands, nobody approves, and the catalog does not verify."""
    begun.approve(begun.propose(WIDER))
    begun.propose(version_of(3, maximum="700"))
    begun.approvals.withdraw(CAT, "events", 2, REASON)
    tamper(begun.world, TAMPERING[how])
    errors = (IntegrityError, KeysError)
    begun.forget()
    with pytest.raises(errors):
        begun.land()
    with pytest.raises(errors):
        begun.in_force()
    with pytest.raises(errors):
        begun.propose(version_of(3, maximum="800"))
    with pytest.raises(IntegrityError):
        check_catalog(begun)


def check_catalog(council: Council) -> None:
    """As the doctor does it."""
    council.lake.home.catalog.verify()
    council.lake.home.catalog.check_anchor(*council.lake.home.key_store.anchor("catalog"))


def tamper(world: World, statements: str) -> None:
    """Plain SQL on the file."""
    connection = sqlite3.connect(world.root / "catalog.db")
    with connection:
        for statement in statements.split(";"):
            assert connection.execute(statement).rowcount > 0, statement
    connection.close()


PLANTED = {
    "text": "UPDATE contracts SET text = replace(text, 'maximum: 500', 'maximum: 900')",
    "another version": """
        INSERT INTO contracts SELECT dataset, 2, digest, replace(text, 'version: 1', 'version: 2'), seq
        FROM contracts""",
}


@pytest.mark.parametrize("how", PLANTED)
def test_a_contract_that_nobody_approved_takes_nothing(begun: Council, how: str) -> None:
    """A text changed in the catalog, or a version put there, is not what was signed."""
    tamper(begun.world, PLANTED[how])
    begun.forget()
    with pytest.raises((IntegrityError, ContractBreachError)):
        begun.land(2 if how == "another version" else None, n=100)


def test_who_proposed_and_approved_is_sealed(begun: Council) -> None:
    """Names and reasons are in no file of the lake."""
    begun.approvals.withdraw(CAT, "events", 1, "reason-canary-4711")
    begun.lake.close()
    names = [name.encode() for name in (ANN, BOB, CAT, "reason-canary-4711")]
    assert scan([begun.world.root], names) == []
    assert scan([begun.world.root], [b"Known events"]), "the scan finds what is there"


def test_a_version_binds_from_its_day_on(begun: Council) -> None:
    """Approved, it waits: batches are judged by the one before, and one that names it is refused until its day."""
    later = WIDER.replace("version: 2", "version: 2\neffective: 2026-12-01")
    begun.approve(begun.propose(later))
    assert begun.in_force() == [1, 2]
    assert begun.land(batch="before").status == "landed"
    with pytest.raises(ContractBreachError, match="binds from 2026-12-01 on"):
        begun.land(2, batch="too-early")
    with pytest.raises(LakeError):
        begun.land(batch="wide", n=550)
    begun.lake.home.clock = lambda: datetime(2026, 12, 1, tzinfo=UTC)
    assert begun.land(2, batch="on-the-day").status == "landed"
    assert begun.land(batch="wide", n=550).status == "landed"


def test_a_first_version_that_waits_collects_nothing(council: Council) -> None:
    """There is none before it."""
    council.approve(council.propose(FIRST.replace("version: 1", "version: 1\neffective: 2026-12-01")))
    with pytest.raises(ContractBreachError, match="binds from 2026-12-01 on"):
        council.land()
