"""The filter finds no less than the card that is committed says."""

from __future__ import annotations

import json
from copy import deepcopy

import pytest

from bench.measure import ROOT
from bench.scorecard import made, report, score, sets, typed
from lake.clear.landing.content.screen import DIGEST, ContentScreen

CARD = json.loads((ROOT / "scorecard.json").read_text("utf-8"))
SCREEN = ContentScreen(b"scorecard" * 4)


def test_the_card_is_of_these_rules() -> None:
    """Whoever changes a rule takes the score again."""
    assert CARD["rules"] == DIGEST
    assert (ROOT / "docs" / "scorecard.md").read_text("utf-8") == report.page(CARD)


def test_made_texts_are_found_as_before() -> None:
    """Anywhere, without other people's data."""
    assert score.of_set(SCREEN, made.made()) == CARD["sets"]["made"]


def test_harmless_lines_stay() -> None:
    """Three in a hundred at most, here and on the card."""
    now = score.harmless(SCREEN)
    for one in (now, CARD["harmless"]):
        assert one["flagged"] <= 0.03 * one["lines"]


def test_nothing_got_worse_on_the_labelled_sets() -> None:
    """Recall by label, values typed within real writing, entries in password fields, harmless texts."""
    found = {one.name: score.of_set(SCREEN, one) for one in sets.shared()}
    if not found:
        pytest.skip(f"no labelled sets at {sets.DATA}: set LAKE_SHARED_DATA")
    now = {"sets": found, "typed": typed.typed(), "forms": typed.forms(), "harmless": score.harmless(SCREEN)}
    assert report.worse(CARD, now) == []
    assert {one["leaked"] for one in now["typed"].values()} == {0}
    assert now["typed"]["CARD"]["masked"] == now["typed"]["CARD"]["total"]
    assert now["forms"]["password"]["landed"] == now["forms"]["unknown"]["landed"] == 0
    assert now["harmless"]["labelled_free"]["flagged"] == 0


def test_what_is_worse_is_told() -> None:
    """One value less, one leak more, more lines flagged: each is a line."""
    now = deepcopy(CARD)
    now["sets"]["made"]["labels"]["CARD"]["found"] -= 1
    now["typed"]["CARD"]["leaked"] += 1
    now["forms"]["password"]["landed"] += 1
    now["harmless"]["flagged"] += 100
    assert [line.split(":")[0] for line in report.worse(CARD, now)] == ["made", "typed", "forms", "harmless"]
    assert report.worse(CARD, CARD) == []
