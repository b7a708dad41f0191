"""Filtering within a lake: what lands, what the log says, what a kill leaves, and real typing of real people."""

# ruff: noqa: DTZ001 - capture times are naive UTC
from __future__ import annotations

import gzip
import json
import os
import re
import shutil
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest

from lake.clear.arrow_schema import incoming_schema
from lake.clear.landing import pipeline as pipelines
from lake.errors import FilterFailedError, UsageError
from lake.rules.contract import parse_contract
from tests import world as w
from tests.clear.landing.typing_world import CARD, contract, key, keys, text_of
from tests.world import World, child, finished

DATA = Path(os.environ.get("LAKE_SHARED_DATA", w.ROOT.parent / "shared" / "data"))
FORMS = DATA / "desktop_actions" / "form_events.jsonl.gz"
KEYS_OF_WRITERS = DATA / "keystrokes" / "keystrokes.csv.gz"
SCHEMA = incoming_schema(contract())
POLICY = """
purposes: {study: Studies}
roles: {all: {grants: [{dataset: typing, purposes: [study], sensitivity: 4, employee_id: real}]}}
users: {vera: {roles: [all]}}
"""
HALVES = keys([*CARD[:5], "9", "Backspace", *CARD[5:10]]), keys([*CARD[10:], "Enter", *"ok", "Enter"], 13, 2.6)


def table(rows: list[dict[str, object]]) -> pa.Table:
    """Rows as they are sent."""
    return pa.Table.from_pylist(rows, schema=SCHEMA)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A lake in which typing is collected as runs."""
    made = w.make(tmp_path_factory.mktemp("typing"))
    with made.open() as lake:
        lake.add_contract(text_of())
        lake.apply_policy(POLICY)
    return made


@pytest.fixture
def world(template: World, tmp_path: Path) -> Iterator[World]:
    """A copy of it."""
    yield w.copy(template, tmp_path)
    shutil.rmtree(tmp_path, ignore_errors=True)


def texts(world: World) -> list[str]:
    """What landed as typed text, mask tokens as their categories."""
    rows = world.rows("SELECT words FROM typing WHERE type = 'typed' ORDER BY ts", "vera", "study")
    return [re.sub(r"\[([A-Z_]+):[a-p]{16}\]", r"[\1]", row["words"]) for row in rows]


def test_a_card_over_two_uploads_lands_as_one_run(world: World) -> None:
    """The first upload says how many keys wait; the second has the whole text; each of them again changes nothing."""
    first, second = map(table, HALVES)
    with world.open() as lake:
        report = lake.ingest("typing", first, batch_id="one")
        assert (report.rows, report.dropped) == (0, {"run.open": 12})
        report = lake.ingest("typing", second, batch_id="two")
        assert (report.rows, report.dropped, report.masked) == (2, {}, {"CARD": 1})
        assert lake.ingest("typing", first, batch_id="one").status == "already landed"
        assert lake.ingest("typing", second, batch_id="two").status == "already landed"
        assert lake.ingest("typing", second, batch_id="three").dropped == {"run.duplicate": 10}
    assert texts(world) == ["[CARD]", "ok"]
    assert world.entries("filter.lost") == []


def test_every_batch_has_a_report_without_values(world: World) -> None:
    """Counts and reasons, the contract, the batch; and what is still open when the lake is closed."""
    rows = [
        *HALVES[0],
        *keys("hunter2", 13, 3.0, kind="password"),
        key(20, "x", 6.0, app="Signal"),
        *keys("ab", 21, 9.0),
    ]
    with world.open() as lake:
        lake.ingest("typing", table(rows), batch_id="one")
    *_, entry = world.entries("filter.report")
    assert (entry["dataset"], entry["rows_in"], entry["rows_out"]) == ("typing", len(rows), 1)
    reasons = {"field.password": 7, "context.denied.private_communication": 1, "run.open": 2}
    assert entry["dropped"] == reasons
    assert world.entries("ingest.batch")[-1]["dropped"] == reasons
    (lost,) = world.entries("filter.lost")
    assert lost["keys"] == 2
    logged = json.dumps(world.entries())
    assert not [word for word in ("hunter2", CARD[:10], "Signal", "Writer") if word in logged]


def test_more_than_the_contract_describes_is_a_breach(world: World) -> None:
    """A new field, or a new event type, is logged with the batch in which it came, and does not land."""
    rows = table([key(1, "a"), key(2, "Enter")]).append_column("screenshot", pa.array(["secretcanary", None]))
    with world.open() as lake:
        lake.ingest("typing", rows, batch_id="one")
        lake.ingest("typing", table([key(3, "a") | {"type": "screenshot"}]), batch_id="two")
    first, second = world.entries("contract.breach")
    assert (first["breaches"], second["breaches"]) == ({"unknown_field": 1}, {"unknown_event_type": 1})
    assert first["batch"] == world.entries("filter.report")[-2]["batch"]
    assert "secretcanary" not in json.dumps(world.entries())


def test_a_filter_that_fails_lands_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither rows nor objects; the sender is told to try again, and then it lands once."""
    before = world.objects()

    def broken(*_: object) -> None:
        raise RuntimeError(CARD)

    with world.open() as lake:
        with monkeypatch.context() as patch:
            patch.setattr(pipelines.ContextFilter, "verdicts", broken)
            with pytest.raises(FilterFailedError) as caught:
                lake.ingest("typing", table([*HALVES[0], *HALVES[1]]), batch_id="one")
        assert (caught.value.exit_code, CARD in repr(caught.value)) == (5, False)
        assert world.objects() == before
        assert lake.ingest("typing", table([*HALVES[0], *HALVES[1]]), batch_id="one").rows == 2
    assert texts(world) == ["[CARD]", "ok"]
    assert world.entries("ingest.refused")[-1]["reason"] == "filter_failed"


def test_a_contract_that_does_not_say_how_is_not_put_in_force(world: World) -> None:
    """It has a field whose name tells that it holds what somebody did."""
    text = text_of()
    bare = text[: text.index("filter:")].replace("dataset: typing", "dataset: bare")
    with world.open() as lake, pytest.raises(UsageError, match="how it is filtered"):
        lake.add_contract(bare)


KILLED = """
from tests.gateway.test_filtering import HALVES, table
with world.open() as lake:
    lake.ingest("typing", table(HALVES[0]), batch_id="one")
    sys.addaudithook(hook)
    lake.ingest("typing", table(HALVES[1]), batch_id="two")
"""


@pytest.mark.parametrize("step", ["ingest.object-written", "ingest.announced", "ingest.committed"])
def test_a_kill_lets_no_half_of_a_number_land(world: World, step: str) -> None:
    """Before the commit the beginning is lost with the process, and the end never lands; after it, both have landed."""
    status, out, err = finished(child(world, KILLED, step))
    assert (status, out) == (-9, ""), err
    landed = step == "ingest.committed"
    with world.open() as lake:
        assert lake.ingest("typing", table(HALVES[0]), batch_id="one").status == "already landed"
        again = lake.ingest("typing", table(HALVES[1]), batch_id="two")
        assert again.status == ("already landed" if landed else "landed")
        assert again.dropped == ({} if landed else {"run.open": 10})
    assert texts(world) == (["[CARD]", "ok"] if landed else [])


def test_keys_that_wait_are_nowhere_on_disk(world: World) -> None:
    """While the process holds them, no file of the lake has them."""
    marked = keys("secretcanary")
    with world.open() as lake:
        lake.ingest("typing", table(marked), batch_id="one")
        found = [path for path in world.root.rglob("*") if path.is_file() and b"secretcanary" in path.read_bytes()]
        assert (found, lake.open_runs.held()) == ([], 12)


@pytest.mark.skipif(not FORMS.exists(), reason=f"real form events are not here: {FORMS}")
def test_passwords_of_real_people_do_not_land(world: World) -> None:
    """Forms of the MiniWoB collection: fields for passwords give nothing; known text fields give their text."""
    secret = {"enter-password", "login-user"}
    rows, said = [], {"secret": 0, "open": 0}
    numbers: dict[str, int] = {}
    with gzip.open(FORMS, "rt") as lines:
        for line in lines:
            event = json.loads(line)
            if event["type"] != "keypress" or not event.get("charCode"):
                continue
            demo = event["demo"]
            numbers[demo] = numbers.get(demo, 0) + 1
            kind = "password" if event["task"] in secret else "text"
            said["secret" if kind == "password" else "open"] += 1
            pressed = "Enter" if event["charCode"] == 13 else chr(event["charCode"])
            at = datetime(2026, 9, 1) + timedelta(milliseconds=event["t_ms"])
            if kind == "password":
                pressed = pressed if len(pressed) > 1 else chr(ord(pressed) % 0x1000 + 0x4E00)  # recognisable
            kind = kind if len(rows) % 3 or kind == "text" else "unknown"
            rows.append(key(numbers[demo], pressed, at, employee=demo, kind=kind))
    assert said["secret"] > 100
    assert said["open"] > 100
    with world.open() as lake:
        report = lake.ingest("typing", table(rows), batch_id="forms")
        lake.ingest(
            "typing",
            table([key(numbers[demo] + 1, "Enter", datetime(2026, 9, 2), employee=demo) for demo in sorted(numbers)]),
            batch_id="ends",
        )
    assert report.dropped["field.password"] + report.dropped["field.unknown"] == said["secret"]
    landed = world.rows("SELECT * FROM typing", "vera", "study")
    assert landed
    assert not [row for row in landed if row["kind"] != "text"]
    assert {row["sensitivity"] for row in landed if row["words"]} == {4}
    assert not any(0x4E00 <= ord(char) < 0x5E00 for row in landed for char in row["words"] or "")


@pytest.mark.skipif(not KEYS_OF_WRITERS.exists(), reason=f"real keystrokes are not here: {KEYS_OF_WRITERS}")
def test_a_card_in_the_rhythm_of_a_real_writer(world: World) -> None:
    """Gaps between keys as a writer of the wta collection made them, with corrections, over three uploads."""
    with gzip.open(KEYS_OF_WRITERS, "rt") as lines:
        downs = [int(line.split(",")[2]) for line in lines.readlines()[1:400] if line.startswith("THEcorpus__A1_")]
    gaps = [min(max(late - early, 20), 9_000) for early, late in pairwise(downs)]
    strokes = [
        *CARD[:3],
        "7",
        "Backspace",
        *CARD[3:8],
        "ArrowLeft",
        "ArrowLeft",
        "5",
        "Backspace",
        "End",
        *CARD[8:],
        "Enter",
    ]
    rows, at = [], datetime(2026, 9, 1)
    for number, pressed in enumerate(strokes, 1):
        at += timedelta(milliseconds=gaps[number])
        rows.append(key(number, pressed, at))
    with world.open() as lake:
        for number, upload in enumerate((rows[16:], rows[:7], rows[7:16])):
            lake.ingest("typing", table(upload), batch_id=f"upload-{number}")
    assert texts(world) == ["[CARD]"]


def test_the_contract_of_these_tests_is_the_one_in_force(world: World) -> None:
    """So that what lands is judged by what is written here."""
    with world.open() as lake:
        assert lake.contracts.get("typing").digest == parse_contract(text_of()).digest
