"""Typing runs: assembled across batches and deliveries, in whatever order these come, and never in halves."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.clear.landing import carry, runs
from lake.clear.landing.carry import Held, OpenRuns
from tests.clear.landing.typing_world import CARD, START, Site, contract, key, keys, words

TYPING = contract()
CARD_KEYS = [
    *"45", "9", "Backspace", *"39148", "ArrowLeft", "ArrowLeft", "7", "Backspace", "End", *"80343", "Home", "Delete",
    "4", "End", *"6467", "Enter",
]  # fmt: skip


def parts(rows, *cuts):
    """A list cut in pieces."""
    bounds = [0, *cuts, len(rows)]
    return [rows[start:end] for start, end in pairwise(bounds)]


def test_a_card_over_three_batches_and_two_uploads_is_one_text():
    """With wrong digits, backspaces and arrows, it reaches the content filter whole, and only there."""
    site = Site(TYPING)
    first, second, third = parts(keys(CARD_KEYS), 9, 18)
    assert site.send(first, second) == []
    assert site.dropped == {"run.open": 18}
    assert not any(text.isdigit() and len(text) > 1 for text in site.screen.seen)
    (row,) = site.send(third)
    assert (row["words"], row["presses"], row["sensitivity"]) == (CARD, len(CARD_KEYS), 4)
    assert site.dropped == {}
    assert (row["key"], row["seq"], row["caret"], row["kind"]) == (None, None, None, "text")


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000))
def test_the_order_and_number_of_uploads_change_nothing(seed):
    """Uploads shuffled, some twice, land the same texts as one upload."""
    rng = random.Random(seed)
    text = [rng.choice([*"abc 123", "Backspace", "ArrowLeft", "Enter", "Tab"]) for _ in range(60)] + ["Enter"]
    rows = keys(text)
    whole = words(Site(TYPING).send(rows))
    cuts = sorted(rng.sample(range(1, 60), 5))
    uploads = parts(rows, *cuts)
    uploads += rng.sample(uploads, 2)
    rng.shuffle(uploads)
    site = Site(TYPING)
    landed = [text for upload in uploads for text in words(site.send(upload))]
    assert sorted(landed) == sorted(whole)
    assert site.open.held() == 0


def test_a_delivery_that_did_not_land_is_as_if_it_had_not_come():
    """Sent again it gives the same run, once."""
    site = Site(TYPING)
    first, second = parts(keys(CARD_KEYS), 12)
    site.send(first)
    assert words(site.send(second, lands=False)) == [CARD]
    assert words(site.send(second)) == [CARD]
    assert words(site.send(second)) == []
    assert site.dropped == {"run.duplicate": len(second)}


def test_after_a_restart_half_a_run_does_not_land():
    """The keys that continue a run which went with the process are dropped to the next boundary, and counted."""
    first, second = parts(keys([*CARD_KEYS, *"ok", "Enter"]), 12)
    Site(TYPING).send(first)
    site = Site(TYPING)
    assert site.send(second) == []
    assert site.dropped == {"run.open": len(second)}
    site.now += runs.REORDER_S + 1
    assert words(site.send(keys(["x", "Enter"], len(CARD_KEYS) + 4, 60.0))) == ["ok", "x"]
    assert site.dropped == {"run.lost": len(CARD_KEYS) - 12}


def test_what_a_missing_upload_tears_apart_does_not_land():
    """Once what is missing is given up, the runs on both sides of it go, and the others land."""
    rows = keys(["a", "Enter", *CARD[:8], *CARD[8:], "Enter", "b", "Enter"])
    site = Site(TYPING)
    assert words(site.send(rows[:6])) == ["a"]
    assert words(site.send(rows[10:])) == []
    site.now += runs.REORDER_S + 1
    assert words(site.send(keys(["c", "Enter"], len(rows) + 1, 30.0))) == ["b", "c"]
    assert site.dropped["run.lost"] == 4 + 9


@pytest.mark.parametrize(
    "change",
    [{"window": "w2"}, {"place": "f2"}, {"app": "Code.exe"}, {"url": "https://docs.example.com/x"}],
    ids=lambda change: next(iter(change)),
)
def test_another_place_ends_a_run(change):
    """Another window, field, program or page, and coming back begins a new run."""
    rows = [*keys("ab"), *keys("cd", 3, 1.0, **change), *keys(["e", "Enter"], 5, 2.0)]
    assert words(Site(TYPING).send(rows)) == ["ab", "cd", "e"]


def test_a_pause_ends_a_run():
    """Ten seconds without a key; so does an event of the same computer that late."""
    site = Site(TYPING)
    assert words(site.send([*keys("ab"), *keys("cd", 3, 10.3)])) == ["ab"]
    focus = key(0, "", 30.0) | {"type": "focus", "seq": None, "key": None, "kind": None, "window": None, "place": None}
    assert words(site.send([focus])) == ["cd"]
    # Its device goes on within the ten seconds after all: what follows is half of something.
    assert words(site.send(keys(["e", "Enter", "f", "Enter"], 5, 11.0))) == ["f"]
    assert site.dropped == {"run.lost": 2}


def test_other_computers_do_not_end_a_run():
    """Only its own device's events say that time went by."""
    site = Site(TYPING)
    focus = key(0, "", 30.0, device="pc-2") | {"type": "focus", "seq": None, "key": None, "kind": None}
    focus |= {"window": None, "place": None}
    assert words(site.send([*keys("ab"), focus])) == []


def test_keys_that_may_not_land_end_a_run_and_are_not_missing():
    """Typing in a bank, or a password, between two texts: both texts land, and nothing waits for the numbers."""
    rows = [*keys("ab"), *keys("hunter2", 3, 1.0, kind="password"), *keys(["c", "Enter"], 10, 3.0)]
    site = Site(TYPING)
    assert words(site.send(rows)) == ["ab", "c"]
    assert site.dropped == {"field.password": 7}
    assert not set("hunter2") & set("".join(site.screen.seen).replace("text", "").replace("Writer", ""))


def test_people_and_computers_do_not_mix():
    """Keys of two people and two computers, one after the other in one batch."""
    rows = []
    for index, one in enumerate("abcdef"):
        rows += keys([one], index + 1, index * 0.2)
        rows += keys([one.upper()], index + 1, index * 0.2, device="pc-2")
        rows += keys([str(index)], index + 1, index * 0.2, employee="E-2")
    rows += [key(7, "Enter", 2.0, **who) for who in ({}, {"device": "pc-2"}, {"employee": "E-2"})]
    found = {(row["employee"], row["device"]): row["words"] for row in Site(TYPING).send(rows)}
    assert found == {("E-1", "pc-1"): "abcdef", ("E-1", "pc-2"): "ABCDEF", ("E-2", "pc-1"): "012345"}


def test_numbers_that_are_none():
    """A key without a number, or with one below 1, has no place in a run."""
    rows = [*keys(["a", "Enter"]), key(3, "b") | {"seq": None}, key(0, "c")]
    site = Site(TYPING)
    assert words(site.send(rows)) == ["a"]
    assert site.dropped == {"run.unnumbered": 2}
    other = {"employee": "E-1", "ts": START, "type": "focus", "app": "Writer", "device": "pc-1"}
    assert [row["type"] for row in Site(TYPING).send([other, key(0, "c")])] == ["focus"]


def test_a_text_longer_than_its_field_does_not_land():
    """Cut, it could end within a number: the row lands without it."""
    site = Site(TYPING)
    (row,) = site.send(keys([*"x" * 4097, "Enter"], step=0.1))
    assert (row["words"], row["presses"], site.dropped) == (None, 4098, {"run.too_long": 1})


def test_shortcuts_write_nothing():
    """Ctrl+V is no v; Ctrl+A and a key replace everything; AltGr and Shift write."""
    rows = [*keys("secret"), key(7, "a", 2.0, held="Ctrl"), key(8, "x", 2.2), key(9, "v", 2.4, held="Meta")]
    rows += [key(10, "@", 2.6, held="Ctrl+AltGr"), key(11, "Y", 2.8, held="Shift"), key(12, "Enter", 3.0)]
    assert words(Site(TYPING).send(rows)) == ["x@Y"]


def test_open_runs_do_not_stay_for_ever():
    """A device that is silent loses its keys, which are counted, and half of its run never lands."""
    site = Site(TYPING)
    site.send(keys(CARD[:8]))
    assert site.open.held() == 8
    site.now += carry.HOLD_S + 1
    site.send(keys(["a", "Enter"], employee="E-2"))
    assert (site.open.held(), site.open.take_lost()) == (0, 8)
    rows = [*keys([*CARD[8:], "Enter"], 9, 2.0), *keys(["z", "Enter"], 18, 5.0)]
    assert words(site.send(rows)) == ["z"]


def test_open_runs_are_bounded(monkeypatch):
    """With too many keys or devices, those of the longest silent go."""
    monkeypatch.setattr(carry, "MAX_KEYS", 20)
    monkeypatch.setattr(carry, "MAX_STREAMS", 3)
    site = Site(TYPING)
    for number in range(6):
        site.send(keys("abcdefgh", device=f"pc-{number}"))
    assert site.open.held() == 16
    assert site.open.take_lost() == 32
    assert site.open.close() == 16
    assert site.open.held() == 0


def test_deliveries_of_one_device_wait_for_each_other(monkeypatch):
    """While one has not ended, another of the same device is told to come again."""
    monkeypatch.setattr(carry, "BUSY_S", 0.05)
    held = OpenRuns()
    stream = ("typing", "E-1", "pc-1")
    held.claim({stream})
    with pytest.raises(carry.UnavailableError):
        held.claim({stream, ("typing", "E-2", "pc-1")})
    held.claim({("typing", "E-2", "pc-1")})
    held.release({stream}, {stream: Held(next=7)})
    assert held.claim({stream})[stream].next == 7


def test_a_delivery_has_a_bounded_number_of_keys(monkeypatch):
    """More are refused and nothing is held."""
    monkeypatch.setattr(runs, "MAX_DELIVERY", 5)
    site = Site(TYPING)
    with pytest.raises(runs.BatchRefusedError):
        site.send(keys("abcdef"))
    assert site.open.held() == 0
