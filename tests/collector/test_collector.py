"""The SDK against the real server: exactly once, under leases, and nothing that the contract does not name."""

from __future__ import annotations

import hashlib
import ssl
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from lake.collector import Collector
from lake.collector.keeper import EXPIRED
from lake.errors import UnavailableError
from lake.rules.halt import Backlog, Scope, ScopeKind
from tests.collector.lab import Lab, Listener, crash, focus, upload
from tests.collector.spools import bytes_of
from tests.gateway.receiving.site import DEVICES, wait_for


def test_what_is_recorded_lands_once_and_is_signed_for(lab: Lab) -> None:
    collector = lab.collector()
    collector.keeper.step()
    assert collector.recording
    assert all(collector.record(focus(number)) for number in range(5))
    upload(collector)
    assert lab.site.numbers() == list(range(5))
    assert collector.counts == {"recorded": 5, "sent": 5, "landed": 5, "batches": 1}
    assert collector.spool.size == 0
    (entry,) = lab.site.entries("ingest.upload")
    assert entry["seq"] == [1, 5]


def test_without_a_lease_nothing_is_recorded_and_nothing_listens(lab: Lab) -> None:
    listener = Listener()
    collector = lab.collector(hooks=[listener])
    assert not collector.record(focus(1))
    assert not listener.installed
    collector.keeper.step()
    assert listener.installed
    assert collector.record(focus(2))
    collector.stop()
    assert not listener.installed
    assert lab.site.numbers() == [2]
    assert collector.counts["no_lease"] == 1


def test_a_lease_is_renewed_at_half_and_ends_on_time(lab: Lab) -> None:
    listener = Listener()
    collector = lab.collector(hooks=[listener])
    assert collector.keeper.step() == pytest.approx(150)
    first = collector.keeper.live()
    lab.pass_(151)
    assert collector.record(focus(1))
    collector.keeper.step()
    second = collector.keeper.live()
    assert first is not None
    assert second is not None
    assert second.id != first.id
    assert listener.times == 1
    lab.pass_(299.9)
    assert collector.record(focus(2))
    lab.pass_(0.2)
    assert not collector.record(focus(3))
    # The clock has gone beyond the lease before the keeper could run: recording has stopped by itself.
    assert listener.installed
    collector.settings.token_file.unlink()  # type: ignore[union-attr]
    collector.keeper.step()
    assert not listener.installed


@pytest.mark.parametrize("keep", [False, True])
def test_offline_beyond_the_lease_what_was_recorded_is_destroyed_or_kept(lab: Lab, keep: bool) -> None:
    collector = lab.collector(keep=keep)
    collector.keeper.step()
    collector.record(focus(1))
    lab.site.receiving.close()
    for _ in range(400):
        lab.pass_(1)
        collector.keeper.step()
        assert collector.record(focus(2)) == collector.recording
    assert not collector.recording
    assert not collector.record(focus(3))
    assert collector.counts.get(EXPIRED, 0) == (0 if keep else collector.counts["recorded"])
    assert (collector.spool.waiting > 0) == keep
    if not keep:
        assert list((collector.settings.folder / "leases").iterdir()) == []


def test_what_the_contract_does_not_name_never_leaves(lab: Lab) -> None:
    collector = lab.collector(types=frozenset({"focus", "say"}))
    collector.keeper.step()
    assert collector.record(focus(1, address="Marker-QX", ts="2020-01-01T00:00:00Z", employee="other"))
    assert not collector.record({"type": "screenshot", "secret": "Marker-QX"})
    assert not collector.record({"type": "judge", "score": 1.0, "app": "Sent-QX"})
    for wrong in ({"n": 501}, {"n": "1"}, {"n": 1.5}, {"n": True}, {"app": "x" * 41}, {"app": "\ud800"}):
        assert not collector.record(focus(1) | wrong)
    upload(collector)
    assert lab.site.numbers() == [1]
    assert collector.counts["unknown_field"] == 1
    assert collector.counts["unknown_event_type"] == 1
    assert collector.counts["malformed"] >= 6
    assert b"Marker-QX" not in bytes_of(lab.folder)


def test_a_paused_type_is_not_recorded_while_others_are(lab: Lab) -> None:
    collector = lab.collector(types=frozenset({"focus", "say"}))
    lab.pause(types=frozenset({"focus"}))
    collector.keeper.step()
    assert collector.recording
    assert not collector.record(focus(1))
    assert collector.counts["type_not_leased"] == 1


def test_a_pause_stops_destroys_and_is_acknowledged(lab: Lab) -> None:
    listener = Listener()
    collector = lab.collector(hooks=[listener])
    collector.keeper.step()
    collector.record(focus(1))
    upload(collector)
    collector.record(focus(2))
    lab.pass_(1)
    lab.pause()
    collector.record(focus(3))
    upload(collector)
    assert not listener.installed
    assert not collector.recording
    assert lab.site.numbers() == [1]
    assert collector.spool.waiting == 0
    assert collector.counts["paused"] == 2
    assert lab.site.entries("lease.acknowledge")
    lab.pass_(10)
    collector.keeper.step()
    assert not collector.recording


def test_a_pause_in_the_next_renewal_stops_too_and_recording_goes_on_after_it(lab: Lab) -> None:
    collector = lab.collector()
    collector.keeper.step()
    collector.record(focus(1))
    lab.pass_(151)
    halt = lab.pause()
    collector.keeper.step()
    assert not collector.recording
    assert collector.spool.waiting == 0
    lab.pass_(60)
    lab.resume(halt)
    lab.pass_(60)
    collector.keeper.step()
    assert collector.record(focus(4))
    upload(collector)
    assert lab.site.numbers() == [4]


def test_a_pause_of_others_stops_nothing(lab: Lab) -> None:
    collector = lab.collector()
    collector.keeper.step()
    lab.pause(Scope(ScopeKind.EMPLOYEE, "EMP-BEN-7742"))
    collector.record(focus(1))
    upload(collector)
    assert lab.site.numbers() == [1]


def test_kept_for_sending_lands_where_the_pause_accepts_what_was_before(lab: Lab) -> None:
    collector = lab.collector(keep=True)
    collector.keeper.step()
    collector.record(focus(1))
    collector.spool.close_batch()
    lab.pass_(400)
    lab.pause(backlog=Backlog.ACCEPT)
    collector.keeper.step()
    assert not collector.recording
    upload(collector)
    assert lab.site.numbers() == [1]


def test_killed_and_started_again_goes_on_under_the_same_lease(lab: Lab) -> None:
    collector = lab.collector()
    collector.keeper.step()
    collector.record(focus(1))
    crash(collector)
    lab.pass_(5)
    again = lab.collector()
    again.keeper.step()
    again.record(focus(2))
    upload(again)
    assert lab.site.numbers() == [1, 2]


@pytest.mark.parametrize("keep", [False, True])
def test_the_next_day_a_suspended_laptop_brings_nothing_unless_it_may(lab: Lab, keep: bool) -> None:
    collector = lab.collector(keep=keep)
    collector.keeper.step()
    collector.record(focus(1))
    lab.pass_(24 * 3600)
    assert not collector.record(focus(2))
    collector.keeper.step()
    assert collector.recording
    assert collector.record(focus(3))
    upload(collector)
    assert lab.site.numbers() == ([1, 3] if keep else [3])


def test_another_start_of_the_machine_ends_its_leases(lab: Lab) -> None:
    collector = lab.collector()
    collector.keeper.step()
    collector.record(focus(1))
    crash(collector)
    again = lab.collector(boot_id="boot-2")
    assert not again.recording
    assert again.spool.waiting == 0
    assert again.counts[EXPIRED] == 1


def test_the_wall_clock_counts_for_nothing(lab: Lab) -> None:
    for number, hours in enumerate((2, -2)):
        lab.skew = timedelta(hours=hours)
        collector = lab.collector(folder=lab.folder / f"s{number}")
        collector.keeper.step()
        assert collector.record(focus(number))
        upload(collector)
    assert lab.site.numbers() == [0, 1]


def test_a_full_spool_counts_what_it_does_not_take(lab: Lab) -> None:
    collector = lab.collector(spool_bytes=1024 * 1024)
    collector.keeper.step()
    taken = 0
    while collector.record(focus(1)):
        taken += 1
    assert not collector.record(focus(1))
    assert collector.counts["spool.full"] == 2
    upload(collector)
    assert len(lab.site.numbers()) == taken
    assert collector.record(focus(2))


def test_a_contract_that_is_pinned_is_the_only_one(lab: Lab, tmp_path: Path) -> None:
    text = lab.site.lake.contracts.get("events").text
    (tmp_path / "events.yaml").write_text(text)
    collector = lab.collector(contract=tmp_path / "events.yaml")
    collector.keeper.step()
    assert collector.recording
    crash(collector)
    (tmp_path / "events.yaml").write_text(text + "\n# another\n")
    other = lab.collector(contract=tmp_path / "events.yaml")
    other.keeper.step()
    assert not other.recording
    assert "another contract" in other.keeper.problem


def test_a_client_certificate_shows_who_it_is(lab: Lab) -> None:
    own = lab.authority.issue("laptop-7.example")
    shown = hashlib.sha256(ssl.PEM_cert_to_DER_cert(own.certificate.read_text())).hexdigest()
    place = {"employee": DEVICES["ada-1"], "region": "eu", "team": "sales"}
    lab.site.collection.devices.enrol(lab.site.lake.actor, "ada-1", **place, certificate=shown)
    address = lab.site.receiving.addresses[1]
    collector = lab.collector(server=address, token_file=None, certificate=own.certificate, key=own.key)
    collector.keeper.step()
    assert collector.record(focus(1))
    upload(collector)
    assert lab.site.numbers() == [1]
    other = lab.authority.issue("elsewhere.example")
    stranger = lab.collector(
        server=address, token_file=None, certificate=other.certificate, key=other.key, folder=lab.folder / "other"
    )
    stranger.keeper.step()
    assert not stranger.recording
    assert not stranger.record(focus(2))


def test_a_hook_that_fails_is_not_left_behind(lab: Lab) -> None:
    class Failing(Listener):
        def install(self) -> None:
            super().install()
            raise OSError("Marker-QX")

    first, failing = Listener(), Failing()
    collector = lab.collector(hooks=[first, failing])
    collector.keeper.step()
    assert not first.installed
    assert not failing.installed
    assert collector.keeper.problem == "a hook could not be installed"


def test_a_hook_that_does_not_go_holds_up_no_pause(lab: Lab) -> None:
    class Staying(Listener):
        def remove(self) -> None:
            raise RuntimeError("Marker-QX")

    staying, other = Staying(), Listener()
    collector = lab.collector(hooks=[other, staying])
    collector.keeper.step()
    assert collector.record(focus(1))
    lab.pause()
    upload(collector)
    assert not other.installed
    assert not collector.record(focus(2))
    assert collector.spool.waiting == 0
    assert lab.site.entries("lease.acknowledge")


def test_a_hook_that_waits_for_its_last_event_does_not_hang(lab: Lab) -> None:
    """What it brings while it is being removed is turned down."""

    class Late(Listener):
        def remove(self) -> None:
            super().remove()
            thread = threading.Thread(target=lambda: told.append(collector.record(focus(2))))
            thread.start()
            thread.join(30)
            assert not thread.is_alive()

    told: list[bool] = []
    collector = lab.collector(hooks=[Late()])
    collector.keeper.step()
    lab.pause()
    lab.pass_(151)
    collector.keeper.step()
    assert told == [False]
    assert collector.spool.waiting == 0


def test_nothing_comes_into_the_spool_after_the_lease_was_ended(lab: Lab) -> None:
    """An event that was being recorded when the pause came is not left behind in the spool."""
    collector = lab.collector()
    collector.keeper.step()
    lease = collector.keeper.live()
    assert lease is not None
    collector.keeper.halted(None)
    assert not collector.append(lease, [{"type": "focus", "app": "Sent-QX", "ts": "2026-09-15T12:00:00+00:00"}])
    assert collector.spool.waiting == 0


def test_the_acknowledgement_is_repeated_until_it_is_heard(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    collector = lab.collector()
    collector.keeper.step()
    lab.pass_(151)
    lab.pause()

    def away(_: int) -> None:
        raise UnavailableError("away")

    monkeypatch.setattr(collector.keeper._client, "acknowledge", away)
    collector.keeper.step()
    assert not collector.recording
    assert not lab.site.entries("lease.acknowledge")
    monkeypatch.undo()
    lab.pass_(5)
    collector.keeper.step()
    assert lab.site.entries("lease.acknowledge")
    assert collector.spool.state.acknowledged > 0


def test_a_device_that_is_retired_stops_at_the_next_renewal(lab: Lab) -> None:
    collector = lab.collector()
    collector.keeper.step()
    collector.record(focus(1))
    lab.site.collection.devices.retire(lab.site.lake.actor, "ada-1")
    lab.pass_(151)
    collector.keeper.step()
    assert not collector.recording
    assert collector.spool.waiting == 0


def test_with_threads_it_does_all_of_this_by_itself(lab: Lab) -> None:
    with Collector(lab.settings(batch_seconds=0.05, flush_seconds=0.05)) as collector:
        wait_for(lambda: collector.recording)
        for number in range(3):
            assert collector.record(focus(number))
        wait_for(lambda: collector.counts.get("landed", 0) == 3)
        assert collector.record(focus(3))
    assert lab.site.numbers() == [0, 1, 2, 3]
    assert not list((collector.settings.folder / "batches").iterdir())
