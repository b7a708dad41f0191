"""``lake ingest``: what lands, what does not, and what the sender is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.cli.conftest import Shell

Write = Callable[[str, str], str]
COUNT = "SELECT count(*) AS n FROM events WHERE "
HEAD = "employee,ts,type,mood\n"


def ndjson(*apps: str, **more: Any) -> str:
    """Rows of the known dataset, one for each program."""
    rows = ({"employee": "E-1", "ts": "2024-05-01T10:00:00Z", "type": "focus", "app": app} | more for app in apps)
    return "".join(json.dumps(row) + "\n" for row in rows)


def rows(shell: Shell, where: str) -> int:
    """How many rows of the dataset there are."""
    count: int = shell.query(COUNT + where, "--json").document["rows"][0]["n"]
    return count


def test_a_file_lands_once(shell: Shell, write: Write) -> None:
    """A second run finds it landed and changes nothing."""
    path = write("a.ndjson", ndjson("First-QX", "Second-QX"))
    first = shell("ingest", path, "--dataset", "events", "--json").document
    assert (first["landed"], first["already_landed"], first["rows"]) == (1, 0, 2)
    second = shell("ingest", path, "--dataset", "events", "--json").document
    assert (second["landed"], second["already_landed"], second["rows"]) == (0, 1, 0)
    assert first["batches"][0]["batch_id"] == second["batches"][0]["batch_id"]
    assert rows(shell, "employee = 'E-1'") == 2
    assert "0 batches landed" in shell("ingest", path, "--dataset", "events").out


def test_a_folder_lands_file_by_file(shell: Shell, tmp_path: Path, write: Write) -> None:
    """Every file below it that a reader takes is a batch of its own; others are left alone."""
    (tmp_path / "in" / "deep").mkdir(parents=True)
    write("in/a.ndjson", ndjson("A-QX"))
    write("in/deep/b.jsonl", ndjson("B-QX"))
    write("in/notes.txt", "not telemetry")
    document = shell("ingest", str(tmp_path / "in"), "--dataset", "events", "--json").document
    assert sorted(batch["file"] for batch in document["batches"]) == ["a.ndjson", "b.jsonl"]
    assert document["rows"] == 2


def test_a_malformed_file_does_not_land_and_those_before_it_stay(shell: Shell, tmp_path: Path, write: Write) -> None:
    """Nothing of the bad file is visible, nothing after it is tried, and no value of it is shown."""
    (tmp_path / "in").mkdir()
    write("in/1.ndjson", ndjson("One-QX"))
    write("in/2.ndjson", ndjson("Two-QX") + '{"employee": "E-1", "secretcanary"\n')
    write("in/3.ndjson", ndjson("Three-QX"))
    ran = shell("ingest", str(tmp_path / "in"), "--dataset", "events")
    assert ran.code == 1
    assert "2.ndjson did not land; 1 of 3 files landed before it" in ran.err
    assert "1 batches landed" in ran.out
    assert "secretcanary" not in ran.out + ran.err
    assert rows(shell, "app = 'One-QX'") == 1
    assert rows(shell, "app IN ('Two-QX', 'Three-QX')") == 0
    assert shell("jobs", "sweep", "--grace-hours", "0", "--json").document["orphans"] == []


def test_with_json_an_error_is_the_one_document(shell: Shell, tmp_path: Path, write: Write) -> None:
    """It says which file failed and how many had landed before."""
    (tmp_path / "in").mkdir()
    write("in/1.ndjson", ndjson("One-QX"))
    write("in/2.ndjson", "{")
    ran = shell("ingest", str(tmp_path / "in"), "--dataset", "events", "--json")
    assert ran.code == 1
    document = ran.document
    assert (document["error"], document["file"], document["files_landed"]) == ("malformed_input", "2.ndjson", 1)


def test_a_breach_of_the_contract_names_row_and_field(shell: Shell, write: Write) -> None:
    """The message leads to the row and keeps its value to itself."""
    ran = shell("ingest", write("a.ndjson", ndjson("A-QX", n=48151)), "--dataset", "events", "--json")
    assert (ran.code, ran.document["error"]) == (1, "contract_breach")
    assert "row 1: the field 'n'" in ran.document["message"]
    assert "48151" not in ran.out + ran.err


def test_fields_that_the_contract_does_not_name_are_said_once(shell: Shell, write: Write) -> None:
    """The sender learns their names and counts; the rows land without them."""
    path = write("a.ndjson", ndjson("A-QX", "B-QX", clipboard="secretcanary"))
    ran = shell("ingest", path, "--dataset", "events")
    assert ran.code == 0
    assert ran.err.count("clipboard") == 1
    assert "unknown_field" in ran.out
    assert "secretcanary" not in ran.out + ran.err
    assert "clipboard" not in shell("audit", "show", "--details").out


def test_a_batch_id_with_other_content_is_a_conflict(shell: Shell, write: Write) -> None:
    """One name, one content; the same content again is no error."""
    one, other = write("a.ndjson", ndjson("A-QX")), write("b.ndjson", ndjson("B-QX"))
    named = ("--dataset", "events", "--batch-id", "monday", "--json")
    assert shell("ingest", one, *named).document["batches"][0]["batch_id"] == "monday"
    assert shell("ingest", one, *named).document["already_landed"] == 1
    ran = shell("ingest", other, *named)
    assert (ran.code, ran.document["error"]) == (1, "batch_conflict")
    assert rows(shell, "app = 'B-QX'") == 0
    assert shell("ingest", one, other, *named).code == 2


def test_an_unknown_dataset_and_an_unknown_version_are_refused(shell: Shell, write: Write) -> None:
    """Without a collection contract nothing lands."""
    path = write("a.ndjson", ndjson("A-QX"))
    ran = shell("ingest", path, "--dataset", "nothing")
    assert ran.code == 1
    assert "lake contract propose" in ran.err
    assert shell("ingest", path, "--dataset", "events", "--contract-version", "7").code == 1


def test_a_csv_file_is_read_through_a_mapping(shell: Shell, write: Write) -> None:
    """Columns get the contract's names; a mistake in the mapping has line and column."""
    path = write("a.csv", "who,when,what\nE-1,2024-05-01T10:00:00Z,calm\n")
    good = "columns: {who: employee, when: ts, what: mood}\nconstants: {type: mood}\n"
    mapped = shell("ingest", path, "--dataset", "moods", "--mapping", write("m.yaml", good), "--json")
    assert (mapped.code, mapped.document["rows"]) == (0, 1)
    bad = shell(
        "ingest", path, "--dataset", "moods", "--mapping", write("bad.yaml", "columns: {who: employee}\nx: 1\n")
    )
    assert bad.code == 2
    assert "bad.yaml:2:1: unknown key 'x'" in bad.err
    assert shell("ingest", path, "--dataset", "moods", "--mapping", "/nonexistent").code == 2


def test_what_is_not_there_or_not_readable_is_a_usage_error(shell: Shell, tmp_path: Path, write: Write) -> None:
    """A missing path, a folder without files, an unknown suffix and a bad time exit with 2."""
    (tmp_path / "empty").mkdir()
    start = ("--session-start", "noon")
    for given in (["/nonexistent"], [str(tmp_path / "empty")], [write("a.txt", "x")], [write("a.csv", HEAD), *start]):
        assert shell("ingest", *given, "--dataset", "moods").code == 2
