"""``lake keys shred`` and what belongs to it: plan, certificate, verification, and the search for what was left."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from lake.rules import layout
from tests.cli.conftest import Shell
from tests.gateway.keylakes import key_folder
from tests.world import ADA, BEN

ROWS = "SELECT employee, ts, n FROM events ORDER BY ts, n"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where backups go."""
    return tmp_path / "backups"


def rows(shell: Shell, *options: str) -> list[dict[str, Any]]:
    """Every row."""
    ran = shell.query(ROWS, "--json", *options)
    assert ran.code == 0, ran.err
    return list(ran.document["rows"])


def shred(shell: Shell, place: Path, *more: str) -> str:
    """Erase ADA; gives the certificate."""
    ran = shell("keys", "shred", "--employee", ADA, "--backup", str(place), "--yes", "--json", *more)
    assert (ran.code, ran.document["changed"]) == (0, True), ran.err
    return str(ran.document["certificate"])


def test_the_plan_is_what_happens(shell: Shell, place: Path) -> None:
    """The numbers that were shown are those of the certificate; the rows are gone, the others' are there."""
    plan = shell("keys", "shred", "--employee", ADA, "--backup", str(place), "--json").document
    assert (plan["employees"], plan["files"], plan["rows"], plan["changed"]) == (1, 9, 36, False)
    text = shred(shell, place)
    data = json.loads(text.split("\n")[1])
    assert (len(data["keks"]), len(data["bucket_keys"])) == (plan["keks"], plan["bucket_keys"]) == (9, 3)
    assert data["survivors"] == plan["survivors"]
    found = rows(shell)
    assert len(found) == 108
    assert ADA not in {row["employee"] for row in found}
    assert shell("doctor").code == 0
    assert shell("keys", "status", "--json").document["employees"] == {"living": 3, "erased": 1, "disabled": 0}


def test_the_certificate_is_a_private_file_and_verifies_without_a_key(shell: Shell, place: Path) -> None:
    """With the lake's folder or its public key alone; what was changed, and another's, exits with 4."""
    file = place.parent / "shred.note"
    text = shred(shell, place, "--certificate", str(file))
    assert file.read_text() == text
    assert file.stat().st_mode & 0o777 == 0o600
    key = json.loads((shell.world.root / layout.CONFIG).read_text())["audit_key"]
    by_key = shell.bare("keys", "verify-certificate", str(file), "--verifier-key", key, "--json")
    by_lake = shell.bare("keys", "verify-certificate", str(file), "--lake", str(shell.world.root), "--json")
    assert by_key.code == by_lake.code == 0
    assert by_key.document == by_lake.document == json.loads(text.split("\n")[1])
    assert "a day that nobody has stated" in shell("keys", "verify-certificate", str(file)).out
    file.write_text(text.replace('"survivors":', '"survivors":1', 1))
    changed = shell("keys", "verify-certificate", str(file), "--json")
    assert (changed.code, changed.document["error"]) == (4, "key_integrity")
    assert shell("keys", "verify-certificate", str(shell.world.root / layout.CONFIG)).code == 4
    assert shell.bare("keys", "verify-certificate", str(file), "--verifier-key", "none").code in {2, 4}


def test_the_horizon_is_what_the_operator_states(shell: Shell, place: Path) -> None:
    """A date so many days after the end; said in words too."""
    file = place.parent / "shred.note"
    data = json.loads(shred(shell, place, "--copies-kept", "30", "--certificate", str(file)).split("\n")[1])
    finished = datetime.fromtimestamp(data["finished_at"] / 1_000_000, UTC)
    assert data["horizon"]["after"] == (finished + timedelta(days=30)).isoformat()
    assert str((finished + timedelta(days=30)).date()) in shell("keys", "verify-certificate", str(file)).out


def test_asked_again_it_gives_the_certificate_again(shell: Shell, place: Path) -> None:
    """Whoever lost the file, or the process behind the last step; somebody who is not known is a mistake."""
    text = shred(shell, place)
    assert shred(shell, place) == text
    both = ["--employee", ADA, "--employee", "stranger"]
    assert shell("keys", "shred", *both, "--backup", str(place), "--yes").code == 2


KILL = """
import os, signal
def end(event, given):
    if event == "lake.step" and given[0] == "{step}":
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(end)
"""


@pytest.mark.parametrize("step", ["shred.announced", "keys.root-trimmed"])
def test_resume_finishes_it_and_hands_out_the_certificate(shell: Shell, place: Path, step: str) -> None:
    """A shredding that was killed is as good as one that was not; others can read in between."""
    arguments = ("keys", "shred", "--employee", ADA, "--backup", str(place), "--yes")
    process = shell.start(*arguments, source=KILL.format(step=step))
    process.communicate()
    assert process.returncode == -9
    assert len(rows(shell)) == 108
    ran = shell("keys", "resume", "--json")
    assert (ran.code, ran.document["verb"]) == (0, "shred")
    file = place.parent / "shred.note"
    file.write_text(ran.document["certificate"])
    assert shell("keys", "verify-certificate", str(file)).code == 0
    assert shell("keys", "verify-shred").code == 0


def test_the_search_exits_with_4_if_it_cannot_say_no(shell: Shell, place: Path) -> None:
    """Every backup is searched unasked; one that is gone, damaged, or a folder that holds none is named."""
    assert shell("keys", "backup", "--to", str(place)).code == 0
    shred(shell, place)
    ran = shell("keys", "verify-shred", "--json")
    assert (ran.code, ran.document["paths"], ran.document["not_searched"]) == (0, [], [])
    assert (ran.document["employees"], ran.document["keks"], len(ran.document["searched"])) == (1, 9, 4)
    assert "no way to any of them was found" in shell("keys", "verify-shred").out
    surviving = place.parent / "surviving-keys"
    shutil.copytree(key_folder(shell.world), surviving)
    for named in (surviving, place.parent / "missing"):
        found = shell("keys", "verify-shred", "--backup", str(named), "--json")
        assert found.code == 4
        assert str(named) in found.document["not_searched"][0]
    shutil.rmtree(place)
    assert shell("keys", "verify-shred", "--json").document["not_searched"] == [str(place)]
    assert shell("keys", "verify-shred").code == 4


def test_backup_and_restoration(shell: Shell, place: Path) -> None:
    """Written, tested, restored to a folder; what is damaged or there already is refused."""
    before = rows(shell)
    made = shell("keys", "backup", "--to", str(place), "--json").document
    assert made["opened"]["keks"] == 32
    tested = shell("keys", "restore-test", str(place), "--json").document
    assert tested == made
    target = place.parent / "restored"
    arguments = ("keys", "restore", str(place), "--to", str(target), "--lake", str(shell.world.root), "--json")
    ran = shell.bare(*arguments)  # no key is needed
    assert (ran.code, ran.document["backup"]) == (0, made["backup"])
    assert shell.bare(*arguments).code == 2
    for path in key_folder(shell.world).glob(f"{layout.KEY_STORE}*"):
        path.unlink()
    assert shell.query(ROWS, "--json").code == 4
    shutil.copy2(target / layout.KEY_STORE, key_folder(shell.world) / layout.KEY_STORE)
    assert rows(shell) == before
    assert shell("doctor").code == 0
    part = max((place / "parts").iterdir(), key=lambda path: path.stat().st_size)
    part.write_bytes(part.read_bytes()[:-1])
    failed = shell("keys", "restore-test", str(place), "--json")
    assert (failed.code, failed.document["error"]) == (4, "key_integrity")
    unknown = shell("keys", "restore-test", str(place), "--id", "0" * 32, "--json")
    assert (unknown.code, unknown.document["error"]) == (4, "key_integrity")


def test_two_are_erased_at_once_and_the_rest_lives_on(shell: Shell, place: Path) -> None:
    """New batches of the living land, and the erased are refused with a code of its own."""
    both = ("--employee", ADA, "--employee", BEN)
    assert shell("keys", "shred", *both, "--backup", str(place), "--yes").code == 0
    file = place.parent / "batch.ndjson"
    for who, code in ((ADA, 1), ("EMP-NEW", 0)):
        line = {"employee": who, "ts": "2026-09-14T10:00:00Z", "type": "focus", "app": "New-QX"}
        file.write_text(json.dumps(line) + "\n")
        ran = shell("ingest", str(file), "--dataset", "events", "--json")
        assert ran.code == code
        assert code == 0 or ran.document["error"] == "employee_erased"
    assert len(rows(shell)) == 73
