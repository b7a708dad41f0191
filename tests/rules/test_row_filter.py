"""Row filters: the language is small, total and typed; a fault is placed at its character."""

# ruff: noqa: DTZ001, PT017, PLR0911 - times are naive UTC; a place only when refused; one return for each form
from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake.rules.contract import FieldType
from lake.rules.row_filter import (
    MAX_DEPTH,
    MAX_LENGTH,
    MAX_PREDICATES,
    And,
    Attribute,
    Compare,
    In,
    IsNull,
    Like,
    Literal,
    Not,
    Now,
    Or,
    RowFilterError,
    attributes,
    leaves,
    parse_row_filter,
)

COLUMNS = {
    "app": FieldType.STRING,
    "x": FieldType.STRING,
    "idle": FieldType.BOOLEAN,
    "small": FieldType.INT32,
    "big": FieldType.INT64,
    "speed": FieldType.FLOAT64,
    "ts": FieldType.TIMESTAMP,
}
A, B, C = (Compare("small", "=", Literal(number)) for number in (1, 2, 3))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("small = 1", A),
        ("small=1", A),
        ("small != 1", Compare("small", "<>", Literal(1))),
        ("small >= -7", Compare("small", ">=", Literal(-7))),
        ("speed < 1.5", Compare("speed", "<", Literal(1.5))),
        ("speed < 2", Compare("speed", "<", Literal(2))),
        ("idle = TRUE", Compare("idle", "=", Literal(True))),
        ("idle <> false", Compare("idle", "<>", Literal(False))),
        ("app = 'it''s'", Compare("app", "=", Literal("it's"))),
        ("app = ''", Compare("app", "=", Literal(""))),
        ("app = ' or 1=1 -- '", Compare("app", "=", Literal(" or 1=1 -- "))),
        ("app = principal.team", Compare("app", "=", Attribute("team"))),
        ("app in ('a', principal.team)", In("app", (Literal("a"), Attribute("team")))),
        ("app NOT IN ('a')", Not(In("app", (Literal("a"),)))),
        ("app IS NULL", IsNull("app")),
        ("app is not null", Not(IsNull("app"))),
        ("app LIKE 'a%_'", Like("app", "a%_")),
        ("app NOT LIKE '%'", Not(Like("app", "%"))),
        ("ts >= DATE '2026-03-01'", Compare("ts", ">=", Literal(datetime(2026, 3, 1)))),
        ("ts < TIMESTAMP '2026-03-01 02:03:04'", Compare("ts", "<", Literal(datetime(2026, 3, 1, 2, 3, 4)))),
        ("ts > now()", Compare("ts", ">", Now(timedelta()))),
        ("ts > NOW ( ) - INTERVAL 7 DAYS", Compare("ts", ">", Now(timedelta(days=7)))),
        ("ts > now() - interval 1 hour", Compare("ts", ">", Now(timedelta(hours=1)))),
        ("small = 1 OR small = 2 AND small = 3", Or(A, And(B, C))),
        ("small = 1 AND small = 2 OR small = 3", Or(And(A, B), C)),
        ("(small = 1 OR small = 2) AND small = 3", And(Or(A, B), C)),
        ("NOT small = 1 AND small = 2", And(Not(A), B)),
        ("NOT (small = 1 AND small = 2)", Not(And(A, B))),
        ("NOT NOT small = 1", Not(Not(A))),
        ("small = 1 OR small = 2 OR small = 3", Or(Or(A, B), C)),
        (
            "small BETWEEN 1 AND 2 AND small = 3",
            And(And(Compare("small", ">=", Literal(1)), Compare("small", "<=", Literal(2))), C),
        ),
        (
            "small NOT BETWEEN 1 AND 2",
            Not(And(Compare("small", ">=", Literal(1)), Compare("small", "<=", Literal(2)))),
        ),
        (f"small = {2**31 - 1}", Compare("small", "=", Literal(2**31 - 1))),
        (f"big = {-(2**63)}", Compare("big", "=", Literal(-(2**63)))),
    ],
)
def test_what_is_in_the_language_is_read(text, expected):
    """Each form gives its tree; NOT binds before AND, and AND before OR."""
    assert parse_row_filter(text, COLUMNS) == expected


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("", 0),
        ("   ", 3),
        ("small", 5),
        ("small =", 7),
        ("small = 1 extra", 10),
        ("small == 1", 7),
        ("small NOT = 1", 10),
        ("= 1", 0),
        ("'app' = app", 0),
        ("app = x", 6),
        ("small = 1 AND", 13),
        ("small = 1 AND AND small = 2", 14),
        ("(small = 1", 10),
        ("small = 1)", 9),
        ("app = 'open", 6),
        ('app = "x"', 6),
        ("small = 1; DROP", 9),
        ("small = 1 -- x", 10),
        ("lower(app) = 'a'", 0),
        ("small = 1 + 1", 10),
        ("app IN ()", 8),
        ("app IN ('a'", 11),
        ("app IN (SELECT x)", 8),
        ("app IS 'a'", 7),
        ("app LIKE x", 9),
        ("app LIKE 7", 9),
        ("small BETWEEN 1", 15),
        ("nothing = 1", 0),
        ("x = 'a' AND max = 1", 12),
        ("max = 1 AND x = 2", 0),
        ("app = 'x' AND x = 2", 14),
        ("app = 1", 0),
        ("small = 'a'", 0),
        ("small = 1.0", 0),
        ("small = TRUE", 0),
        ("small = principal.team", 0),
        ("idle = 1", 0),
        ("idle > TRUE", 0),
        ("idle LIKE 'a'", 0),
        ("speed = 'a'", 0),
        ("ts = '2026-01-01'", 0),
        ("ts = 1", 0),
        ("app = now()", 0),
        ("app IN ('a', 1)", 0),
        (f"small = {2**31}", 0),
        (f"big = {2**63}", 0),
        ("small = 1 AND small BETWEEN 1 AND 'b'", 14),
        ("ts > DATE '2026-13-01'", 10),
        ("ts > DATE 2026", 10),
        ("ts > TIMESTAMP '2026-01-01 00:00:00+02:00'", 15),
        ("ts > now", 8),
        ("ts > now() - 7", 13),
        ("ts > now() - INTERVAL -7 DAYS", 22),
        ("ts > now() - INTERVAL 1.5 DAYS", 22),
        ("ts > now() - INTERVAL 7 WEEKS", 24),
        ("ts > now() - INTERVAL 999999 DAYS", 22),
        ("app = principal", 15),
        ("app = principal.", 16),
        ("app = principal.'x'", 16),
        ("app = principal.7", 16),
        ("small = " + "9" * 5_000, 8),
        ("x" * (MAX_LENGTH + 1), MAX_LENGTH),
    ],
)
def test_what_is_not_in_the_language_is_placed(text, position):
    """A fault gives one typed error at the character where it stands."""
    with pytest.raises(RowFilterError) as caught:
        parse_row_filter(text, COLUMNS)
    assert type(caught.value) is RowFilterError
    assert caught.value.position == position, caught.value.message


def test_depth_and_length_are_limited():
    """A filter as deep or as long as allowed is read, and one more level or predicate is refused."""
    assert parse_row_filter("(" * (MAX_DEPTH - 1) + "small = 1" + ")" * (MAX_DEPTH - 1), COLUMNS) == A
    for opening in ("(", "NOT "):
        with pytest.raises(RowFilterError, match="nested deeper"):
            parse_row_filter(opening * MAX_DEPTH + "small = 1" + ")" * (MAX_DEPTH * (opening == "(")), COLUMNS)
    longest = parse_row_filter(" OR ".join(["small = 1"] * MAX_PREDICATES), COLUMNS)
    assert len(list(leaves(longest))) == MAX_PREDICATES
    with pytest.raises(RowFilterError, match="predicates"):
        parse_row_filter(" OR ".join(["x='a'"] * (MAX_PREDICATES + 1)), COLUMNS)


def test_attributes_are_found():
    """Every attribute of the principal that a filter uses is named, wherever it stands."""
    text = "NOT app = principal.one OR (app IN ('a', principal.two) AND x BETWEEN principal.one AND principal.three)"
    assert attributes(parse_row_filter(text, COLUMNS)) == {"one", "two", "three"}
    assert attributes(A) == frozenset()


VALUES = {
    FieldType.STRING: st.one_of(st.text(max_size=8).map(Literal), st.just(Attribute("team"))),
    FieldType.BOOLEAN: st.booleans().map(Literal),
    FieldType.INT32: st.integers(-(2**31), 2**31 - 1).map(Literal),
    FieldType.INT64: st.integers(-(2**63), 2**63 - 1).map(Literal),
    FieldType.FLOAT64: st.one_of(st.integers(-99, 99), st.decimals(-999, 999, places=3).map(float)).map(Literal),
    FieldType.TIMESTAMP: st.one_of(
        st.datetimes().map(Literal), st.integers(0, 99_999).map(lambda days: Now(timedelta(days=days)))
    ),
}


@st.composite
def predicates(draw):
    """Any predicate that fits its column."""
    column = draw(st.sampled_from(sorted(COLUMNS)))
    kind = COLUMNS[column]
    form = draw(st.sampled_from(["compare", "in", "null", "like"]))
    if form == "like" and kind is FieldType.STRING:
        return Like(column, draw(st.text(max_size=8)))
    if form == "in":
        return In(column, tuple(draw(st.lists(VALUES[kind], min_size=1, max_size=3))))
    if form == "null":
        return IsNull(column)
    operators = ["=", "<>"] if kind is FieldType.BOOLEAN else ["=", "<>", "<", "<=", ">", ">="]
    return Compare(column, draw(st.sampled_from(operators)), draw(VALUES[kind]))


expressions = st.recursive(
    predicates(),
    lambda inner: st.one_of(st.builds(Not, inner), st.builds(And, inner, inner), st.builds(Or, inner, inner)),
    max_leaves=8,
)


def quoted(text):
    """A text in SQL's quotes."""
    return "'" + text.replace("'", "''") + "'"


def show(value):
    """A value as its author would write it."""
    match value:
        case Attribute(name):
            return f"principal.{name}"
        case Now(before):
            return f"now() - INTERVAL {before.days} DAYS"
        case Literal(bool(truth)):
            return str(truth).upper()
        case Literal(datetime() as moment):
            return f"TIMESTAMP '{moment.isoformat(sep=' ')}'"
        case Literal(str(text)):
            return quoted(text)
        case Literal(number):
            return f"{number:.3f}" if isinstance(number, float) else str(number)


def write(expression):
    """An expression as text, with parentheses everywhere."""
    match expression:
        case And(left, right):
            return f"({write(left)} AND {write(right)})"
        case Or(left, right):
            return f"({write(left)} OR {write(right)})"
        case Not(operand):
            return f"NOT ({write(operand)})"
        case Compare(column, operator, value):
            return f"{column} {operator} {show(value)}"
        case In(column, values):
            return f"{column} IN ({', '.join(map(show, values))})"
        case IsNull(column):
            return f"{column} IS NULL"
        case Like(column, pattern):
            return f"{column} LIKE {quoted(pattern)}"


@given(expressions)
def test_what_is_written_is_read_back(expression):
    """Any expression, written out, gives itself again."""
    assert parse_row_filter(write(expression), COLUMNS) == expression


@given(st.lists(st.sampled_from([*"(),.=<>-' \n", "app", "small", "AND", "NOT", "IN", "1", "now()", "principal", "é"])))
def test_any_text_is_a_filter_or_refused(words):
    """Whatever the words, the result is an expression or the one typed error with a place in the text."""
    text = " ".join(words)
    try:
        parse_row_filter(text, COLUMNS)
    except RowFilterError as error:
        assert 0 <= error.position <= len(text)
