"""Every detector finds its examples, behind its gate, and nothing where a near miss stands."""

from __future__ import annotations

import re

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.clear.landing.content import gates, leaks
from lake.clear.landing.content.categories import CATEGORIES
from lake.clear.landing.content.detector import Detector
from lake.clear.landing.content.expression import Batch, Expression
from lake.clear.landing.content.ner import LABELS
from lake.clear.landing.content.normal import fold
from lake.clear.landing.content.screen import DETECTORS, ContentScreen

SCREEN = ContentScreen(b"k" * 32)
EXAMPLES = [(detector, example) for detector in DETECTORS for example in detector.examples]


def kinds(text: str) -> list[str]:
    """Categories of what is found in a text."""
    return [category for _, _, category in SCREEN.spans(text)]


def said(text: str) -> list[str]:
    """What is found in a text."""
    return [text[start:end] for start, end, _ in SCREEN.spans(text)]


@pytest.mark.parametrize(("detector", "example"), EXAMPLES, ids=lambda value: getattr(value, "category", None))
def test_a_detector_finds_its_examples_behind_its_gate(detector: Detector, example: str) -> None:
    """The gate lets the text pass; the detector finds something; the whole screen finds it too."""
    read = fold(example)
    assert gates.GATES[detector.gate](Batch(pa.array([read]))) == [0]
    assert list(detector.find(read.encode()))
    assert detector.category in CATEGORIES
    assert SCREEN.spans(example)


def test_every_category_that_is_masked_is_found_by_somebody() -> None:
    """A category without a detector would be a promise only."""
    found = {detector.category for detector in DETECTORS} | {rule.category for rule in leaks.RULES}
    assert {name for name, kind in CATEGORIES.items() if kind.modelled} == set(LABELS.values()) - found
    assert set(CATEGORIES) - found - set(LABELS.values()) == {"WITHHELD"}


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(EXAMPLES), st.text(max_size=12), st.text(max_size=12), st.randoms())
def test_no_detector_finds_anything_behind_a_closed_gate(
    one: tuple[Detector, str], before: str, after: str, random: object
) -> None:
    """Examples with anything around them, and with characters of their own in other places."""
    _, example = one
    letters = list(example)
    random.shuffle(letters)  # type: ignore[attr-defined]
    for text in (f"{before} {example} {after}", f"{before}{example}{after}", "".join(letters)):
        read = fold(text)
        for other in DETECTORS:
            if next(iter(other.find(read.encode())), None) is not None:
                assert gates.GATES[other.gate](Batch(pa.array([read]))) == [0], (other.category, other.pattern)


@pytest.mark.parametrize("length", [12, 13, 14, 15, 16, 19])
def test_cards_of_every_length(length: int) -> None:
    """Numbers whose check digit holds are found, with any grouping; those whose does not are no cards."""
    start = {12: "6304", 13: "4222", 14: "3056", 15: "3782", 16: "4539", 19: "6304"}[length]
    body = (start + "9371048265937104826")[: length - 1]
    check = next(digit for digit in "0123456789" if _luhn(body + digit))
    number = body + check
    wrong = body + str((int(check) + 1) % 10)
    assert said(f"x {number} y") == [number]
    assert said(f"pay {number[:4]} {number[4:8]} {number[8:]}") == [f"{number[:4]} {number[4:8]} {number[8:]}"]
    assert "CARD" not in kinds(f"order {wrong} y")


def _luhn(digits: str) -> bool:
    total = sum(sum(divmod(int(digit) * (2 if index % 2 else 1), 10)) for index, digit in enumerate(reversed(digits)))
    return total % 10 == 0


HARMLESS = [
    "the password is required", "password reset", "forgot your password?", "Passwort vergessen",
    "reset password for all",
    "0.4539148803436467", "[0.5105105105105100, 12.4539148803436467]",
    "version 1.2.3.4 released", "release 10.4.0.1", "127.0.0.1", "2026-11-27 10:15:00", "call 911", "12 Monkeys",
    "order 1234567890123456", "0000 0000 0000 0000", "git@github.com:org/repo.git", "Meeting at 10:30 in room 12",
    "SELECT a FROM b WHERE c = 12345", "Q3 2026 revenue 1,234,567.89", "he said: pass me the salt", "pin the tab",
    "see section 4.5.6", "const x = 0x1234;", "the token ring network", "a1b2c3", "README.md", "#hashtag", "C++17",
    "my account is locked", "the tax return is due", "union of two sets", "SSN format is AAA-GG-SSSS", "000-12-3456",
    "https://example.com/path?id=42", "100.000.000", "1/2/3", "COVID-19", "ISO 8601", "user experience", "secret santa",
]  # fmt: skip


@pytest.mark.parametrize("text", HARMLESS)
def test_harmless_texts_stay(text: str) -> None:
    """Nothing is masked in them."""
    assert said(text) == []


FOUND = [
    ("card 4539 1488 0343 6467", "CARD"),
    ("card４５３９ １４８８ ０３４３ ６４６７", "CARD"), ("4539\u00ad1488\u00ad0343\u00ad6467", "CARD"),
    ("4539\u200b148803436467", "CARD"), ("c=4539%201488%200343%206467&x", "CARD"), ("4539—1488—0343—6467", "CARD"),
    ("IBAN GB82WEST12345698765432", "IBAN"), ("de89 3704 0044 0532 0130 00", "IBAN"), ("jane%40example.com", "EMAIL"),
    ("𝟒𝟓𝟑𝟗 𝟏𝟒𝟖𝟖 𝟎𝟑𝟒𝟑 𝟔𝟒𝟔𝟕", "CARD"), ("٤٥٣٩١٤٨٨٠٣٤٣٦٤٦٧", "CARD"), ("ssn 078-05-1120", "SSN"),
    ("C:\\Users\\x\\4539148803436467.txt", "CARD"), ('{"pan": "4539148803436467"}', "CARD"),
    ("ERROR: login failed for jane@example.com", "EMAIL"), ("postgres://u:hunter2@h/db", "PASSWORD"),
    ("AKIAIOSFODNN7ABCDEFG", "SECRET"), ("ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8", "SECRET"),
    ("she was diagnosed with lupus", "ABOUT_HEALTH"), ("I joined the union", "ABOUT_UNION"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "category"), FOUND)
def test_values_are_found_however_they_are_written(text: str, category: str) -> None:
    """Unicode digits, invisible characters, percent signs, paths, JSON, error texts."""
    assert category in kinds(text)


HARD = [
    "a@" * 500_000, "4" * 1_000_000, "4539 " * 200_000, "(" * 1_000_000, "password: " * 100_000, "a." * 500_000,
    "1.2.3.4." * 125_000, "%40" * 333_333, "-----BEGIN PRIVATE KEY" * 40_000, "Mr. A " * 160_000, "tel 1 " * 160_000,
    "é" * 500_000, "lob " * 250_000, "1 Aa St, " * 110_000, "GB82 " * 200_000, "aaaa:" * 200_000, "\u200b4" * 300_000,
]  # fmt: skip


@pytest.mark.parametrize("text", HARD, ids=lambda text: text[:12])
def test_a_megabyte_of_anything_comes_to_an_end(text: str) -> None:
    """A way that is not linear would take 10^12 steps for one of these, which is hours."""
    screened = SCREEN.apply({"text": pa.array([text])})
    assert len(screened.columns["text"]) == 1


def test_a_text_in_which_finds_do_not_end_is_withheld() -> None:
    """Nothing of it lands."""
    text = "jane@example.com " * 3000
    screened = SCREEN.apply({"text": pa.array([text, "fine"])})
    first, second = screened.columns["text"].to_pylist()
    assert re.fullmatch(r"\[WITHHELD:[a-p]{16}\]", first)
    assert (second, screened.counts) == ("fine", {"WITHHELD": 1})


def test_no_expression_is_too_large_for_its_automaton() -> None:
    """RE2 falls back to slower ways, and complains on stderr, where an expression has too many states."""
    large = [detector.pattern for detector in DETECTORS if detector.compiled.programsize > 60_000]
    assert large == []


def test_the_rules_of_gitleaks_are_all_there() -> None:
    """Each compiles in RE2 (Arrow's and ours) and is asked by its words or by itself."""
    assert len(leaks.RULES) > 200
    texts = Batch(pa.array(["nothing here", "nor there"]))
    for rule in leaks.RULES:
        assert Expression(rule.pattern).rows(texts) == []
        assert rule.keywords
