"""Strict YAML: every complaint is a DocumentError at the exact line and column."""

# ruff: noqa: PT017 - the place matters only when the text is refused
from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake.errors import DocumentError
from lake.rules.document import MAX_DOCUMENT, read_document

NAME = re.compile(r"[a-z]+")


def refuse(text, read):
    """Line, column and message of the complaint about a document."""
    with pytest.raises(DocumentError) as caught:
        read(read_document(text, "file.yaml"))
    assert str(caught.value).startswith(f"file.yaml:{caught.value.line}:{caught.value.column}: ")
    assert caught.value.exit_code == 2
    return caught.value.line, caught.value.column, caught.value.message


def top(root):
    """Reads a mapping of ``a`` and maybe ``b``."""
    return root.mapping(required=("a",), optional=("b",))


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ("a: 1\nc: 2\n", 2, 1, "unknown key 'c'"),
        ("a: 1\nc:\n  deep:\n    deeper: 2\n", 2, 1, "unknown key 'c'"),
        ("a: 1\nb: 2\na: 3\n", 3, 1, "'a' stands here twice"),
        ("{a: 1, b: 2, b: 3}", 1, 14, "'b' stands here twice"),
        ("# comment\n\nb: 1\n", 3, 1, "'a' is missing"),
        ("- a\n- b\n", 1, 1, "a mapping is expected"),
        ("a: 1\n? [x]\n: 2\n", 2, 3, "a single value is expected"),
        ("a: &x 1\nb: *x\n", 1, 4, "anchors"),
        ("a: *x\n", 1, 4, "anchors"),
        ("a: 1\n<<: {b: 2}\n", 2, 1, "unknown key '<<'"),
        ("a: 1\n---\na: 2\n", 2, 1, "not valid YAML"),
        ("", 1, 1, "empty"),
        ("# only a comment\n", 1, 1, "empty"),
        ("a: [1, 2\n", 2, 1, "not valid YAML"),
        ("a: 1\n\tb: 2\n", 2, 1, "not valid YAML"),
        ("a: 1\n b: 2\n", 2, 3, "not valid YAML"),
        ("a: \x00\x01\n", 1, 1, "not valid YAML"),
        ("a: \ud800\n", 1, 1, "not valid YAML"),
        ("[" * 100_000 + "]" * 100_000, 1, 33, "nested deeper"),
        ("a: " + "{b: " * 50 + "1" + "}" * 50, 1, 128, "nested deeper"),
        ("x" * (MAX_DOCUMENT + 1), 1, 1, "longer than"),
    ],
)
def test_faults_of_a_document_are_placed(text, line, column, words):
    """Structure that is unknown, repeated, missing, linked, split or no YAML is refused where it stands."""
    found = refuse(text, top)
    assert (found[:2], words in found[2]) == ((line, column), True), found


@pytest.mark.parametrize(
    ("value", "read"),
    [
        *((value, lambda node: node.integer(minimum=1, maximum=9)) for value in ("0", "10", "-1", "x", "'5'", "1.0")),
        *(
            (value, lambda node: node.integer())
            for value in ("1_000", "1_", "010", "0x1f", "1:30", "9" * 5_000, "~", "")
        ),
        *((value, lambda node: node.integer()) for value in ("[1]", "{b: 1}", "!!int ٣", "+1")),
        *(
            (value, lambda node: node.number())
            for value in ("x", "'1.5'", ".inf", "-.inf", ".nan", "!!float nan", "1.0e+999")
        ),
        *((value, lambda node: node.boolean()) for value in ("yes", "1", "'true'", "x")),
        *(
            (value, lambda node: node.day())
            for value in ("2026-13-01", "2026-2-1", "today", "2026-01-01T00:00:00", "1")
        ),
        *((value, lambda node: node.days()) for value in ("90", "0d", "-1d", "1.5d", "100000d", "90 d", "90D")),
        *(
            (value, lambda node: node.string(max_length=5))
            for value in ("''", "' '", "7", "true", "2026-01-01", "abcdef")
        ),
        *((value, lambda node: node.name(NAME)) for value in ("A", "a-b", "''", "7", "[a]")),
        *((value, lambda node: node.one_of(["red", "blue"])) for value in ("green", "Red", "''", "[red]", "red blue")),
        *((value, lambda node: node.sequence()) for value in ("1", "{b: 1}")),
        *((value, lambda node: node.mapping()) for value in ("1", "[b]")),
    ],
)
def test_a_value_of_the_wrong_kind_is_placed(value, read):
    """A value that is not what is asked for is refused at its own line and column."""
    text = f"first: 1\na:    {value}\n"
    line, column, _ = refuse(text, lambda root: read(dict(root.items())["a"]))
    assert (line, column) == ((2, 7) if value else (2, 3))


@pytest.mark.parametrize(
    ("value", "read", "expected"),
    [
        ("7", lambda node: node.integer(minimum=7, maximum=7), 7),
        ("-12", lambda node: node.integer(), -12),
        ("1.5", lambda node: node.number(), 1.5),
        ("3", lambda node: node.number(), 3.0),
        ("true", lambda node: node.boolean(), True),
        ("False", lambda node: node.boolean(), False),
        ("2026-02-28", lambda node: node.day().isoformat(), "2026-02-28"),
        ("90d", lambda node: node.days(), 90),
        ("'7'", lambda node: node.string(), "7"),
        ("some words", lambda node: node.string(), "some words"),
        ("abc", lambda node: node.name(NAME), "abc"),
        ("red", lambda node: node.one_of(["red", "blue"]), "red"),
        ("[x, y]", lambda node: [item.scalar() for item in node.sequence()], ["x", "y"]),
        ("{b: 1, c: 2}", lambda node: list(node.mapping()), ["b", "c"]),
    ],
)
def test_a_value_of_the_right_kind_is_read(value, read, expected):
    """What is asked for and there is given."""
    assert read(dict(read_document(f"a: {value}\n", "f").items())["a"]) == expected


@given(st.text(alphabet=st.sampled_from("ab:- \n\t[]{}&*!|>'\"#%@,?~0123\x00é\ufeff\ud800"), max_size=40))
def test_any_text_is_a_document_or_refused(text):
    """No text raises anything but the typed error, with a place that is in the text."""
    try:
        read_document(text, "f").mapping(optional=())
    except DocumentError as error:
        assert error.line >= 1
        assert error.column >= 1
