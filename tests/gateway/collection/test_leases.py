"""Leases and device tokens: what is for somebody or something else is refused, and a renewal is one lease."""

from __future__ import annotations

import base64
import json
from datetime import timedelta

import pytest

from jobs.runner.run import Runner
from jobs.sealed.sweep import SweepJob
from lake.errors import ContractBreachError, LeaseRefusedError, UnauthenticatedError, UsageError
from lake.gateway.collection.device_tokens import MAX_LIFETIME
from lake.gateway.collection.signed import DEVICES, LEASES, Signer
from lake.gateway.doctor import DAMAGE, Doctor
from lake.rules.lease import SKEW, TTL
from tests import world as w
from tests.gateway.collection.fleet import START, TYPES, Fleet, kinds, sent
from tests.world import ADA, BEN


def forged(token: str, **claims: object) -> str:
    """The same token with other claims, and the signature that it had."""
    header, body, signature = token.split(".")
    said = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))) | claims
    text = base64.urlsafe_b64encode(json.dumps(said).encode()).decode().rstrip("=")
    return f"{header}.{text}.{signature}"


def refused(fleet: Fleet, name: str, token: str, **header: object) -> str:
    """Why an upload is refused; nothing of it lands, and the refusal is on record."""
    before = len(kinds(fleet, "ingest.refused"))
    with pytest.raises(LeaseRefusedError) as error:
        fleet.upload(name, token, [sent(ADA, START, 1)], **header)
    assert fleet.rows() == []
    assert len(kinds(fleet, "ingest.refused")) == before + 1
    return error.value.reason


def test_41_a_lease_is_no_other_devices(fleet: Fleet) -> None:
    """Replayed on another device, of the same employee or another, it is refused; its own device lands with it."""
    token = fleet.grant("ada-1").token
    fleet.enrol("ada-2", ADA, "eu", "sales")
    assert refused(fleet, "ben-1", token) == "device"
    assert refused(fleet, "ben-1", token, employee=ADA) == "device"
    assert refused(fleet, "ada-2", token) == "device"
    assert refused(fleet, "ada-1", token, employee=BEN) == "employee"
    assert fleet.upload("ada-1", token, [sent(ADA, START, 1)]).rows == 1


def test_41_what_was_cut_or_changed_is_no_lease(fleet: Fleet) -> None:
    """Truncated anywhere, longer epochs, later ends, other types; nor is a device's token one."""
    token = fleet.grant("ada-1", frozenset({"say"})).token
    for cut in (0, 1, 10, len(token) // 2, len(token) - 1):
        assert refused(fleet, "ada-1", token[:cut]) == "malformed"
    later = int((START + timedelta(hours=2)).timestamp() * 1_000_000)
    for claims in ({"epochs": [9, 9, 9, 9, 9]}, {"until": later}, {"types": sorted(TYPES)}, {"jti": "0" * 32}):
        assert refused(fleet, "ada-1", forged(token, **claims)) == "malformed"
    for other in (
        fleet.collection.tokens.issue(fleet.lake.actor, "ada-1").text,
        Signer(fleet.lake.home, LEASES).sign({"jti": "x"}),
        "a.b.c",
        "x" * 100_000,
        token.split(".")[0] + "." + token.split(".")[1] + ".",
    ):
        assert refused(fleet, "ada-1", other) == "malformed"


def test_41_a_signed_lease_without_its_row_is_none(fleet: Fleet) -> None:
    """One that the lake never granted, or forgot: also after a catalog was restored from before it."""
    granted = fleet.grant("ada-1")
    claims = json.loads(base64.urlsafe_b64decode(granted.token.split(".")[1] + "=="))
    claims.pop("aud")
    signer = Signer(fleet.lake.home, LEASES)
    assert refused(fleet, "ada-1", signer.sign(claims | {"jti": "0" * 32})) == "unknown"
    assert refused(fleet, "ada-1", signer.sign(claims | {"types": ["focus"]})) == "unknown"
    assert refused(fleet, "ada-1", signer.sign(claims | {"epochs": [9] * 5})) == "unknown"
    with fleet.lake.home.catalog.database.writing() as connection:
        connection.exec_driver_sql("DELETE FROM leases_issued")
    assert refused(fleet, "ada-1", granted.token) == "unknown"


def test_41_another_contract_dataset_or_type_than_the_leases(fleet: Fleet) -> None:
    """A batch names them, and must name those."""
    token = fleet.grant("ada-1", frozenset({"say", "focus"})).token
    assert refused(fleet, "ada-1", token, contract="sha256:" + "0" * 64) == "contract"
    assert refused(fleet, "ada-1", token, dataset="moods") == "dataset"
    assert refused(fleet, "ada-1", token, types=frozenset({"judge"})) == "types"
    report = fleet.upload(
        "ada-1", token, [sent(ADA, START, 1), w.row(ADA, START, "judge", note="x"), sent(BEN, START, 3)]
    )
    assert (report.rows, report.dropped) == (1, {"type_not_leased": 1, "other_employee": 1})


def test_41_a_device_that_moved_or_was_retired(fleet: Fleet) -> None:
    """Leases and tokens of the former enrolment end; the same enrolment again is the same."""
    collection = fleet.collection
    token, lease = collection.tokens.issue(fleet.lake.actor, "ada-1").text, fleet.grant("ada-1").token
    same = fleet.enrol("ada-1", ADA, "eu", "sales")
    assert collection.authenticate(token) == same
    fleet.enrol("ada-1", ADA, "eu", "legal")
    assert refused(fleet, "ada-1", lease) == "enrolment"
    with pytest.raises(UnauthenticatedError):
        collection.authenticate(token)
    fresh, device = fleet.grant("ada-1").token, fleet.device("ada-1")
    judgement = fleet.serving.judge(fresh, device, fleet.header("ada-1"))
    fleet.collection.devices.retire(fleet.lake.actor, "ada-1")
    with pytest.raises(LeaseRefusedError):
        fleet.land([sent(ADA, START, 1)], judgement=judgement)
    with pytest.raises(UnauthenticatedError):
        fleet.device("ada-1")
    with pytest.raises(UnauthenticatedError):
        fleet.serving.grant(device, "events", None, TYPES)
    assert fleet.rows() == []
    assert kinds(fleet, "device.")[-3:] == ["device.token", "device.enrol", "device.retire"]
    assert fleet.collection.devices.retire(fleet.lake.actor, "ada-1").name == "ada-1"
    assert kinds(fleet, "device.")[-1] == "device.retire"


def test_device_tokens_end_and_are_of_their_own_kind(fleet: Fleet) -> None:
    """Expired, forged, of another kind or another lake."""
    collection = fleet.collection
    token = collection.tokens.issue(fleet.lake.actor, "ada-1", timedelta(hours=1)).text
    assert collection.authenticate(token).name == "ada-1"
    lease = fleet.grant("ada-1").token
    device = fleet.device("ada-1")
    claims = {"dev": device.tag, "enr": device.enrolment, "exp": 2**40}
    for wrong in (
        lease,
        forged(token, exp=2**40),
        Signer(fleet.lake.home, LEASES).sign(claims),
        Signer(fleet.lake.home, DEVICES).sign({**claims, "aud": "another"}),
        Signer(fleet.lake.home, DEVICES).sign({**claims, "exp": "later"}),
        Signer(fleet.lake.home, DEVICES).sign({"exp": 2**40}),
        "",
    ):
        with pytest.raises(UnauthenticatedError):
            collection.authenticate(wrong)
    fleet.wait(3_600)
    with pytest.raises(UnauthenticatedError):
        collection.authenticate(token)
    with pytest.raises(UsageError):
        collection.tokens.issue(fleet.lake.actor, "ada-1", MAX_LIFETIME + timedelta(seconds=1))
    with pytest.raises(UnauthenticatedError):
        collection.tokens.issue(fleet.lake.actor, "nobody-1")


def test_certificates_find_their_device(fleet: Fleet) -> None:
    """One device a certificate; none without."""
    devices, actor = fleet.collection.devices, fleet.lake.actor
    place = {"employee": ADA, "region": "eu", "team": "sales"}
    devices.enrol(actor, "tls-1", **place, certificate="ab" * 32)
    assert fleet.collection.authenticate_certificate("ab" * 32).name == "tls-1"
    with pytest.raises(UsageError, match="another device"):
        devices.enrol(actor, "tls-2", **place, certificate="ab" * 32)
    for wrong in ("", "cd" * 32):
        with pytest.raises(UnauthenticatedError):
            fleet.collection.authenticate_certificate(wrong)
    devices.retire(actor, "tls-1")
    with pytest.raises(UnauthenticatedError):
        fleet.collection.authenticate_certificate("ab" * 32)


@pytest.mark.parametrize(
    "wrong",
    [{"name": "a b"}, {"name": ""}, {"employee": ""}, {"employee": "e" * 129}, {"region": "e u"}, {"team": ""}],
)
def test_names_that_are_none(fleet: Fleet, wrong: dict[str, str]) -> None:
    """Refused before anything is recorded."""
    values = {"name": "d", "employee": ADA, "region": "eu", "team": "sales", **wrong}
    with pytest.raises(UsageError):
        fleet.collection.devices.enrol(fleet.lake.actor, values.pop("name"), **values)
    assert len(kinds(fleet, "device.")) == 3


def test_a_lease_is_renewed_at_half_of_its_time_and_not_before(fleet: Fleet) -> None:
    """Before, the same is given again, so that an answer that was lost makes no second one."""
    first = fleet.grant("ada-1")
    fleet.wait(149)
    assert fleet.grant("ada-1").lease == first.lease
    assert fleet.grant("ada-1").token == first.token
    assert fleet.grant("ada-1", frozenset({"focus"})).lease.id != first.lease.id
    fleet.wait(200)
    second = fleet.grant("ada-1")
    assert second.renewed
    assert second.lease.expires == fleet.now + TTL
    fleet.wait(1_000)
    assert not fleet.grant("ada-1").renewed
    assert kinds(fleet, "lease.") == ["lease.grant", "lease.renew", "lease.renew", "lease.expire", "lease.grant"]


def test_what_no_contract_names_is_not_granted(fleet: Fleet) -> None:
    """Unknown datasets, versions, types; and no types at all."""
    device = fleet.device("ada-1")
    for dataset, version, types in (
        ("event", None, TYPES),
        ("events", 2, TYPES),
        ("events", None, TYPES | {"screen"}),
        ("events", None, frozenset()),
    ):
        with pytest.raises(ContractBreachError):
            fleet.serving.grant(device, dataset, version, types)
    assert fleet.serving.grant(device, "events", 1, TYPES).lease.types == TYPES


def test_clocks_two_hours_off_land_nothing(fleet: Fleet) -> None:
    """Stamped by a wall clock that is wrong, rows lie outside of their lease: dropped, counted, no batch refused."""
    token = fleet.grant("ada-1").token
    for wrong in (timedelta(hours=2), timedelta(hours=-2), TTL + SKEW + timedelta(seconds=1)):
        report = fleet.upload("ada-1", token, [sent(ADA, START + wrong, 1), sent(ADA, START, 2)])
        assert report.dropped == {"outside_lease": 1}
    assert fleet.rows() == [2, 2, 2]


def test_a_sweep_forgets_leases_that_are_long_over(fleet: Fleet) -> None:
    """Also where nobody asks for a lease any more; one that may still bring a batch stays, and the log says neither."""
    home = fleet.lake.home
    fleet.grant("ada-1")
    fleet.wait(20 * 86_400)
    fleet.grant("ben-1")
    sweep = SweepJob(home, fleet.lake.actor)
    assert Runner(home).run(sweep).detail["leases"] == 0
    fleet.wait(11 * 86_400)
    assert Runner(home).run(sweep).detail["leases"] == 1
    fleet.wait(31 * 86_400)
    assert Runner(home).run(sweep).detail["leases"] == 1
    assert [one for one in Doctor(home).examine_lake() if one.state == DAMAGE] == []


def test_leases_are_forgotten_after_a_month_unless_a_pause_still_asks_for_them(fleet: Fleet) -> None:
    """What a spool brings later than that is refused."""
    old = fleet.grant("ada-1").token
    fleet.wait(29 * 86_400)
    fleet.grant("ben-1")
    assert fleet.upload("ada-1", old, [sent(ADA, START, 1)]).rows == 1
    fleet.wait(2 * 86_400)
    fleet.grant("ben-1")
    with pytest.raises(LeaseRefusedError):
        fleet.upload("ada-1", old, [sent(ADA, START, 2)])
    fleet.grant("cleo-1")
    assert len(kinds(fleet, "lease.grant")) == 4
    assert [one for one in Doctor(fleet.lake.home).examine_lake() if one.state == DAMAGE] == []
