"""Shredding on a whole lake: nothing of the erased opens from anywhere, everything of the others does."""

from __future__ import annotations

import re
import shutil
import signal
from pathlib import Path

import pytest

from keys.errors import EmployeeErasedError, KeyIntegrityError, KeysError
from lake.gateway.doctor import DAMAGE, Doctor
from lake.gateway.keykeeping import KeyKeeping, read_certificate
from lake.gateway.keyplans import KeyScope
from lake.gateway.reconcile import reconcile
from lake.gateway.reports import Interval, Reports
from lake.sealed.audit import entries
from tests import world as w
from tests.world import ADA, BEN, World, child, finished, landed, same_rows

EXPECTED = landed(w.known_rows())
HERS = len({(one["sensitivity"], one["ts"].month) for one in EXPECTED if one["employee"] == ADA})
BENS = len({(one["sensitivity"], one["ts"].month) for one in EXPECTED if one["employee"] == BEN})
OTHERS = [one for one in EXPECTED if one["employee"] != ADA]

SHRED = """
from lake.gateway.keykeeping import KeyKeeping

with world.open() as lake:
    sys.addaudithook(hook)
    KeyKeeping(lake.home, lake.actor).shred([w.ADA], Path(sys.argv[5]))
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where backups go."""
    return tmp_path / "backups"


def gone(world: World, place: Path) -> None:
    """Others' rows are all there, hers nowhere, and every check is content."""
    assert same_rows(world.rows(), OTHERS)
    with world.open() as lake:
        keys = KeyKeeping(lake.home, lake.actor)
        found = keys.verify_shred([place])
        assert found.clean, found
        assert found.keks == HERS
        assert not [each for each in Doctor(lake.home).examine() if each.state == DAMAGE]
        assert keys.verify_deks()["deks"] == 32 - HERS
        assert reconcile(lake.home, lake.actor).differences == []


def test_one_goes_and_the_others_stay(world: World, place: Path) -> None:
    """The plan says what goes; the certificate is signed; queries, reports and the audit log go on without her."""
    world.rows()
    with world.open() as lake:
        keys = KeyKeeping(lake.home, lake.actor)
        keys.backup(place)
        plan = keys.plan_shred([ADA])
        operation, certificate = keys.shred([ADA], place)
        assert (plan["employees"], plan["keks"], plan["files"], plan["rows"]) == (1, HERS, HERS, 36)
        assert len(operation.detail["keks"]) == plan["keks"]
        data = read_certificate(certificate, lake.home.config.audit_key)
        assert (len(data["keks"]), data["survivors"]) == (HERS, plan["survivors"])
        assert data["horizon"]["after"] is None
        radius = Reports(lake.home, lake.policies, lake.actor).blast_radius(w.VERA, Interval())
        assert radius["did"]["employees"] == 4
        assert radius["could"]["employees"] == 3
    gone(world, place)
    assert [entry["step"] for entry in world.entries(entries.KEY_OPERATION) if entry["verb"] == "shred"] == [
        "begin",
        "done",
    ]


def test_a_certificate_is_what_was_signed(world: World, place: Path) -> None:
    """Edited, of another lake, or none at all: refused."""
    with world.open() as lake:
        _, certificate = KeyKeeping(lake.home, lake.actor).shred([ADA], place)
        key = lake.home.config.audit_key
        for bad in (
            certificate.replace('"survivors":', '"survivors": 1', 1),
            certificate.replace("v1", "v2", 1),
            re.sub(r"(?<=\n— )\S+", "telemetry-lake/other", certificate),
            "",
        ):
            with pytest.raises(KeyIntegrityError):
                read_certificate(bad, key)


def test_the_horizon_is_a_day_once_somebody_states_it(world: World, place: Path) -> None:
    """With the time for which the key service keeps its own backups, the certificate names the day."""
    with world.open() as lake:
        _, certificate = KeyKeeping(lake.home, lake.actor).shred([ADA], place, copies_kept=30)
        horizon = read_certificate(certificate, lake.home.config.audit_key)["horizon"]
    assert (horizon["provider_snapshot_days"], horizon["after"][:10]) == (30, "2026-10-15")


def test_a_late_batch_of_hers_is_refused(world: World, place: Path) -> None:
    """Nothing of a batch with one row of hers lands; without it, it does."""
    rows = w.known_rows()
    with world.open() as lake:
        KeyKeeping(lake.home, lake.actor).shred([ADA], place)
        with pytest.raises(EmployeeErasedError):
            lake.ingest("events", w.table(rows), batch_id="late")
        report = lake.ingest("events", w.table([one for one in rows if one["employee"] != ADA]), batch_id="late-2")
    assert report.rows == 108
    assert same_rows(world.rows(), OTHERS * 2)


def test_a_batch_whose_keys_were_read_before_is_refused_too(
    world: World, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """She goes after its files are written and before its commit: the fence stops it, no object is left."""
    objects = world.objects()
    with world.open() as lake:
        real = lake.home.catalog.land

        def after_shredding(*arguments: object, **named: object) -> object:
            with world.open() as other:
                KeyKeeping(other.home, other.actor).shred([ADA], place)
            return real(*arguments, **named)  # type: ignore[arg-type]

        monkeypatch.setattr(lake.home.catalog, "land", after_shredding)
        with pytest.raises(KeysError):
            lake.ingest("events", w.table(w.known_rows()), batch_id="late")
    assert world.objects() == objects
    gone(world, place)


def test_an_old_copy_of_everything_but_the_device_secret_opens_nothing_of_hers(
    world: World, place: Path, tmp_path: Path
) -> None:
    """Catalog, key store and provider file of before, with the same key file: the whole copy stays closed."""
    shutil.copytree(world.root, tmp_path / "copy")
    with world.open() as lake:
        KeyKeeping(lake.home, lake.actor).shred([ADA], place)
    shutil.copy(world.root / "keys" / "device.secret", tmp_path / "copy" / "keys" / "device.secret")
    with pytest.raises(KeysError):
        World(tmp_path / "copy", world.key).rows()
    # Old rows of the key store with the provider of today: her bucket keys are under a version that is destroyed.
    for name in ("keystore.bin", "device.secret"):
        shutil.copy(world.root / "keys" / name, tmp_path / "copy" / "keys" / name)
    old = World(tmp_path / "copy", world.key)
    with pytest.raises(KeysError):
        old.rows(f"SELECT * FROM events WHERE employee = '{ADA}'")  # noqa: S608 - a constant
    gone(world, place)


def test_the_search_finds_a_key_that_survived(world: World, place: Path) -> None:
    """A backup of before and roots that were not trimmed: told with the path; and a folder that is gone is told."""
    with world.open() as lake:
        keys = KeyKeeping(lake.home, lake.actor)
        keys.backup(place)
        subject, _ = keys.subjects([ADA])[ADA]
        lake.home.key_changes.tombstone([subject])
        found = keys.verify_shred([place])
        assert not found.clean
        assert len(found.paths) == 2 * HERS, "in the live key store and in the backup"
        shutil.rmtree(place)
        assert keys.verify_shred([]).unreadable == (str(place),)


def test_several_share_the_work_and_one_who_is_unknown_stops_it(world: World, place: Path) -> None:
    """Two in one operation; a name that the lake does not know, and nobody is touched."""
    with world.open() as lake:
        keys = KeyKeeping(lake.home, lake.actor)
        with pytest.raises(Exception, match="not known"):
            keys.shred([ADA, "stranger"], place)
        assert same_rows(world.rows(), EXPECTED)
        operation, _ = keys.shred([ADA, BEN], place)
        assert len(operation.detail["keks"]) == HERS + BENS
    assert same_rows(world.rows(), [one for one in OTHERS if one["employee"] != BEN])


STEPS = [
    "shred.tombstoned",
    "shred.left-out",
    "shred.fenced",
    "shred.announced",
    "keys.root-announced",
    "keys.root-made",
    "keys.root-adopted",
    "keys.buckets-stored",
    "keys.buckets-adopted",
    "keys.buckets-retired",
    "shred.resealed",
    "keys.backup-written",
    "keys.backup-proven",
    "keystore.replaced",
    "keystore.device-replaced",
    "keys.root-trimmed",
    "keys.root-retired",
    "shred.proven",
]


@pytest.mark.parametrize("step", STEPS)
def test_killed_anywhere_it_is_finished_by_resume(world: World, place: Path, step: str) -> None:
    """Others read at once after the kill; she is out of reach from the first step on; resume finishes."""
    assert finished(child(world, SHRED, step, 1, place))[0] == -signal.SIGKILL
    found = world.rows()
    assert same_rows([one for one in found if one["employee"] != ADA], OTHERS)
    with world.open() as lake:
        keys = KeyKeeping(lake.home, lake.actor)
        operation = keys.resume()
        assert operation is not None
        assert operation.done
        assert keys.resume() is None
        keys.rotate_keks(KeyScope())
    gone(world, place)
