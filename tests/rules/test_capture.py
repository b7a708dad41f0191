"""The filter section of a contract: what it must say, and what is refused where it stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from lake.errors import DocumentError, UsageError
from lake.rules.capture import NO_RULES, Level, check_filtered
from lake.rules.contract import check_successor, parse_contract
from tests.clear.landing.typing_world import LEVELS, text_of

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "contracts"
BARE = """\
dataset: bare
version: 1
title: Bare
notice: Made up for tests.
purposes: [study]
retention: {"1": 90d, "2": 90d, "3": 60d, "4": 30d}
fields:
  FIELD: {type: string, sensitivity: 1, notice: Something.}
events:
  some: {sensitivity: 1, notice: Something., fields: [FIELD]}
"""


@pytest.mark.parametrize("level", LEVELS)
def test_every_level_is_read(level):
    """What becomes of keys, what the fields hold, and the lists in one form of each name."""
    rules = parse_contract(text_of(level)).rules
    assert (set(rules.capture), rules.capture["key"].level) == ({"key"}, Level(level))
    assert rules.roles["app"] == ("app",)
    assert dict(rules.apps) == {"writer": "office", "firefox": "browser", "code": "development"}
    assert set(rules.sites) == {"docs.example.com", "tracker.example.org"}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("  capture:\n    key: " + LEVELS["runs"] + "\n", "", "captured as counts: say which field"),
        ("level: runs", "level: all", "not known here"),
        ("level: runs, into: typed, text: words,", "level: runs, into: typed,", "say which field holds 'text'"),
        (", purpose: study", "", "sensitivity 4 and a named purpose"),
        ("purpose: study}", "purpose: sales}", "not known here"),
        ("level: runs", "level: raw", "has no"),
        ("into: typed", "into: nothing", "not known here"),
        ("presses, edits: edits", "presses, edits: words", "cannot hold edits"),
        ("    seq: seq\n", "", "carries no field that holds seq"),
        ("    kind: kind\n", "", "no field that holds the kind of field"),
        ("    key: key\n", "", "carries no key"),
        ("  apps: {Writer: office, Firefox: browser, Code.exe: development}\n", "", "the list 'apps' is missing"),
        ("  sites: {docs.example.com: office, tracker.example.org: office}\n", "", "the list 'sites' is missing"),
        ("apps: {Writer: office, Firefox: browser, Code.exe: development}", "apps: [Writer]", "a mapping is expected"),
        ("apps: {Writer: office, Firefox: browser, Code.exe: development}", "apps:", "a mapping is expected"),
        ("{Writer: office,", "{Writer: Office,", "not a valid name"),
        ("{Writer: office,", "{Signal: office,", "never collected (private_communication)"),
        ("{Writer: office,", '{"К\u0435ePassXC": office,', "never collected (password_manager)"),
        ("{Writer: office,", "{code: office,", "listed twice"),
        ("{docs.example.com: office,", "{www.paypal.com: office,", "never collected (banking)"),
        ("{docs.example.com: office,", "{com: office,", "not the name of a site"),
        ("{docs.example.com: office,", "{co.uk: office,", "not the name of a site"),
        ("    caret: caret\n", "    caret: app\n", "cannot hold the caret"),
        ("    title: title\n", "    title: app\n", "holds one thing only"),
        ("    device: device\n", "    device: [device, window]\n", "one field is expected"),
        ("    device: device\n", "    devise: device\n", "unknown key 'devise'"),
        ("  capture:\n", "  ceilings: {title: 1}\n  capture:\n", "outside 2..4"),
        ("  capture:\n", "  ceilings: {heading: 3}\n  capture:\n", "there is no field"),
        ("  capture:\n", "  captures: {}\n  capture:\n", "unknown key"),
        ("  capture:\n", "  capture:\n    keys: {level: none}\n", "there is no event type"),
    ],
)
def test_a_section_that_is_not_whole_does_not_load(old, new, words):
    """Nothing is assumed where something is missing, and deny wins already here."""
    text = text_of()
    assert text.count(old) == 1, old
    with pytest.raises(DocumentError) as caught:
        parse_contract(text.replace(old, new))
    assert words in str(caught.value)


def test_runs_and_raw_are_for_the_highest_sensitivity():
    """Text or keys that are rated lower do not load."""
    for level, field in (("runs", "words"), ("raw", "key")):
        text = text_of(level).replace(
            f"{field}: {{type: string, sensitivity: 4", f"{field}: {{type: string, sensitivity: 3"
        )
        text = text.replace("typed: {sensitivity: 4", "typed: {sensitivity: 3")
        with pytest.raises(DocumentError, match="sensitivity 4"):
            parse_contract(text)


@pytest.mark.parametrize("name", ["app", "url", "url_host", "window_title", "key", "vk", "typed_text"])
def test_a_telling_field_needs_a_section(name):
    """A contract without a section loads, so that old ones can be read; it is not put in force."""
    contract = parse_contract(BARE.replace("FIELD", name))
    assert contract.rules is NO_RULES
    with pytest.raises(UsageError, match="does not say how it is filtered"):
        check_filtered(contract)
    check_filtered(parse_contract(BARE.replace("FIELD", "mood")))


def test_the_examples_say_how_they_are_filtered():
    """Each of them can be put in force."""
    for path in sorted(EXAMPLES.glob("*.yaml")):
        check_filtered(parse_contract(path.read_text(encoding="utf-8")))


def test_a_new_version_keeps_its_section():
    """It may list something else, and not leave it out."""
    text = text_of()
    newer = text.replace("version: 1", "version: 2")
    check_successor(parse_contract(text), parse_contract(newer.replace("Writer: office, ", "")))
    with pytest.raises(UsageError, match="filter section"):
        check_successor(parse_contract(text), parse_contract(newer[: newer.index("filter:")]))
