"""The pipeline: levels, kinds of fields, every text to the content filter, ceilings, and steps that fail."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from keys.errors import KeysError
from lake.clear.landing import pipeline as pipelines
from lake.errors import FilterFailedError, MalformedInputError
from lake.rules.contract import parse_contract
from tests.clear.landing.typing_world import START, NoScreen, Plain, Site, contract, key, keys, text_of, words

FORM = {"employee": "E-1", "ts": START, "type": "form", "app": "Writer", "words": "w"}


class Marks(NoScreen):
    """A screen that masks the word SECRET wherever it stands, and rates it 4."""

    def apply(self, strings):
        """As described."""
        super().apply(strings)
        found = {name: pc.match_substring(column, "SECRET") for name, column in strings.items()}
        levels = {name: pc.cast(pc.if_else(pc.fill_null(hit, False), 4, 1), pa.int8()) for name, hit in found.items()}
        masked = {name: pc.replace_substring(column, "SECRET", "[X]") for name, column in strings.items()}
        return Plain(masked, levels, {"secret": sum(pc.sum(hit).as_py() or 0 for hit in found.values())})


def test_counts_are_by_five_seconds() -> None:
    """No key, no class, no order: how many, and in which program."""
    rows = keys(["a", "5", "Enter"], start=0.0) + keys(["b"], 4, 7.0) + keys(["c"], 5, 7.5, app="Code.exe")
    found = Site(contract("counts")).send(rows)
    assert [(row["ts"].second, row["app"], row["presses"], row["lasted"]) for row in found] == [
        (0, "Writer", 3, 5000),
        (5, "Writer", 1, 5000),
        (5, "Code.exe", 1, 5000),
    ]
    assert {(row["type"], row["key"], row["seq"], row["sensitivity"]) for row in found} == {("counted", None, None, 1)}


def test_classes_have_coarse_times() -> None:
    """The class in the place of the key; times and durations in steps of 50 ms."""
    rows = keys(["a", "5", "漢", "Enter", "Backspace", "ArrowUp", "Shift", ";"], step=0.123, hold_ms=77, caret=3)
    site = Site(contract("classes"))
    found = site.send(rows)
    classes = ["letter", "digit", "letter", "space", "edit", "nav", "modifier", "punct"]
    assert [row["key_class"] for row in found] == classes
    assert all(row["ts"].microsecond % 50_000 == 0 for row in found)
    assert {(row["key"], row["caret"], row["hold_ms"], row["sensitivity"]) for row in found} == {(None, None, 50, 2)}


def test_what_a_sender_calls_a_class_is_one() -> None:
    """A contract without keys takes classes from the collector, and no other word in their place."""
    text = text_of("none").replace("fields: [app, url, title, private, device]", "fields: [app, key_class, hold_ms]")
    rows = [
        {"employee": "E-1", "ts": START, "type": "focus", "app": "Writer", "key_class": c}
        for c in ("letter", "hunter2")
    ]
    site = Site(parse_contract(text))
    assert [row["key_class"] for row in site.send(rows)] == ["letter", None]
    assert site.dropped == {"capture.class": 1}


@pytest.mark.parametrize("level", ["counts", "classes", "runs", "raw"])
@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("password", "field.password"),
        ("Password ", "field.password"),
        ("secure", "field.secure"),
        ("unknown", "field.unknown"),
        (None, "field.unknown"),
        ("", "field.unknown"),
        ("texte", "field.unknown"),
    ],
)
def test_secret_fields_land_at_no_level(level: str, kind: str | None, reason: str) -> None:
    """Not even how many keys: that is the length of a password."""
    site = Site(contract(level))
    assert site.send(keys([*"PpbkPpbk", "Enter"], kind=kind)) == []
    assert site.dropped == {reason: 9}
    assert site.screen.seen == []


def test_texts_of_forms_are_judged_by_their_field_too() -> None:
    """What a collector delivers as a whole."""
    rows = [FORM | {"kind": kind} for kind in ("text", "password", None)]
    site = Site(contract())
    assert [row["kind"] for row in site.send(rows)] == ["text"]
    assert site.dropped == {"field.unknown": 1, "field.password": 1}


def test_raw_keys_land_where_everything_allows_it() -> None:
    """At sensitivity 4, in a text field of a listed program."""
    site = Site(contract("raw"))
    found = site.send([*keys("ab"), *keys("cd", 3, app="unheard"), *keys("ef", 5, app="Signal")])
    assert [(row["key"], row["sensitivity"]) for row in found] == [("a", 4), ("b", 4)]
    assert site.dropped == {"context.unlisted": 2, "context.denied.private_communication": 2}


def test_every_text_goes_through_the_content_filter() -> None:
    """Whatever the field is called: driven by the contract, not by a list."""
    texts = ("app", "url", "title", "device", "window", "place", "words")
    text = text_of().replace("Writer: office", "Writer SECRET: office")
    typed = keys(["S", "E", "C", "R", "E", "T", "Enter"], app="Writer SECRET", window="SECRET", place="SECRET")
    focus = {"employee": "E-1", "ts": START, "type": "focus", "app": "Writer SECRET", "device": "SECRET"}
    focus |= {"url": "https://docs.example.com/SECRET?q=SECRET", "title": "SECRET plan"}
    site = Site(parse_contract(text), Marks())
    found = site.send([*typed, focus])
    assert len(found) == 2
    assert "SECRET" not in repr(found)
    assert {name for row in found for name in texts if row[name] is not None and "[X]" in row[name]} == set(texts)
    assert {row["sensitivity"] for row in found} == {4}
    assert site.pipeline.masked["secret"] == 8


def test_above_its_ceiling_a_field_is_dropped() -> None:
    """And counted as a breach: more was sent than the contract describes. The rest of the row lands."""
    text = text_of().replace("filter:\n", "filter:\n  ceilings: {title: 3}\n")
    rows = [{"employee": "E-1", "ts": START, "type": "focus", "app": "Writer", "title": t} for t in ("a", "SECRET")]
    site = Site(parse_contract(text), Marks())
    assert [(row["title"], row["sensitivity"]) for row in site.send(rows)] == [("a", 2), (None, 2)]
    assert (dict(site.pipeline.breaches), site.dropped) == ({"title": 1}, {"ceiling": 1})


def test_sensitivity_only_rises() -> None:
    """What the sender says stays through counting and runs; what it says too low is ignored."""
    assert [row["sensitivity"] for row in Site(contract("counts")).send([key(1, "a", sensitivity=1)])] == [1]
    text = text_of("counts").replace("key: {type: string, sensitivity: 4", "key: {type: string, sensitivity: 2")
    site = Site(parse_contract(text))
    assert [row["sensitivity"] for row in site.send([key(1, "a", sensitivity=3)])] == [3]
    assert [row["sensitivity"] for row in Site(contract()).send(keys(["a", "Enter"], sensitivity=1))] == [4]


@pytest.mark.parametrize("step", ["verdicts", "lower", "apply", "finish"])
def test_a_step_that_fails_takes_the_delivery_with_it(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an error that says nothing of what it worked on; sent again, it lands."""
    site = Site(contract())
    rows = keys([*"hunter", "Enter"])
    owner = {
        "verdicts": pipelines.ContextFilter,
        "lower": pipelines.Levels,
        "apply": NoScreen,
        "finish": pipelines.Runs,
    }[step]

    def broken(*_: object) -> Iterator[None]:
        raise ValueError("hunter")

    with monkeypatch.context() as patch:
        patch.setattr(owner, step, broken)
        with pytest.raises(FilterFailedError) as caught:
            site.send(rows)
    assert "hunter" not in repr(caught.value)
    assert caught.value.__cause__ is None
    assert words(site.send(rows)) == ["hunter"]


def test_a_step_that_hangs_is_given_up() -> None:
    """Within the time it has."""
    started = time.monotonic()
    with pytest.raises(FilterFailedError, match="longer than"):
        pipelines.within(0.05, lambda: time.sleep(1))
    assert time.monotonic() - started < 0.9
    with pytest.raises(MalformedInputError):
        pipelines.within(5, lambda: (_ for _ in ()).throw(MalformedInputError("m")))
    with pytest.raises(KeysError):
        pipelines.within(5, lambda: (_ for _ in ()).throw(KeysError("k")))


def test_runs_are_quick() -> None:
    """Half a million keys in a second on one core, with room for a busy machine."""
    count = 200_000
    site = Site(contract())
    text = [*"hello world this is text", "Backspace", "ArrowLeft", *"and more 123", "Enter"]
    rows = pa.RecordBatch.from_pylist(keys(text), schema=site.pipeline_schema())
    times = count // len(text) + 1
    rows = pa.concat_batches([rows] * times)
    seq = rows.schema.get_field_index("seq")
    ts = rows.schema.get_field_index("ts")
    numbers = np.arange(1, rows.num_rows + 1)
    rows = rows.set_column(seq, "seq", pa.array(numbers))
    rows = rows.set_column(
        ts, "ts", pa.array(numbers * 1000 + 1_757_900_000_000_000).cast(rows.schema.field("ts").type)
    )
    best = 0.0
    for _ in range(3):
        site = Site(contract())
        started = time.perf_counter()
        assert site.count(rows) == times
        best = max(best, rows.num_rows / (time.perf_counter() - started))
    print(f"{best / 1e6:.2f} M keys/s")
    assert best > 100_000
