"""Opening and creating lakes: what is missing, damaged, older or foreign is refused in the lake's own words."""

# ruff: noqa: DTZ001 - capture times are naive UTC
from __future__ import annotations

import json
import shutil
import signal
import sqlite3
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

import lake
from keys.errors import KeysError, KeyStoreLockedError
from lake.errors import IntegrityError, LakeError, UsageError
from lake.gateway.doctor import DAMAGE, Doctor
from tests import forking
from tests import world as w
from tests.world import World, landed, row, same_rows, table

REFUSED = (LakeError, KeysError)


def refused(world: World) -> LakeError | KeysError:
    """The typed error with which a lake does not open, or with which its first query ends."""
    with pytest.raises(REFUSED) as caught, world.connect() as connection:
        connection.sql("SELECT * FROM events").arrow()
    assert isinstance(caught.value, LakeError | KeysError)
    assert caught.value.exit_code != 0
    assert str(caught.value)
    return caught.value


def damaged(world: World) -> bool:
    """Whether the doctor, or opening, reports damage."""
    try:
        with world.open() as opened:
            return any(finding.state == DAMAGE for finding in Doctor(opened.home).examine_lake())
    except REFUSED:
        return True


def test_another_key_file_does_not_open(world: World, tmp_path: Path) -> None:
    """A key file of another lake, an empty one, a missing one and one open to others are refused."""
    other = tmp_path / "other"
    other.mkdir()
    lake.create(other / "lake", key_file=other / "key")
    shutil.copy2(other / "key", world.key)
    assert isinstance(refused(world), KeyStoreLockedError)
    world.key.chmod(0o644)
    refused(world)
    world.key.write_bytes(b"")
    refused(world)
    world.key.unlink()
    refused(world)


def test_no_secret_or_two_are_a_usage_error(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exactly one of key file and passphrase file opens a lake."""
    monkeypatch.delenv("LAKE_KEY_FILE", raising=False)
    monkeypatch.delenv("LAKE_PASSPHRASE_FILE", raising=False)
    with pytest.raises(UsageError, match="one secret"):
        lake.open(world.root)
    with pytest.raises(UsageError, match="one secret"):
        lake.open(world.root, key_file=world.key, passphrase_file=world.key)


@pytest.mark.parametrize("place", ["", "data", "nothing/here", "lake.json"])
def test_no_lake_is_a_usage_error(world: World, place: str) -> None:
    """A folder without a lake, a file, and nothing at all are told apart from damage."""
    root = world.root.parent if not place else world.root / place
    with pytest.raises(UsageError, match="there is no lake"):
        lake.open(root, key_file=world.key)


@pytest.mark.parametrize(
    "place", ["lake.json", "catalog.db", "keys/keystore.db", "keys/keystore.bin", "audit/journal.wal", "audit", "keys"]
)
def test_a_missing_part_is_named(world: World, place: str) -> None:
    """Without one of its parts a lake does not open, and says so with a class of its own."""
    path = world.root / place
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    refused(world)


@pytest.mark.parametrize("place", ["lake.json", "catalog.db", "keys/keystore.db", "keys/keystore.bin"])
@pytest.mark.parametrize("how", ["empty", "half", "noise"])
def test_a_broken_part_is_refused(world: World, place: str, how: str) -> None:
    """A part that is empty, cut in half or overwritten is refused with a class of the lake's."""
    path = world.root / place
    content = path.read_bytes()
    path.write_bytes({"empty": b"", "half": content[: len(content) // 2], "noise": b"\xa5" * len(content)}[how])
    for log in path.parent.glob(f"{path.name}-*"):
        log.unlink()
    refused(world)


@pytest.mark.parametrize(
    "change",
    [
        {"lake": "0" * 32},
        {"lake": None},
        {"audit_key": "telemetry-lake/x+00000000+AAAA"},
        {"audit_key": 3},
        {"key_store": "elsewhere"},
        {"key_store": 5},
        {"key_store": ["keys"]},
        {"key_store": "a\0b"},
        {"format": 1},
        {"format": 3},
        {"format": "2"},
        {"created": None},
        {"more": 1},
    ],
    ids=lambda change: "-".join(f"{name}={value}" for name, value in change.items()).replace("\0", "NUL"),
)
def test_a_changed_configuration_is_refused(world: World, change: dict[str, Any]) -> None:
    """Every value of lake.json is checked before it is used."""
    path = world.root / "lake.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    refused(world)


@pytest.mark.parametrize("text", ["[]", "null", "5", "{}", "[" * 100_000, '{"lake": 1', "\ufeff{}"], ids=range(7))
def test_a_configuration_that_is_no_object_is_damage(world: World, text: str) -> None:
    """Whatever lake.json has become, the answer is one class of error."""
    (world.root / "lake.json").write_text(text)
    assert isinstance(refused(world), IntegrityError)


def test_every_changed_byte_of_the_configuration_is_harmless(world: World) -> None:
    """A bit changed anywhere in lake.json either changes nothing that is used, or refuses with a typed error."""
    path = world.root / "lake.json"
    content = path.read_bytes()
    opened = 0
    for position in range(0, len(content), 3):
        path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        with suppress(*REFUSED), world.open() as lake_:
            assert lake_.home.catalog.counts()["batches"] == 1
            opened += 1
    assert opened < len(content) // 6


def test_every_changed_byte_of_the_log_is_noticed(world: World) -> None:
    """A bit changed anywhere in the journal refuses the lake, and the check without keys finds it."""
    journal = world.root / "audit" / "journal.wal"
    content = journal.read_bytes()
    # The last commit may look cut off by a crash, but the published checkpoint tells.
    for position in range(0, len(content), max(1, len(content) // 40)):
        journal.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        assert isinstance(refused(world), IntegrityError), position
    journal.write_bytes(content)
    assert len(world.rows()) == 144


def test_a_log_cut_off_is_noticed(world: World) -> None:
    """A log that ends earlier than the broker saw is refused, also when its checkpoint was put back with it."""
    older = world.root.parent / "older"
    shutil.copytree(world.root / "audit", older)
    world.rows()
    shutil.rmtree(world.root / "audit")
    shutil.copytree(older, world.root / "audit")
    error = refused(world)
    assert isinstance(error, IntegrityError)
    assert "audit log" in str(error)


def test_a_log_of_another_lake_is_noticed(world: World, tmp_path: Path) -> None:
    """Another lake's log in this one's place is refused."""
    other = w.make(tmp_path / "other")
    shutil.rmtree(world.root / "audit")
    shutil.copytree(other.root / "audit", world.root / "audit")
    refused(world)


def _copy_database(path: Path, to: Path) -> None:
    """A consistent copy of a SQLite file, as a backup makes it."""
    source, target = sqlite3.connect(path), sqlite3.connect(to)
    source.backup(target)
    source.close()
    target.close()


def test_an_older_catalog_is_noticed(world: World) -> None:
    """An older copy of the catalog put back is refused at opening, and an open connection refuses it too."""
    path, older = world.root / "catalog.db", world.root.parent / "older.db"
    _copy_database(path, older)
    with world.open() as opened:
        opened.ingest("events", table([row(w.ADA, datetime(2026, 9, 1), "focus", app="x")]))
    newest = world.root.parent / "newest.db"
    _copy_database(path, newest)
    for log in path.parent.glob("catalog.db-*"):
        log.unlink()
    shutil.copyfile(older, path)
    error = refused(world)
    assert isinstance(error, IntegrityError)
    assert "catalog" in str(error)
    shutil.copyfile(newest, path)
    assert len(world.rows()) == 145


def test_a_catalog_of_another_lake_is_noticed(world: World, tmp_path: Path) -> None:
    """Another lake's catalog in this one's place is refused."""
    other = w.make(tmp_path / "other")
    for log in world.root.glob("catalog.db*"):
        log.unlink()
    _copy_database(other.root / "catalog.db", world.root / "catalog.db")
    assert isinstance(refused(world), IntegrityError)


def test_noise_in_databases_is_found_and_never_a_bare_error(world: World) -> None:
    """Pages of the catalog overwritten with noise end in typed errors at query, and the doctor reports damage."""
    path = world.root / "catalog.db"
    for log in world.root.glob("catalog.db-*"):
        log.unlink()
    content = path.read_bytes()
    found = 0
    for page in range(0, len(content), 4096 * 3):
        path.write_bytes(content[:page] + b"\x5a" * 4096 + content[page + 4096 :])
        found += damaged(world)
        for log in world.root.glob("catalog.db-*"):
            log.unlink()
    assert found > 5


def test_a_folder_that_is_not_empty_is_not_made_a_lake(tmp_path: Path) -> None:
    """Creating over anything is refused and changes nothing; an empty folder becomes a lake."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    (tmp_path / "plain").write_text("mine")
    for name in ("full", "plain"):
        with pytest.raises(UsageError, match="not an empty folder"):
            lake.create(tmp_path / name, key_file=tmp_path / "key")
    assert (tmp_path / "full" / "file").read_text() == "mine"
    assert not (tmp_path / "key").exists()
    (tmp_path / "empty").mkdir()
    lake.create(tmp_path / "empty", key_file=tmp_path / "key")
    with pytest.raises(UsageError, match="not an empty folder"):
        lake.create(tmp_path / "empty", key_file=tmp_path / "key")


CREATE = """
import os, signal, sys
import lake
turn = int(sys.argv[3])
seen = 0

def hook(event, arguments):
    global seen
    if event in {"lake.step", "os.rename", "os.mkdir", "sqlite3.connect"}:
        seen += 1
        if seen == turn:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(hook)
lake.create(sys.argv[1], key_file=sys.argv[2])
print("created", seen)
"""


def _create(root: Path, key: Path, turn: int) -> tuple[int, str]:
    process = forking.run(CREATE, root, key, turn, env={}, text=True)
    return process.returncode, process.stdout


def test_a_lake_is_made_wholly_or_not_at_all(tmp_path: Path) -> None:
    """Killed anywhere while it is made, a lake is not at its place, and making it again succeeds."""
    status, out = _create(tmp_path / "whole", tmp_path / "key", 0)
    assert status == 0
    steps = int(out.split()[1])
    assert steps > 8
    for turn in (1, steps // 2, steps - 1, steps):
        root = tmp_path / f"lake-{turn}"
        assert _create(root, tmp_path / "key", turn)[0] == -signal.SIGKILL
        assert not root.exists()
    assert _create(root, tmp_path / "key", 0)[0] == 0
    with lake.open(root, key_file=tmp_path / "key") as opened:
        assert [finding for finding in Doctor(opened.home).examine_lake() if finding.state == DAMAGE] == []


def test_a_lake_is_for_its_owner_alone(world: World) -> None:
    """A new lake's folder and key file are closed to other users."""
    assert world.root.stat().st_mode & 0o077 == 0
    assert world.key.stat().st_mode & 0o077 == 0


def test_a_lake_works_where_it_was_copied_to(world: World, tmp_path: Path) -> None:
    """A lake copied elsewhere with its key store answers there, also after the first is gone."""
    shutil.copytree(world.root, tmp_path / "moved" / "here")
    moved = World(tmp_path / "moved" / "here", world.key)
    shutil.rmtree(world.root)
    assert same_rows(moved.rows(), landed(w.known_rows()))
    assert not damaged(moved)


def test_a_key_store_can_lie_elsewhere(tmp_path: Path) -> None:
    """With its key store outside, the lake's folder alone does not open."""
    lake.create(tmp_path / "lake", single_approver=True, key_file=tmp_path / "key", key_store=tmp_path / "keys")
    assert not (tmp_path / "lake" / "keys").exists()
    with lake.open(tmp_path / "lake", key_file=tmp_path / "key") as opened:
        opened.add_contract(w.CONTRACT)
    (tmp_path / "keys").rename(tmp_path / "gone")
    with pytest.raises(REFUSED):
        lake.open(tmp_path / "lake", key_file=tmp_path / "key")
    assert not (tmp_path / "keys").exists()
