"""Walking one large JSON document without holding it: keys, items and small values, in the order of the file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ijson

from lake.clear.landing.readers.inputs import Bounded, Input

MAX_DEPTH = 32
CHUNK = 1 << 16


class Tree:
    """A cursor in a JSON document. Calls follow the document: ask for what is expected next.

    All methods raise ``ValueError`` or ``ijson.JSONError`` where the document is otherwise, is nested deeper than
    ``MAX_DEPTH`` or has a key twice, and ``MalformedInputError`` where one value is longer than ``max_line`` bytes.

    The parser turns an escaped half of a surrogate pair into a question mark: such text cannot be stored anyway.
    """

    def __init__(self, source: Input, data: Bounded) -> None:
        self._source = source
        self._data = data
        self._tokens: Iterator[tuple[str, Any]] = ijson.basic_parse(self, use_float=True, buf_size=CHUNK)

    def read(self, size: int) -> bytes:
        """Bytes for the parser; refused when it has found nothing in the last ``max_line`` of them."""
        if size and self._data.unclaimed > self._source.options.max_line + CHUNK:
            raise self._source.malformed("a value is too long", hint="expected short texts and numbers")
        return self._data.read(size)

    def members(self) -> Iterator[str]:
        """The keys of the object that comes next; the caller consumes the value of each before the following one."""
        self._expect("start_map")
        seen: set[str] = set()
        while (token := self._next())[0] == "map_key":
            key: str = token[1]
            if key in seen:
                raise ValueError
            seen.add(key)
            yield key
        if token[0] != "end_map":
            raise ValueError

    def items(self) -> Iterator[Any]:
        """The values of the array that comes next."""
        self._expect("start_array")
        while (token := self._next())[0] != "end_array":
            yield self._build(token, 0)

    def value(self) -> Any:
        """The value that comes next."""
        return self._build(self._next(), 0)

    def skip(self) -> None:
        """Pass over the value that comes next without building it."""
        depth = 0
        while True:
            kind, _ = self._next()
            depth += kind.startswith("start_") - kind.startswith("end_")
            if depth == 0:
                return
            if depth > MAX_DEPTH:
                raise ValueError

    def end(self) -> None:
        """Nothing more may come."""
        if next(self._tokens, None) is not None:
            raise ValueError

    def _next(self) -> tuple[str, Any]:
        token = next(self._tokens, None)
        if token is None:
            raise ValueError
        self._data.unclaimed = 0
        return token

    def _expect(self, kind: str) -> None:
        if self._next()[0] != kind:
            raise ValueError

    def _build(self, token: tuple[str, Any], depth: int) -> Any:
        kind, value = token
        if depth > MAX_DEPTH:
            raise ValueError
        if kind == "start_map":
            built: dict[str, Any] = {}
            while (token := self._next())[0] == "map_key":
                if token[1] in built:
                    raise ValueError
                built[token[1]] = self._build(self._next(), depth + 1)
            return built
        if kind == "start_array":
            values = []
            while (token := self._next())[0] != "end_array":
                values.append(self._build(token, depth + 1))
            return values
        return value
