"""Typing as an editor would see it, against an editor that keeps the whole text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake.clear.landing.editor import SELECT_ALL, typed
from lake.clear.landing.strokes import Edit, key_class, stroke

STROKES = st.one_of(
    st.sampled_from("0123456789abc -@é漢"),
    st.sampled_from([Edit.BACKSPACE, Edit.DELETE, Edit.LEFT, Edit.RIGHT, Edit.HOME, Edit.END, Edit.NOTHING]),
)


def edit(text: str, caret: int, stroke: str | Edit, selected: int = 0) -> tuple[str, int]:  # noqa: PLR0911
    """One key in a text field, done the plain way."""
    if selected and (isinstance(stroke, str) or stroke in {Edit.BACKSPACE, Edit.DELETE}):
        text = text[:caret] + text[caret + selected :]
        if not isinstance(stroke, str):
            return text, caret
    match stroke:
        case Edit.BACKSPACE:
            return text[: max(caret - 1, 0)] + text[caret:], max(caret - 1, 0)
        case Edit.DELETE:
            return text[:caret] + text[caret + 1 :], caret
        case Edit.LEFT:
            return text, max(caret - 1, 0)
        case Edit.RIGHT:
            return text, min(caret + 1, len(text))
        case Edit.HOME:
            return text, 0
        case Edit.END:
            return text, len(text)
        case Edit():
            return text, caret
        case written:
            return text[:caret] + written + text[caret:], caret + len(written)


@given(st.lists(STROKES, max_size=60))
def test_keys_alone_give_the_text_of_an_editor(strokes: list[str | Edit]) -> None:
    """Without positions, in a field that began empty."""
    text, caret = "", 0
    for one in strokes:
        text, caret = edit(text, caret, one)
    assert typed(strokes).text == text


@given(st.data())
def test_positions_and_selections_give_the_text_of_an_editor(data: st.DataObject) -> None:
    """With the caret of each key given, wherever a mouse has put it, and what it replaces."""
    text, carets, selected, strokes = "", [], [], []
    for _ in range(data.draw(st.integers(0, 40))):
        caret = data.draw(st.integers(0, len(text)))
        chosen = data.draw(st.integers(0, len(text) - caret))
        one = data.draw(STROKES)
        carets.append(caret)
        selected.append(chosen)
        strokes.append(one)
        text, _ = edit(text, caret, one, chosen)
    assert typed(strokes, carets, selected).text == text


def test_what_stood_before_the_run_is_not_known() -> None:
    """A caret in older text keeps its distance: what was typed there stays apart, and the rest comes out right."""
    assert typed(["4", "5", "6", "7"], [100, 101, 20, 21]).text == "67 45"
    assert typed(["4", Edit.BACKSPACE, Edit.BACKSPACE, "7"], [10, 11, 10, 9]).text == "7"
    assert typed(["a", "b"], [5, 900_000]).text == "a b"
    assert typed(["a", "b"], [900_000, 5]).text == "b a"
    assert typed(["a", "b", "c"], [None, 1, None]).text == "abc"


def test_everything_can_be_selected() -> None:
    """Ctrl+A and a key leave that key; Ctrl+A and an arrow leave everything."""
    assert typed([*"secret", SELECT_ALL, "x"]).text == "x"
    assert typed([*"secret", SELECT_ALL, Edit.BACKSPACE]).text == ""
    assert typed([*"secret", SELECT_ALL, Edit.RIGHT, "x"]).text == "secretx"


@pytest.mark.parametrize(
    ("key", "done", "kind"),
    [
        ("a", "a", "letter"),
        ("Ä", "Ä", "letter"),
        ("VK_A", "a", "letter"),
        ("KeyQ", "q", "letter"),
        ("5", "5", "digit"),
        ("Digit5", "5", "digit"),
        ("VK_NUMPAD5", "5", "digit"),
        ("KP_5", "5", "digit"),
        ("VK_5", "5", "digit"),
        (" ", " ", "space"),
        ("VK_SPACE", " ", "space"),
        ("-", "-", "punct"),
        ("VK_OEM_PERIOD", ".", "punct"),
        ("漢字", "漢字", "letter"),
        ("Backspace", Edit.BACKSPACE, "edit"),
        ("VK_BACK", Edit.BACKSPACE, "edit"),
        ("Key.backspace", Edit.BACKSPACE, "edit"),
        ("Delete", Edit.DELETE, "edit"),
        ("ArrowLeft", Edit.LEFT, "nav"),
        ("VK_LEFT", Edit.LEFT, "nav"),
        ("Home", Edit.HOME, "nav"),
        ("ArrowUp", Edit.NOTHING, "nav"),
        ("Enter", Edit.CLOSE, "space"),
        ("\r", Edit.CLOSE, "space"),
        ("Tab", Edit.CLOSE, "space"),
        ("Shift", Edit.NOTHING, "modifier"),
        ("VK_LCONTROL", Edit.NOTHING, "modifier"),
        ("F5", Edit.NOTHING, "other"),
        ("hunter2-pasted", Edit.NOTHING, "other"),
        ("\x00", Edit.NOTHING, "other"),
        ("", Edit.NOTHING, "other"),
    ],
)
def test_names_of_keys(key: str, done: str | Edit, kind: str) -> None:
    """Browsers, Windows, X11 and recorders name the same keys differently."""
    assert (stroke(key), key_class(key)) == (done, kind)
