"""Row filters of grants: a small, total language in SQL's syntax. Nothing in it raises, so order can't matter.

    expression := expression OR expression | expression AND expression | NOT expression | ( expression ) | predicate
    predicate  := column (= <> != < <= > >=) value | column [NOT] IN ( value, ... )
                | column [NOT] BETWEEN value AND value | column IS [NOT] NULL | column [NOT] LIKE 'pattern'
    value      := 'text' | number | TRUE | FALSE | DATE 'YYYY-MM-DD' | TIMESTAMP 'YYYY-MM-DD hh:mm:ss'
                | principal.<attribute> | now() [- INTERVAL n DAYS|HOURS]

SQL's three-valued logic: a row is shown only where the filter is true, so NULL hides. No functions of columns,
no column against column, no subqueries. A filter that does not parse, or does not fit the
columns, is a policy that does not load.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from lake.rules.contract import FieldType

Constant = str | int | float | bool | datetime


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant."""

    value: Constant


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute of the principal, from the policy; a principal without it sees no row."""

    name: str


@dataclass(frozen=True, slots=True)
class Now:
    """The time of the query, less an interval."""

    before: timedelta


Value = Literal | Attribute | Now


@dataclass(frozen=True, slots=True)
class Compare:
    """``column op value``; op is one of = <> < <= > >=."""

    column: str
    operator: str
    value: Value


@dataclass(frozen=True, slots=True)
class In:
    """``column IN (values)``."""

    column: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class IsNull:
    """``column IS NULL``."""

    column: str


@dataclass(frozen=True, slots=True)
class Like:
    """``column LIKE pattern`` with % and _; no escape character."""

    column: str
    pattern: str


@dataclass(frozen=True, slots=True)
class Not:
    """Negation."""

    operand: Expression


@dataclass(frozen=True, slots=True)
class And:
    """Both."""

    left: Expression
    right: Expression


@dataclass(frozen=True, slots=True)
class Or:
    """Either."""

    left: Expression
    right: Expression


Expression = Compare | In | IsNull | Like | Not | And | Or


class RowFilterError(ValueError):
    """The text is not a row filter; ``position`` counts characters from 0. The policy makes it a DocumentError."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.message = message
        self.position = position


_TOKEN = re.compile(
    r"\s*(?:(?P<string>'(?:[^']|'')*')|(?P<number>-?\d+(?:\.\d+)?)|(?P<word>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<symbol><=|>=|<>|!=|[=<>(),.\-]))"
)
_KEYWORDS = frozenset(
    [
        "AND",
        "OR",
        "NOT",
        "IN",
        "BETWEEN",
        "IS",
        "NULL",
        "LIKE",
        "TRUE",
        "FALSE",
        "DATE",
        "TIMESTAMP",
        "INTERVAL",
        "DAY",
        "DAYS",
        "HOUR",
        "HOURS",
    ]
)
MAX_LENGTH = 10_000
MAX_DEPTH = 50
MAX_PREDICATES = 200
MAX_DIGITS = 30
_COMPARISONS = {"=", "<>", "<", "<=", ">", ">="}


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    position: int


def _tokens(text: str) -> Iterator[_Token]:
    position = 0
    while text[position:].strip():
        match = _TOKEN.match(text, position)
        if match is None:
            rest = text[position:]
            raise RowFilterError("this is not part of a row filter", position + len(rest) - len(rest.lstrip()))
        kind = match.lastgroup or ""
        value = match.group(kind)
        if kind == "word" and value.upper() in _KEYWORDS:
            kind, value = "keyword", value.upper()
        yield _Token(kind, value, match.start(match.lastgroup or 0))
        position = match.end()
    yield _Token("end", "", len(text))


class _Parser:
    def __init__(self, text: str, columns: Mapping[str, FieldType]) -> None:
        self._tokens = list(_tokens(text))
        self._columns = columns
        self._at = 0
        self._depth = 0
        self._predicates = 0

    def _peek(self, *texts: str) -> bool:
        token = self._tokens[self._at]
        return token.kind in {"keyword", "symbol"} and token.text in texts

    def _next(self) -> _Token:
        token = self._tokens[self._at]
        if token.kind != "end":
            self._at += 1
        return token

    def _accept(self, text: str) -> bool:
        if self._peek(text):
            self._at += 1
            return True
        return False

    def _expect(self, text: str) -> None:
        if not self._accept(text):
            raise RowFilterError(f"{text} is expected here", self._tokens[self._at].position)

    def parse(self) -> Expression:
        expression = self._either()
        token = self._tokens[self._at]
        if token.kind != "end":
            raise RowFilterError("the filter should end here", token.position)
        return expression

    def _either(self) -> Expression:
        left = self._both()
        while self._accept("OR"):
            left = Or(left, self._both())
        return left

    def _both(self) -> Expression:
        left = self._negation()
        while self._accept("AND"):
            left = And(left, self._negation())
        return left

    def _negation(self) -> Expression:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise RowFilterError(f"nested deeper than {MAX_DEPTH}", self._tokens[self._at].position)
        try:
            if self._accept("NOT"):
                return Not(self._negation())
            if self._accept("("):
                inner = self._either()
                self._expect(")")
                return inner
            return self._predicate()
        finally:
            self._depth -= 1

    def _predicate(self) -> Expression:
        column = self._next()
        if column.kind != "word":
            raise RowFilterError("a column is expected here", column.position)
        if column.text not in self._columns:
            raise RowFilterError(f"there is no column {column.text!r} to filter on", column.position)
        # A chain of AND and OR is as deep as it is long, and what reads the tree recurses.
        self._predicates += 1
        if self._predicates > MAX_PREDICATES:
            raise RowFilterError(f"more than {MAX_PREDICATES} predicates", column.position)
        expression = self._condition(column)
        for leaf in leaves(expression):
            _check_types(leaf, self._columns[leaf.column], column.position)
        return expression

    def _condition(self, column: _Token) -> Expression:
        if self._accept("IS"):
            negated = self._accept("NOT")
            self._expect("NULL")
            return _maybe_not(IsNull(column.text), negated)
        negated = self._accept("NOT")
        if self._accept("IN"):
            return _maybe_not(In(column.text, self._value_list()), negated)
        if self._accept("BETWEEN"):
            low = self._value()
            self._expect("AND")
            both = And(Compare(column.text, ">=", low), Compare(column.text, "<=", self._value()))
            return _maybe_not(both, negated)
        if self._accept("LIKE"):
            return _maybe_not(Like(column.text, self._string()), negated)
        operator = self._next()
        text = "<>" if operator.text == "!=" else operator.text
        if negated or operator.kind != "symbol" or text not in _COMPARISONS:
            raise RowFilterError("a comparison is expected here", operator.position)
        return Compare(column.text, text, self._value())

    def _value_list(self) -> tuple[Value, ...]:
        self._expect("(")
        values = [self._value()]
        while self._accept(","):
            values.append(self._value())
        self._expect(")")
        return tuple(values)

    def _string(self) -> str:
        token = self._next()
        if token.kind != "string":
            raise RowFilterError("a text in single quotes is expected here", token.position)
        return token.text[1:-1].replace("''", "'")

    def _value(self) -> Value:
        token = self._next()
        if token.kind == "string":
            return Literal(token.text[1:-1].replace("''", "'"))
        if token.kind == "number":
            if len(token.text) > MAX_DIGITS:
                raise RowFilterError(f"a number longer than {MAX_DIGITS} characters", token.position)
            return Literal(float(token.text) if "." in token.text else int(token.text))
        if token.kind == "keyword" and token.text in {"TRUE", "FALSE"}:
            return Literal(token.text == "TRUE")
        if token.kind == "keyword" and token.text in {"DATE", "TIMESTAMP"}:
            return Literal(self._moment())
        if token.kind == "word" and token.text.lower() == "principal":
            self._expect(".")
            return Attribute(self._attribute())
        if token.kind == "word" and token.text.lower() == "now":
            self._expect("(")
            self._expect(")")
            return Now(self._interval() if self._accept("-") else timedelta())
        raise RowFilterError("a value is expected here", token.position)

    def _attribute(self) -> str:
        token = self._next()
        if token.kind != "word":
            raise RowFilterError("the name of an attribute is expected here", token.position)
        return token.text

    def _moment(self) -> datetime:
        position = self._tokens[self._at].position
        try:
            moment = datetime.fromisoformat(self._string())
        except ValueError:
            raise RowFilterError("a date or time as YYYY-MM-DD hh:mm:ss is expected here", position) from None
        if moment.tzinfo is not None:
            raise RowFilterError("times are UTC and have no offset", position)
        return moment

    def _interval(self) -> timedelta:
        self._expect("INTERVAL")
        number, unit = self._next(), self._next()
        if number.kind != "number" or not number.text.isdigit() or len(number.text) > 5:
            raise RowFilterError("a whole number of at most five digits is expected here", number.position)
        if unit.text not in {"DAY", "DAYS", "HOUR", "HOURS"}:
            raise RowFilterError("DAYS or HOURS is expected here", unit.position)
        return timedelta(days=int(number.text)) if unit.text.startswith("DAY") else timedelta(hours=int(number.text))


def _maybe_not(expression: Expression, negated: bool) -> Expression:
    return Not(expression) if negated else expression


def parse_row_filter(text: str, columns: Mapping[str, FieldType]) -> Expression:
    """Read a filter and check it against the columns that it may use.

    Raises:
        RowFilterError: not in the language, an unknown column, or a value of another type than its column.
    """
    if len(text) > MAX_LENGTH:
        raise RowFilterError(f"longer than {MAX_LENGTH} characters", MAX_LENGTH)
    return _Parser(text, columns).parse()


def leaves(expression: Expression) -> Iterator[Compare | In | IsNull | Like]:
    """The predicates of an expression."""
    match expression:
        case And(left, right) | Or(left, right):
            yield from leaves(left)
            yield from leaves(right)
        case Not(operand):
            yield from leaves(operand)
        case _:
            yield expression


_FITS: dict[FieldType, Callable[[Value], bool]] = {
    FieldType.STRING: lambda value: isinstance(value, Attribute) or _is(value, str),
    FieldType.BOOLEAN: lambda value: _is(value, bool),
    FieldType.INT32: lambda value: _is(value, int),
    FieldType.INT64: lambda value: _is(value, int),
    FieldType.FLOAT64: lambda value: _is(value, int) or _is(value, float),
    FieldType.TIMESTAMP: lambda value: isinstance(value, Now) or _is(value, datetime),
}


def _is(value: Value, kind: type) -> bool:
    return isinstance(value, Literal) and type(value.value) is kind


def _check_types(leaf: Compare | In | IsNull | Like, kind: FieldType, position: int) -> None:
    values = leaf.values if isinstance(leaf, In) else (leaf.value,) if isinstance(leaf, Compare) else ()
    if isinstance(leaf, Like) and kind is not FieldType.STRING:
        raise RowFilterError(f"LIKE needs text, and {leaf.column!r} is {kind.value}", position)
    if isinstance(leaf, Compare) and kind is FieldType.BOOLEAN and leaf.operator not in {"=", "<>"}:
        raise RowFilterError(f"{leaf.column!r} is true or false: only = and <> fit", position)
    for value in values:
        if not _FITS[kind](value):
            raise RowFilterError(f"this value does not fit {leaf.column!r}, which is {kind.value}", position)
        if isinstance(value, Literal) and isinstance(value.value, int) and kind in {FieldType.INT32, FieldType.INT64}:
            bits = 31 if kind is FieldType.INT32 else 63
            if not -(2**bits) <= value.value < 2**bits:
                raise RowFilterError(f"this number is out of the range of {leaf.column!r}", position)


def attributes(expression: Expression) -> frozenset[str]:
    """The attributes of the principal that an expression uses."""
    found: set[str] = set()
    for leaf in leaves(expression):
        values = leaf.values if isinstance(leaf, In) else (leaf.value,) if isinstance(leaf, Compare) else ()
        found |= {value.name for value in values if isinstance(value, Attribute)}
    return frozenset(found)
