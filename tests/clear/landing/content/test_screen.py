"""What becomes of texts: tokens for values, sensitivities that only rise, counts."""

from __future__ import annotations

import re

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.clear.landing.content.expression import Batch, Expression
from lake.clear.landing.content.normal import UNUSUAL, fold, places
from lake.clear.landing.content.screen import ContentScreen
from lake.clear.landing.content.tokens import TOKEN, Tokens

CARD = "4539148803436467"
SCREEN = ContentScreen(b"k" * 32)


def masked(*texts: str | None) -> list[str | None]:
    """Texts after the screen."""
    found: list[str | None] = SCREEN.apply({"text": pa.array(texts, pa.string())}).columns["text"].to_pylist()
    return found


def test_values_become_tokens_and_the_rest_stays() -> None:
    """By column; equal values equal tokens, however they are written; nulls stay; counts are of rows."""
    screened = SCREEN.apply(
        {
            "a": pa.array([f"pay {CARD} now", None, "pay 4539 1488 0343 6467 now", f"pay {CARD} now"]),
            "b": pa.array(["ok", "mail jane@example.com", None, "she was diagnosed with lupus"]),
        }
    )
    first, nothing, second, third = screened.columns["a"].to_pylist()
    assert re.fullmatch(r"pay \[CARD:[a-p]{16}\] now", first)
    assert (nothing, first, second) == (None, second, third)
    assert screened.sensitivities["a"].to_pylist() == [4, 1, 4, 4]
    assert screened.sensitivities["b"].to_pylist() == [1, 3, 1, 4]
    assert screened.columns["b"].to_pylist()[3] == "she was diagnosed with lupus"
    assert screened.counts == {"CARD": 3, "EMAIL": 1, "ABOUT_HEALTH": 1}


def test_a_long_secret_is_replaced_to_its_end() -> None:
    """Whatever its length."""
    secret = "9f8a7b6c5d4e3f2a1b0cXw-Zq" * 100
    (found,) = masked(f"export API_KEY={secret} done")
    assert found is not None
    assert re.search(r"\[[A-Z_]+:[a-p]{16}\] done$", found)
    assert "9f8a" not in found


def test_slices_of_columns_are_read_from_where_they_begin() -> None:
    """Arrow arrays may have an offset."""
    column = pa.array(["x", CARD, None, "y", f"z {CARD}"]).slice(1, 4)
    screened = SCREEN.apply({"a": column})
    assert [bool(text and "[CARD:" in text) for text in screened.columns["a"].to_pylist()] == [True, False, False, True]
    assert screened.sensitivities["a"].to_pylist() == [4, 1, 1, 4]


def test_empty_columns_are_no_matter() -> None:
    """Of no rows, and of nulls only."""
    screened = SCREEN.apply({"a": pa.array([], pa.string()), "b": pa.nulls(3, pa.string())})
    assert (len(screened.columns["a"]), screened.columns["b"].null_count) == (0, 3)
    assert screened.sensitivities["b"].to_pylist() == [1, 1, 1]


def test_tokens_of_another_lake_are_others() -> None:
    """And those of other categories; neither key nor value is in their representation."""
    one, other = Tokens(b"a" * 32), Tokens(b"b" * 32)
    assert one.of("CARD", CARD) != other.of("CARD", CARD)
    assert one.of("CARD", CARD)[6:] != one.of("IBAN", CARD)[6:]
    assert one.of("EMAIL", "Jane@Example.com") == one.of("EMAIL", "jane@example.com")
    assert one.of("PASSWORD", "Secret") != one.of("PASSWORD", "secret")
    assert "aaaa" not in repr(one)


def test_what_looks_like_a_token_and_is_none_is_read() -> None:
    """Only letters a to p, of the right number, behind a category that is masked."""
    for text in (f"[CARD:{CARD}]", "[CARD:jane@example.com]", f"[NOTHING:{CARD}]"):
        assert masked(text) != [text]


def test_ascii_that_is_read_otherwise_than_it_is_written_is_read_so_in_columns_too() -> None:
    """Control characters and quotes; most texts in ASCII are not folded at all."""
    ask = Expression(UNUSUAL)
    for char in map(chr, range(128)):
        assert ask.rows(Batch(pa.array([f"a{char}b"]))) == ([] if fold(char) == char else [0]), char
    for char in "\x01\x08\x0b\x1f\x7f":
        assert masked(f"pay {CARD[:4]}{char}{CARD[4:]} now") == masked(f"pay {CARD} now")
    assert masked("password: `hunter2`") == [f"password: `{Tokens(b'k' * 32).of('PASSWORD', 'hunter2')}`"]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from([CARD, "jane@example.com", "x", "é", "４", "%40", "\u200b", "-", "password: "]),
        max_size=12,
    )
)
def test_screening_again_changes_nothing(pieces: list[str]) -> None:
    """Tokens are not finds, and what was masked leaves nothing to find."""
    (once,) = masked(" ".join(pieces))
    assert once is not None
    assert CARD not in fold(once)
    left = TOKEN.sub(" ", once)
    (twice,) = masked(once)
    assert twice == once or TOKEN.sub(" ", twice or "") != left


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40))
def test_folding_knows_where_it_comes_from(text: str) -> None:
    """Every byte stands for characters of the original, in order, and all that are not invisible are stood for."""
    folded = fold(text).encode()
    where = places(text, folded)
    position = 0
    for index in range(len(folded)):
        if folded[index] & 0xC0 != 0x80:
            size = next(n for n in range(1, 5) if index + n == len(folded) or folded[index + n] & 0xC0 != 0x80)
            start, end = where.of(index, index + size)
            assert 0 <= start < end <= len(text)
            assert start >= position - 1
            position = start


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=30), st.text(max_size=30))
def test_only_the_value_is_replaced(before: str, after: str) -> None:
    """What stands around a card stays as it is, if it is not found itself."""
    text = f"{before} \n{CARD}\n {after}"
    spans = SCREEN.spans(text)
    (result,) = masked(text)
    expected, position = "", 0
    for start, end, category in spans:
        if category.startswith("ABOUT_"):
            continue
        expected += text[position:start] + f"[{category}]"
        position = end
    expected += text[position:]
    assert re.sub(r"\[([A-Z_]+):[a-p]{16}\]", r"[\1]", result or "") == re.sub(
        r"\[([A-Z_]+):[a-p]{16}\]", r"[\1]", expected
    )
    assert CARD not in (result or "")
