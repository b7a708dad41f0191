"""The document that says which contract field each column of a CSV file is, and how its times are written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType

from lake.rules.document import Node, read_document
from lake.rules.model import NAME

TIME_FORMS = ("iso", "unix_s", "unix_ms", "unix_us")


@dataclass(frozen=True, slots=True)
class CsvMapping:
    """How to read one kind of CSV file.

    Attributes:
        columns: CSV column to contract field; a column that is not named here keeps its own name.
        constants: contract field to the text that every row has for it.
        timestamps: contract field to ``iso`` (RFC 3339), ``unix_s``, ``unix_ms``, ``unix_us`` or a strptime format; a
            format without ``%z`` is taken as UTC. A time field that is not named here is ``iso``.
        nulls: texts that stand for no value.
        delimiter: one character.
    """

    columns: Mapping[str, str]
    constants: Mapping[str, str]
    timestamps: Mapping[str, str]
    nulls: frozenset[str] = frozenset({""})
    delimiter: str = ","


PLAIN = CsvMapping(columns=MappingProxyType({}), constants=MappingProxyType({}), timestamps=MappingProxyType({}))
"""Every column under its own name."""


def parse_mapping(text: str, source: str = "mapping") -> CsvMapping:
    """Read and check a mapping.

    Raises:
        DocumentError: anything unknown, missing or said twice; names line and column.
    """
    root = read_document(text, source)
    top = root.mapping(required=("columns",), optional=("constants", "timestamps", "nulls", "delimiter"))
    filled = [(node.name(NAME), node) for _, node in top["columns"].items()] + _pairs(top.get("constants"))
    targets: set[str] = set()
    for field, node in filled:
        if field in targets:
            raise node.error(f"the field {field!r} is filled twice")
        targets.add(field)
    timestamps = {}
    for field, node in _pairs(top.get("timestamps")):
        if field not in targets:
            raise node.error(f"no column is mapped to {field!r}")
        timestamps[field] = _time_form(node)
    return CsvMapping(
        columns=MappingProxyType({column: node.name(NAME) for column, node in top["columns"].items()}),
        constants=MappingProxyType({field: node.scalar() for field, node in _pairs(top.get("constants"))}),
        timestamps=MappingProxyType(timestamps),
        nulls=frozenset(node.scalar() for node in top["nulls"].sequence()) if "nulls" in top else PLAIN.nulls,
        delimiter=_delimiter(top["delimiter"]) if "delimiter" in top else PLAIN.delimiter,
    )


def _pairs(node: Node | None) -> list[tuple[str, Node]]:
    return [] if node is None else list(node.items())


def _time_form(node: Node) -> str:
    form = node.string(max_length=100)
    if form in TIME_FORMS:
        return form
    sample = datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC)
    try:
        datetime.strptime(sample.strftime(form), form)  # noqa: DTZ007  only whether the format can be read back
        if "%" in form:
            return form
    except ValueError:
        pass
    raise node.error("not a form of time", hint=f"one of {', '.join(TIME_FORMS)}, or a strptime format")


def _delimiter(node: Node) -> str:
    text = node.scalar()
    if len(text) != 1 or text in '"\r\n':
        raise node.error("a delimiter is one character, and no quote")
    return text
