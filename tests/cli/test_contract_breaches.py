"""What a contract does not describe never lands, nested, oversized, unreadable or of another type; no value stays."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Shell
from tests.leak_scanner import scan

CANARY = "value-canary-26"
START = '{"employee": "E-1", "ts": "2026-09-01T10:00:00Z", "type": "focus", "app": "Editor-QX"'
DROPPED = {
    "nested in an unknown field": (f', "extra": {{"a": {{"b": "{CANARY}"}}}}', {"unknown_field": 1}),
    "a list in an unknown field": (f', "extra": ["{CANARY}", {{"c": "{CANARY}"}}]', {"unknown_field": 1}),
    "an extra key that says what it holds": (f', "{CANARY}": 1', {"unknown_field": 1}),
    "two extra keys": (f', "one": "{CANARY}", "two": "{CANARY}"', {"unknown_field": 2}),
    "a field of another event type": (f', "said": "{CANARY}"', {"field_not_of_event": 1}),
}
REFUSED = {
    "nested in a known field": f', "title": {{"a": "{CANARY}"}}',
    "a list in a known field": f', "title": ["{CANARY}"]',
    "oversize": f', "title": "{CANARY}{"x" * 80}"',
    "wrong unit": ', "n": 100000',
    "a fraction for a whole number": ', "n": 1.5',
    "a number as text": f', "n": "{CANARY}"',
    "NaN": ', "score": NaN',
    "infinity": ', "score": 1e999',
    "deep": f', "extra": {"[" * 100_000}{"]" * 100_000}, "title": "{CANARY}"',
    "a key twice": f', "title": "{CANARY}", "title": "b"',
    "a key twice, nested": f', "extra": {{"a": 1, "a": "{CANARY}"}}',
}


def ingest(shell: Shell, path: Path, content: bytes) -> tuple[int, dict[str, object]]:
    """Exit code and document."""
    path.write_bytes(content)
    ran = shell("ingest", str(path), "--dataset", "events", "--batch-id", "b26", "--json")
    # The sender, and nobody else, is told the names of fields that do not land.
    assert CANARY not in ran.err.partition("not land:")[0]
    return ran.code, ran.document


@pytest.mark.parametrize("name", DROPPED)
def test_what_is_unknown_is_dropped_and_counted(shell: Shell, tmp_path: Path, name: str) -> None:
    """The row lands without it; the counts are right."""
    more, counts = DROPPED[name]
    (tmp_path / "sent").mkdir()
    code, _ = ingest(shell, tmp_path / "sent" / "b.ndjson", f"{START}{more}}}\n".encode())
    assert code == 0
    (entry, _) = [found for found in shell.world.entries("ingest.batch") if found["dropped"]]
    assert entry["dropped"] == counts
    breaches = [found["breaches"] for found in shell.world.entries("contract.breach")]
    assert breaches == ([counts] if "unknown_field" in counts else [])
    assert scan([shell.world.root], [CANARY.encode()]) == []


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_in_one_way_does_not_land(shell: Shell, tmp_path: Path, name: str) -> None:
    """The batch is refused as a whole, and neither message nor lake holds a value of it."""
    (tmp_path / "sent").mkdir()
    good = f"{START}}}\n"
    code, document = ingest(shell, tmp_path / "sent" / "b.ndjson", f"{good}{START}{REFUSED[name]}}}\n".encode())
    assert code == 1
    assert CANARY not in json.dumps(document)
    assert len(shell.world.entries("ingest.refused")) == 1
    assert scan([shell.world.root], [CANARY.encode()]) == []


def test_bytes_that_are_no_text_do_not_land(shell: Shell, tmp_path: Path) -> None:
    """Invalid UTF-8 in a value or a key."""
    for place, content in enumerate((b', "title": "\xff\xfe"}', b', "\xc3\x28": 1}')):
        code, _ = ingest(shell, tmp_path / f"{place}.ndjson", START.encode() + content + b"\n")
        assert code == 1
