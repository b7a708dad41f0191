"""The commands of purges, holds and shredding, from one end to the other."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import lake
from lake.cli.main import main
from tests import world as w

Run = Callable[..., tuple[int, dict[str, Any]]]
ANN, BEN = "ann", "ben"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake of today: of two employees a row that is past and one that is not."""
    folder = tmp_path_factory.mktemp("commands")
    lake.create(folder / "lake", key_file=folder / "lake.key", single_approver=True)
    now = datetime.now(UTC).replace(tzinfo=None)
    with lake.open(folder / "lake", key_file=folder / "lake.key") as opened:
        opened.add_contract(w.CONTRACT)
        rows = [
            w.row(who, now - timedelta(days=days), "judge", note=f"{who} {days}", n=1)
            for who in (w.ADA, w.BEN)
            for days in (100, 1)
        ]
        opened.ingest("events", w.table(rows), batch_id="one")
    return folder


@pytest.fixture
def run(place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command as somebody; gives the exit code and what it printed."""

    def ran(*arguments: str, by: str = ANN) -> tuple[int, Any]:
        for module in ("jobs.retention_cli", "lake.cli.holds", "jobs.clear.retention.execute"):
            monkeypatch.setattr(f"{module}.person", lambda: by)
        where = ["--lake", str(place / "lake"), "--key-file", str(place / "lake.key"), "--json"]
        code = main([*arguments, *where])
        return code, json.loads(capsys.readouterr().out or "null")

    return ran


def test_from_a_plan_to_a_certificate(place: Path, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """Held, planned, refused without a second person, approved, executed, verified, checked offline, shredded."""
    code, hold = run("hold", "place", "--employee", w.ADA, "--reason", "a claim before the court", "--review", _day(30))
    assert (code, hold["state"]) == (0, "in force")
    assert run("hold", "place", "--all", "--dataset", "events", "--reason", "x" * 12, "--review", _day(3))[0] == 2
    code, plan = run("jobs", "retention", "plan")
    assert (code, plan["facts"]["rows"], plan["shown"]["held_files"]) == (0, 2, 1)
    named = ("--plan", plan["plan"])
    assert run("jobs", "retention", "execute", *named)[0] == 3
    assert run("jobs", "retention", "approve", *named)[0] == 0
    assert run("jobs", "retention", "execute", *named)[0] == 3, "who executes it is not the second person"
    assert run("jobs", "run", "retention", "--yes")[0] == 3
    assert run("jobs", "retention", "approve", *named, by=BEN)[0] == 0
    assert run("jobs", "retention", "approve", "--plan", "sha256:" + "0" * 64, by=BEN)[0] == 2
    assert run("jobs", "retention", "verify")[0] == 2
    code, done = run("jobs", "retention", "execute", *named, "--metrics-file", str(place / "jobs.prom"))
    assert (code, done["state"], done["counts"]["rows"], done["counts"]["held_files"]) == (0, "done", 1, 1)
    assert b'lake_job_work_total{job="retention",what="rows"} 1.0' in (place / "jobs.prom").read_bytes()
    note = place / "purge.note"
    code, certificate = run("jobs", "retention", "verify", "--certificate", str(note), "--copies-kept", "7")
    assert (code, certificate["counts"]["rows"]) == (0, 1)
    key = json.loads((place / "lake" / "lake.json").read_text())["audit_key"]
    assert main(["jobs", "verify-certificate", str(note), "--verifier-key", key]) == 0
    assert "1 rows" in capsys.readouterr().out
    note.write_text(note.read_text().replace('"rows":1', '"rows":2'))
    assert main(["jobs", "verify-certificate", str(note), "--verifier-key", key]) == 4
    capsys.readouterr()

    shred = ("jobs", "shred", "--employee", w.ADA, "--backup", str(place / "backup"))
    code, planned = run(*shred)
    assert (code, planned["changed"], planned["shown"]) == (0, False, {"holds": 1})
    assert run(*shred, "--yes")[0] == 3
    for by in (ANN, BEN):
        assert run("hold", "release", hold["id"], "--reason", "the claim was settled", by=by)[0] == 0
    assert run("hold", "list")[1] == []
    code, done = run(*shred, "--yes")
    assert (code, done["counts"]["employees"], done["counts"]["entries"]) == (0, 1, 1)
    code, certificate = run("jobs", "certify", "--certificate", str(place / "shred.note"))
    assert (code, certificate["kind"]) == (0, "shred")
    assert run("jobs", "shred", "--waiting")[1] == {"employees": 0, "changed": False}
    assert run("jobs", "shred", "--later")[0] == 2
    later = ("jobs", "shred", "--employee", w.BEN, "--later")
    assert run(*later)[1] == {"waiting": 0, "changed": False}
    assert run(*later, "--yes")[1] == run(*later, "--yes")[1] | {"changed": True} == {"waiting": 1, "changed": True}
    code, planned = run("jobs", "shred", "--waiting", "--backup", str(place / "backup"))
    assert (code, planned["changed"], planned["facts"]["employees"]) == (0, False, 1)
    assert run("jobs", "admit", "--employee", w.BEN, "--yes")[0] == 2
    assert run("jobs", "admit", "--employee", w.ADA, "--yes")[1] == {"erased": True, "changed": True}
    code, runs = run("jobs", "status")
    assert [one["job"] for one in runs] == ["shred", "retention"]
    assert run("jobs", "abandon", "retention")[1]["run"] is None


def test_rules_are_applied_and_shown(place: Path, run: Run, tmp_path: Path) -> None:
    """With their digest and version; what is not valid is refused."""
    file = tmp_path / "retention.yaml"
    file.write_text("rules:\n  - {match: {sensitivity: 4}, keep: 20d}\n")
    assert run("jobs", "retention", "rules", str(file))[1]["changed"]
    assert not run("jobs", "retention", "rules", str(file))[1]["changed"]
    code, shown = run("jobs", "retention", "rules")
    assert (code, shown["version"], shown["text"]) == (0, 1, file.read_text())
    file.write_text("rules:\n  - {match: {sensitivity: 9}, keep: 20d}\n")
    assert run("jobs", "retention", "rules", str(file))[0] == 2
    assert run("jobs", "retention", "plan", "--as-of", "soon")[0] == 2


def _day(ahead: int) -> str:
    return (datetime.now(UTC) + timedelta(days=ahead)).date().isoformat()
