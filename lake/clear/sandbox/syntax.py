"""SQL text to DuckDB's own syntax tree, as plain dictionaries.

The text is only ever a bound value of ``json_serialize_sql(?)``, which parses and neither binds nor runs anything. It
must never reach ``execute`` or ``extract_statements`` before the guard has admitted its tree. Another parser must
never judge: two parsers disagree, and the difference is a hole.

Size and nesting are bounded before the parser sees the text, for its time and memory grow with the square of the
nesting (5,000 parentheses in FROM take 15 s and 2.6 GB). Brackets are found by DuckDB's own tokenizer.
"""

from __future__ import annotations

import json
import re
import threading
from dataclasses import dataclass
from functools import cache
from typing import Any

import duckdb

from lake.clear.sandbox import explain
from lake.errors import QueryRefusedError

MAX_CHARACTERS = 100_000
MAX_BRACKET_DEPTH = 120
MAX_ROLLUP_COLUMNS = 32
MAX_TREE_DEPTH = 250
"""Levels of dictionaries and lists; the walkers recurse at most two Python frames per level."""
MAX_TREE_CHARACTERS = 16 << 20

_MAX_EXPRESSION_DEPTH = 200
_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": "false",
    "python_enable_replacements": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "temp_directory": "",
    "max_temp_directory_size": "0B",
    "threads": "1",
    "async_threads": 0,  # they read files, of which there are none
}
_BRACKETS = {b"(": 1, b"[": 1, b"{": 1, b")": -1, b"]": -1, b"}": -1}
_ASCII_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
_POSITION = re.compile(r"[0-9]{1,9}", re.ASCII)
_TOO_DEEP = "the query is nested too deeply"

Tree = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Statement:
    """One SELECT.

    Attributes:
        sql: its text as it came; blanks stand where EXPLAIN stood.
        tree: the syntax tree of its query node.
        explain: only its plan is asked for: ``EXPLAIN `` and ``sql`` are to be run.
    """

    sql: str
    tree: Tree
    explain: bool = False


class _Parser:
    """A locked, empty DuckDB; one parse at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connection = duckdb.connect(":memory:", config=_CONFIG)
        self._connection.execute(f"SET max_expression_depth = {_MAX_EXPRESSION_DEPTH}")
        self._connection.execute("SET lock_configuration = true")

    def serialize(self, sql: str) -> str:
        return self._call("SELECT json_serialize_sql(?::VARCHAR)", sql)

    def deserialize(self, document: str) -> str:
        return self._call("SELECT json_deserialize_sql(?::JSON)", document)

    def _call(self, function: str, text: str) -> str:
        with self._lock:
            rows = self._connection.execute(function, [text]).fetchall()
        return str(rows[0][0])


def fold(name: str) -> str:
    """Fold an identifier the way DuckDB compares identifiers: ASCII letters only."""
    return name.translate(_ASCII_LOWER)


@cache
def _parser() -> _Parser:
    return _Parser()


def parse(sql: str) -> Statement:
    """Parse one SELECT statement, or EXPLAIN of one, here and now: ``serialize``, then ``statement``."""
    return statement(sql, serialize(sql))


def serialize(sql: str) -> str:
    """Have DuckDB parse a text and return its own JSON of the tree, or of its syntax error. Runs native code.

    Raises:
        QueryRefusedError: too long, too deep, not text, or more than the parser can take.
    """
    encoded = _check_text(sql)
    try:
        _check_brackets(encoded)
        return _parser().serialize(explain.split(sql)[1])
    except (duckdb.Error, RuntimeError, MemoryError):
        _parser.cache_clear()  # an internal error may leave the database unusable
        raise QueryRefusedError("the query cannot be parsed") from None


def deserialize(tree: Tree) -> str:
    """Have DuckDB write the SQL of a query node. Runs native code; the caller compares what it gets.

    Raises:
        QueryRefusedError: DuckDB cannot write it.
    """
    document = json.dumps({"error": False, "statements": [{"node": tree, "named_param_map": []}]})
    try:
        return _parser().deserialize(document)
    except (duckdb.Error, RuntimeError, MemoryError):
        _parser.cache_clear()
        raise QueryRefusedError("the query cannot be written anew") from None


def statement(sql: str, serialized: str) -> Statement:
    """Read what ``serialize`` returned for this text. Pure Python; the JSON may come from anyone.

    Raises:
        QueryRefusedError: a syntax error (with line and column), not exactly one statement, not a SELECT, too large,
            too deep, or not what DuckDB writes. The message quotes nothing of the text.
    """
    _check_text(sql)
    if len(serialized) > MAX_TREE_CHARACTERS:
        raise QueryRefusedError("the query is too large once parsed", hint="fewer grouping sets or shorter lists")
    try:
        document = json.loads(serialized, parse_constant=_refuse_constant)
    except RecursionError:
        raise QueryRefusedError(_TOO_DEEP) from None
    except ValueError:
        raise _unreadable() from None
    if not isinstance(document, dict):
        raise _unreadable()
    if document.get("error") is not False:
        raise _syntax_error(sql, document)
    statements = document.get("statements")
    if not isinstance(statements, list) or not all(isinstance(item, dict) for item in statements):
        raise _unreadable()
    if len(statements) != 1:
        raise QueryRefusedError(f"expected one SELECT statement, got {len(statements)}")
    tree = statements[0].get("node")
    if not isinstance(tree, dict):
        raise _unreadable()
    _check_tree(tree)
    explained, select = explain.split(sql)
    return Statement(select, tree, explained)


def _unreadable() -> QueryRefusedError:
    return QueryRefusedError("the query cannot be parsed")


def _refuse_constant(_name: str) -> None:
    raise ValueError("not a number of JSON")


def _check_text(sql: str) -> bytes:
    if len(sql) > MAX_CHARACTERS:
        raise QueryRefusedError(
            f"the query has {len(sql)} characters, at most {MAX_CHARACTERS} are allowed",
            hint="join a table instead of a long list",
        )
    if "\0" in sql:
        raise QueryRefusedError("the query contains a NUL character")
    try:
        return sql.encode()
    except UnicodeEncodeError:
        raise QueryRefusedError("the query is not valid Unicode text") from None


def _check_brackets(encoded: bytes) -> None:
    """Bound the nesting, and the columns of a ROLLUP or CUBE: its grouping sets grow with their square or faster."""
    depth = 0
    open_rollups: list[tuple[int, int]] = []  # (depth outside, commas so far)
    offsets = duckdb.tokenize(encoded.decode())
    ends = [offset for offset, _ in offsets[1:]] + [len(encoded)]
    for (offset, kind), end in zip(offsets, ends, strict=False):
        if kind in {duckdb.token_type.string_const, duckdb.token_type.comment}:
            continue
        token = encoded[offset:end].strip().lower()
        if token in {b"rollup", b"cube"}:
            open_rollups.append((depth, 0))
        elif token in _BRACKETS:
            depth += _BRACKETS[token]
            if open_rollups and token == b")" and depth <= open_rollups[-1][0]:
                open_rollups.pop()
            if depth > MAX_BRACKET_DEPTH:
                raise QueryRefusedError(_TOO_DEEP, hint=f"at most {MAX_BRACKET_DEPTH} open brackets")
        elif token == b"," and open_rollups:
            outside, commas = open_rollups[-1]
            open_rollups[-1] = (outside, commas + 1)
            if commas + 1 >= MAX_ROLLUP_COLUMNS:
                raise QueryRefusedError(f"ROLLUP and CUBE take at most {MAX_ROLLUP_COLUMNS} columns")


def _check_tree(tree: Tree) -> None:
    """Bound the depth, and let no text pass that cannot be encoded later on."""
    level: list[Any] = [tree]
    for _ in range(MAX_TREE_DEPTH):
        below = []
        for node in level:
            for child in (*node, *node.values()) if isinstance(node, dict) else node:
                if isinstance(child, dict | list):
                    below.append(child)
                elif isinstance(child, str) and not child.isascii():
                    _check_encodes(child)
        if not below:
            return
        level = below
    raise QueryRefusedError(_TOO_DEEP, hint="split long chains of operators or joins with WITH")


def _check_encodes(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise QueryRefusedError("the query is not valid Unicode text") from None


def _syntax_error(sql: str, document: Tree) -> QueryRefusedError:
    """Say where, never what: DuckDB's own message quotes the text."""
    if document.get("error_message") == "Only SELECT statements can be serialized to json!":
        return QueryRefusedError("only SELECT statements are allowed", hint="a PIVOT names its values: ON x IN (...)")
    position = document.get("position")
    if not isinstance(position, str) or not _POSITION.fullmatch(position):
        return QueryRefusedError("the query is not valid SQL")
    before = sql.encode()[: int(position)].decode(errors="ignore")
    line = before.count("\n") + 1
    column = len(before) - (before.rfind("\n") + 1) + 1
    return QueryRefusedError(f"syntax error at line {line}, column {column}", line=line, column=column)
