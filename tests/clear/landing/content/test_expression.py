"""Many texts asked at once: no detector loses a text to what stands before or behind it."""

from __future__ import annotations

import random
import string
import time

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.clear.landing.content import leaks
from lake.clear.landing.content.categories import CATEGORIES
from lake.clear.landing.content.detector import Detector
from lake.clear.landing.content.expression import BREAK, Batch, Expression, Frequent
from lake.clear.landing.content.normal import fold
from lake.clear.landing.content.screen import DETECTORS, ContentScreen

SCREEN = ContentScreen(b"k" * 32)
EXAMPLES = sorted({example for detector in DETECTORS for example in detector.examples})
KEYS = (
    "ghp_a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8", "AKIAIOSFODNN7ABCDEFG", "SK0123456789abcdef0123456789ABCDEF",
    "api_key = 9f8a7b6c5d4e3f2a1b0c", "curl -u jane:hunter22 https://x", 'db_password = "hunter2hunter2"',
    "xoxb-123456789012-123456789012-a1b2c3d4e5f6g7h8i9j0k1l2", "sk_live_a1B2c3D4e5F6g7H8i9J0k1L2",
)  # fmt: skip
WORDS = sorted(
    {word for rule in leaks.RULES for word in rule.keywords} | {w for text in EXAMPLES for w in text.split()}
)
NOISE = ("", " ", "\n", "\0", BREAK, "é", "日本", "９", "%40", '"', "'", "(", "-", ".", ":", "@", "1", "x", "\u200b")
PIECES = st.one_of(st.sampled_from(EXAMPLES), st.sampled_from(KEYS), st.sampled_from(WORDS), st.sampled_from(NOISE))
TEXTS = st.lists(PIECES, max_size=4).map("".join) | st.lists(PIECES, max_size=4).map(" ".join) | st.text(max_size=12)
FINDERS: tuple[Detector | leaks.Rule, ...] = (*DETECTORS, *leaks.RULES)
ASKED = [(finder.pattern, finder.compiled, Expression(finder.pattern)) for finder in FINDERS]


def missed(texts: list[str]) -> list[str]:
    """Expressions that find a text alone and not among the others, or the same text twice."""
    folded = [fold(text) for text in texts]
    batch = Batch(pa.array(folded, pa.string()))
    found = []
    for pattern, compiled, expression in ASKED:
        alone = {row for row, text in enumerate(folded) if compiled.search(text.encode()) is not None}
        rows = expression.rows(batch)
        if not alone.issubset(rows) or rows != sorted(set(rows)):
            found.append(pattern)
    return found


@settings(max_examples=150, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=12))
def test_every_text_that_one_detector_alone_finds_is_among_those_found_at_once(texts: list[str]) -> None:
    """Of each detector's own expression, over texts of pieces of all of them."""
    assert missed(texts) == []


def test_texts_that_one_detector_finds_may_stand_behind_each_other() -> None:
    """From its first character to its last; each example two times, and what has none of its own."""
    assert missed([text for text in (*EXAMPLES, *KEYS) for _ in range(2)]) == []
    assert missed(["", *EXAMPLES, "", *KEYS, BREAK]) == []


@settings(max_examples=100, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=8))
def test_the_screen_finds_what_each_detector_alone_finds(texts: list[str]) -> None:
    """Behind gates, words and expressions: no find that a detector or a rule has in the text by itself is missing."""
    for text in texts:
        spans = SCREEN.spans(text)
        if fold(text) != text or not text.isascii():
            continue  # places of finds are bytes of what it is folded to
        asked = (rule for rule in leaks.RULES if any(word in text.lower() for word in rule.keywords))
        finders: tuple[Detector | leaks.Rule, ...] = (*DETECTORS, *asked)
        for finder in finders:
            for find in finder.find(text.encode()):
                if CATEGORIES[find.category].masked:
                    assert any(start <= find.start and find.end <= end for start, end, _ in spans), finder.pattern
                else:
                    assert find.category in {category for _, _, category in spans}


@settings(max_examples=100, deadline=None)
@given(st.lists(TEXTS | st.none(), max_size=12))
def test_texts_are_masked_together_as_they_are_alone(texts: list[str | None]) -> None:
    """Texts, sensitivities and counts."""
    together = SCREEN.apply({"text": pa.array(texts, pa.string())})
    alone = [SCREEN.apply({"text": pa.array([text], pa.string())}) for text in texts]
    assert together.columns["text"].to_pylist() == [one.columns["text"][0].as_py() for one in alone]
    assert together.sensitivities["text"].to_pylist() == [one.sensitivities["text"][0].as_py() for one in alone]
    counts: dict[str, int] = {}
    for one in alone:
        for category, number in one.counts.items():
            counts[category] = counts.get(category, 0) + number
    assert together.counts == counts


@pytest.mark.parametrize("kind", [Expression, Frequent])
def test_rows_are_those_of_the_texts_and_not_of_what_is_between_them(kind: type[Expression]) -> None:
    """Also of slices, empty texts and no texts."""
    texts = pa.array(["0", "a1", "", "b", "\n", "c2", "é3"]).slice(1)
    assert kind("[0-9]").rows(Batch(texts)) == [0, 4, 5]
    assert kind(r"[^0-9]").rows(Batch(texts)) == [0, 2, 3, 4, 5]
    assert kind(r"^[a-z][0-9]$").rows(Batch(texts)) == [0, 4]
    assert kind("[0-9]").rows(Batch(texts.slice(0, 0))) == []
    assert Batch(texts).take([4, 0]).joined == f"c2{BREAK}a1{BREAK}".encode()


LONG = {
    "a value": lambda rng: f"token {_of(rng, rng.randint(300, 700))}",
    "words in words": lambda rng: f"{_of(rng, 30)}{rng.choice(WORDS)}{_of(rng, 20)}={_of(rng, rng.randint(5, 160))}",
    "other letters": lambda rng: "".join(chr(rng.randint(0xA1, 0x9FFF)) for _ in range(200)),
}


@pytest.mark.parametrize("kind", LONG)
def test_no_expression_has_more_states_than_it_may_keep(kind: str) -> None:
    """It would be a hundred times slower than in Arrow, which does not look for where a match ends."""
    rng = random.Random(kind)
    batch = Batch(pa.array([LONG[kind](rng) for _ in range(400)]))
    for pattern, _, expression in ASKED[: len(DETECTORS)]:
        begin = time.process_time()
        expression.rows(batch)
        ours = time.process_time() - begin
        begin = time.process_time()
        pc.match_substring_regex(batch.texts, pattern)
        assert ours < 10 * (time.process_time() - begin) + 0.1, pattern


def _of(rng: random.Random, number: int) -> str:
    return "".join(rng.choices(string.ascii_letters + string.digits + "_.-", k=number))


OPEN = [
    "-----BEGIN PRIVATE KEY-----", 'curl -u "a', "curl -u 'a", "kind: secret", "password", "a@", "4539 1488", "(",
    "tel", "address: ", "://a", "   \n  ", "-----BEGIN", "GB82 ", "Mr.",
]  # fmt: skip


@pytest.mark.parametrize("text", OPEN)
def test_texts_that_begin_something_cost_no_more_the_more_there_are(text: str) -> None:
    """What begins in a text and does not end there is not followed through all texts behind it."""
    few, many = _seconds(text, 2_000), _seconds(text, 16_000)
    assert many < 40 * few + 1  # in the square of their number it would be 64 times


def _seconds(text: str, number: int) -> float:
    texts = pa.array([f"{text}{'x' * (index % 7)} {index:x}"[: len(text) + 12] for index in range(number)])
    SCREEN.apply({"text": texts.slice(0, 50)})
    begin = time.process_time()
    SCREEN.apply({"text": texts})
    return time.process_time() - begin
