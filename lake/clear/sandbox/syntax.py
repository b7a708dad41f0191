"""SQL text to DuckDB's own syntax tree, as plain dictionaries.

The text is only ever a bound value of ``json_serialize_sql(?)``, which parses and neither binds nor runs anything. It
must never reach ``execute`` or ``extract_statements`` before the guard has admitted its tree. Another parser must
never judge: two parsers disagree, and the difference is a hole.

Size and nesting are bounded before the parser sees the text, for its time and memory grow with the square of the
nesting (5,000 parentheses in FROM take 15 s and 2.6 GB). Brackets are found by DuckDB's own tokenizer.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from functools import cache
from typing import Any

import duckdb

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
}
_BRACKETS = {b"(": 1, b"[": 1, b"{": 1, b")": -1, b"]": -1, b"}": -1}
_ASCII_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
_TOO_DEEP = "the query is nested too deeply"

Tree = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Statement:
    """One SELECT: the text as it came, and the syntax tree of its query node."""

    sql: str
    tree: Tree


class _Parser:
    """A locked, empty DuckDB; one parse at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connection = duckdb.connect(":memory:", config=_CONFIG)
        self._connection.execute(f"SET max_expression_depth = {_MAX_EXPRESSION_DEPTH}")
        self._connection.execute("SET lock_configuration = true")

    def serialize(self, sql: str) -> str:
        with self._lock:
            rows = self._connection.execute("SELECT json_serialize_sql(?::VARCHAR)", [sql]).fetchall()
        return str(rows[0][0])


def fold(name: str) -> str:
    """Fold an identifier the way DuckDB compares identifiers: ASCII letters only."""
    return name.translate(_ASCII_LOWER)


@cache
def _parser() -> _Parser:
    return _Parser()


def parse(sql: str) -> Statement:
    """Parse one SELECT statement.

    Raises:
        QueryRefusedError: too long, too deep, not text, a syntax error (with line and column), not exactly one
            statement, or not a SELECT. The message quotes nothing of the text.
    """
    encoded = _check_text(sql)
    try:
        _check_brackets(encoded)
        serialized = _parser().serialize(sql)
    except (duckdb.Error, RuntimeError, MemoryError):
        _parser.cache_clear()  # an internal error may leave the database unusable
        raise QueryRefusedError("the query cannot be parsed") from None
    if len(serialized) > MAX_TREE_CHARACTERS:
        raise QueryRefusedError("the query is too large once parsed", hint="fewer grouping sets or shorter lists")
    try:
        document = json.loads(serialized)
    except RecursionError:
        raise QueryRefusedError(_TOO_DEEP) from None
    if document["error"]:
        raise _syntax_error(sql, document)
    statements = document["statements"]
    if len(statements) != 1:
        raise QueryRefusedError(f"expected one SELECT statement, got {len(statements)}")
    tree = statements[0]["node"]
    _check_tree_depth(tree)
    return Statement(sql, tree)


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


def _check_tree_depth(tree: Tree) -> None:
    level: list[Any] = [tree]
    for _ in range(MAX_TREE_DEPTH):
        level = [
            child
            for node in level
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, dict | list)
        ]
        if not level:
            return
    raise QueryRefusedError(_TOO_DEEP, hint="split long chains of operators or joins with WITH")


def _syntax_error(sql: str, document: Tree) -> QueryRefusedError:
    """Say where, never what: DuckDB's own message quotes the text."""
    if document.get("error_type") == "not implemented":
        return QueryRefusedError("only SELECT statements are allowed")
    if "position" not in document:
        return QueryRefusedError("the query is not valid SQL")
    before = sql.encode()[: int(document["position"])].decode(errors="ignore")
    line = before.count("\n") + 1
    column = len(before) - (before.rfind("\n") + 1) + 1
    return QueryRefusedError(f"syntax error at line {line}, column {column}", line=line, column=column)
