"""Crypto-shredding on a whole lake: the erased are gone whatever is put back, and everybody else has every row."""

# ruff: noqa: S608, DTZ001 - the statements are the tests' own; capture times are naive UTC
from __future__ import annotations

import shutil
from datetime import datetime
from pathlib import Path

import pytest

from keys.errors import EmployeeErasedError, KeyStateError, KeyStoreLockedError
from keys.operations.certificate import OUT_OF_REACH
from keys.providers import local as local_provider
from lake.errors import IntegrityError
from lake.gateway.keykeeping import read_certificate
from lake.gateway.keyrestore import restore_keys
from lake.rules import layout
from lake.sealed.catalog.upkeep import FileScope
from tests import world as w
from tests.gateway.keylakes import answers, crowded, keeping, key_folder, sound, without
from tests.world import ADA, BEN, CLEO, DORA, World, child, copy, finished, landed, row, same_rows

EXPECTED = landed(w.known_rows())
PARTITIONS = {(one["employee"], one["sensitivity"], one["ts"].month) for one in EXPECTED}
NOTES = f"SELECT note FROM events WHERE employee = '{ADA}' AND sensitivity = 4"


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A lake whose four employees share one bucket; only to be copied."""
    return crowded(tmp_path_factory.mktemp("crowd"))


@pytest.fixture
def world(crowd: World, tmp_path: Path) -> World:
    """A copy of the crowded lake."""
    return copy(crowd, tmp_path)


def keks(*employees: str) -> int:
    """How many KEKs these employees have."""
    return sum(employee in employees for employee, _, _ in PARTITIONS)


def survivors(*employees: str) -> int:
    """How many others' KEKs there are at the levels of theirs."""
    levels = {level for employee, level, _ in PARTITIONS if employee in employees}
    return sum(level in levels and employee not in employees for employee, level, _ in PARTITIONS)


def backups(world: World) -> Path:
    return world.root.parent / "backups"


def shred(world: World, *employees: str) -> str:
    """Erase them; gives the certificate."""
    with world.open() as lake:
        return keeping(lake).shred(employees, backups(world))[1]


def put(world: World, part: str, source: Path) -> None:
    """An older file or folder in the place of the one of today."""
    target = world.root / part
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    for rest in (f"{part}-wal", f"{part}-shm"):
        (world.root / rest).unlink(missing_ok=True)
    shutil.copytree(source / part, target) if (source / part).is_dir() else shutil.copy2(source / part, target)


def test_the_erased_are_gone_and_everybody_else_is_there(world: World) -> None:
    """In queries of every kind, in what a reader has at hand, in reports; the certificate says what was destroyed."""
    with world.connect() as reader:
        assert len(reader.sql(NOTES).arrow()) > 0
        before = world.rows("SELECT employee, sensitivity, ts FROM events")
        text = shred(world, ADA)
        assert same_rows(reader.sql("SELECT * FROM events").arrow().to_pylist(), without(EXPECTED, ADA))
        assert len(reader.sql(NOTES).arrow()) == 0
    assert same_rows(world.rows(), without(EXPECTED, ADA))
    assert world.rows("SELECT count(*) AS rows FROM events") == [{"rows": 108}]
    assert {one["employee"] for one in before} - {one["employee"] for one in world.rows()} == {ADA}
    with world.open() as lake:
        data = read_certificate(text, lake.home.config.audit_key)
        assert keeping(lake).verify()["keks"] == 32 - keks(ADA)
        assert keeping(lake).verify_deks() == {"deks": 32 - keks(ADA), "suspended_deks": 0}
        number = lake.home.directory.find([ADA])[ADA].number
        assert {owner for _, owner in lake.home.upkeep.page(FileScope(), "", 100)} == {0, 1, 2, 3} - {number}
    assert (len(data["keks"]), data["survivors"]) == (keks(ADA), survivors(ADA))
    assert data["old_wraps_refused"] == len(data["bucket_keys"]) == 3  # of levels 1, 3 and 4
    assert data["horizon"] == {"after": None, "provider_destroys_at": None, "provider_snapshot_days": None}
    assert data["out_of_reach"] == list(OUT_OF_REACH)
    assert ADA not in text
    assert sound(world)


def test_a_late_batch_of_the_erased_is_refused_whole(world: World) -> None:
    """Months that had keys and new ones, alone and among others; nothing lands, nothing is left lying."""
    shred(world, ADA)
    objects = world.objects()
    for people, day in (((ADA,), datetime(2026, 8, 2)), ((ADA,), datetime(2026, 9, 14)), ((BEN, ADA), w.NOW)):
        rows = [row(who, day.replace(tzinfo=None), "focus", app="Late-QX", n=1) for who in people]
        with world.open() as lake, pytest.raises(EmployeeErasedError):
            lake.ingest("events", w.table(rows))
    assert [entry["reason"] for entry in world.entries("ingest.refused")] == ["employee_erased"] * 3
    assert world.objects() == objects
    assert same_rows(world.rows(), without(EXPECTED, ADA))


MEANWHILE = """
from datetime import datetime
from keys.errors import EmployeeErasedError
from tests.gateway.keylakes import keeping

def act():
    with world.open() as other:
        keeping(other).shred([w.ADA], world.root.parent / "backups")

sys.addaudithook(hook)
"""
LANDING = """
with world.open() as lake:
    rows = [w.row(name, datetime(2026, 9, 2), "focus", app="Late-QX", n=7) for name in sys.argv[5:]]
    try:
        print(lake.ingest("events", w.table(rows), batch_id="meanwhile").status)
    except EmployeeErasedError as error:
        print(error.code)
"""
ASKING = """
with world.connect() as connection:
    print(connection.sql("SELECT * FROM events").arrow().num_rows)
"""


@pytest.mark.parametrize("step", ["ingest.object-written", "ingest.announced"])
def test_a_shredding_while_a_batch_lands(world: World, step: str) -> None:
    """A batch with rows of the erased does not land; one of the others lands under keys that last."""
    status, out, err = finished(child(copied(world, "a"), MEANWHILE + LANDING, step, 1, ADA, BEN))
    assert (status, out) == (0, "employee_erased\n"), err
    status, out, err = finished(child(copied(world, "b"), MEANWHILE + LANDING, step, 1, BEN))
    assert (status, out) == (0, "landed\n"), err
    assert len(copied(world, "a").rows()) == 108
    assert len(copied(world, "b").rows()) == 109


def copied(world: World, name: str) -> World:
    """A lake of that name beside this one: a copy, made when first asked for."""
    folder = world.root.parent / name
    if folder.is_dir():
        return World(folder / "lake", folder / "lake.key")
    folder.mkdir()
    return copy(world, folder)


def test_a_shredding_between_plan_and_keys(world: World) -> None:
    """The query is planned again, and answers for everybody else."""
    status, out, err = finished(child(world, MEANWHILE + ASKING, "query.intended"))
    assert (status, out) == (0, "108\n"), err


def test_nothing_that_is_put_back_opens_the_erased(world: World) -> None:
    """An old catalog, an old key store from a backup, both: with the provider of today none of their keys opens."""
    old = copied(world, "old")
    with world.open() as lake:
        before, _ = keeping(lake).backup(backups(world))
    shred(world, ADA)
    restore_keys(world.root, backups(world), world.root.parent / "restored", before)
    key_store = world.root.parent / "restored" / layout.KEY_STORE
    tried = copied(world, "old-keys")
    shutil.copy2(key_store, key_folder(tried) / layout.KEY_STORE)
    assert tried.rows(NOTES) == []  # the catalog of today names none of their files
    tried = copied(world, "old-catalog")
    put(tried, layout.CATALOG, old.root)
    with pytest.raises(IntegrityError):
        tried.rows(NOTES)
    shutil.copy2(key_store, key_folder(tried) / layout.KEY_STORE)
    with pytest.raises(KeyStateError, match="destroyed"):
        tried.rows(NOTES)


def test_with_an_old_backup_the_erased_stay_closed_and_with_the_proven_one_others_open(world: World) -> None:
    """An old key store under the provider of today opens nobody; the backup made by the shredding opens the rest."""
    with world.open() as lake:
        before, _ = keeping(lake).backup(backups(world))
    text = shred(world, ADA)
    with world.open() as lake:
        proven = read_certificate(text, lake.home.config.audit_key)["backup"]
    for backup, opens in ((before, False), (proven, True)):
        tried = copied(world, backup)
        restore_keys(world.root, backups(world), tried.root.parent / "restored", backup)
        shutil.copy2(tried.root.parent / "restored" / layout.KEY_STORE, key_folder(tried) / layout.KEY_STORE)
        if opens:
            assert same_rows(tried.rows(), without(EXPECTED, ADA))
        else:
            with pytest.raises(KeyStateError):
                tried.rows()


def test_an_old_provider_file_stays_closed(world: World) -> None:
    """With the key file of today and the device secret of today, the file from before the shredding does not open."""
    old = copied(world, "old")
    shred(world, ADA)
    shutil.copy2(key_folder(old) / local_provider.STORE, key_folder(world) / local_provider.STORE)
    with pytest.raises(KeyStoreLockedError):
        world.rows()


def test_the_same_command_again_gives_the_same_certificate(world: World) -> None:
    """After a crash behind the last step, or when the file was lost: nothing is done twice."""
    text = shred(world, ADA)
    assert shred(world, ADA) == text
    with world.open() as lake:
        assert [row.version for row in lake.home.key_changes.roots() if row.name == "root-dss4"] == [1, 2]
    assert shred(world, CLEO) != text
    assert same_rows(world.rows(), without(EXPECTED, ADA, CLEO))


def test_a_horizon_needs_somebody_who_states_it(world: World) -> None:
    """A provider file that happens to be named says nothing about the lake's own key store; the operator may."""
    place = world.root.parent / "bao.yaml"
    place.write_text("{kind: openbao, address: 'https://bao', token_file: token, snapshots_kept: 30d}\n")
    with world.open(provider_file=place) as lake:
        operation, text = keeping(lake).shred([ADA], backups(world))
        key = lake.home.config.audit_key
        assert read_certificate(text, key)["horizon"]["after"] is None
        stated = keeping(lake).certificate(operation, copies_kept=10)
        assert read_certificate(stated, key)["horizon"]["after"] == "2026-09-25T12:00:00+00:00"


def test_several_share_the_work_and_all_can_go(world: World) -> None:
    """Three at once: one new version of each root; the last one leaves an empty lake in good order."""
    shred(world, ADA, BEN, CLEO)
    assert same_rows(world.rows(), without(EXPECTED, ADA, BEN, CLEO))
    shred(world, DORA)
    assert world.rows() == []
    with world.open() as lake:
        assert {row.version for row in lake.home.key_changes.roots() if row.name == "root-dss4"} == {1, 2, 3}
        assert keeping(lake).verify_shred([]).clean
    assert all(rows == [] for rows in answers(world)[2:5])
    assert sound(world)
