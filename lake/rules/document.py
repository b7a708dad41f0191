"""Strict reading of YAML documents: every complaint names the file, the line and the column.

Unknown keys, duplicate keys, anchors, wrong types and unknown names are errors, never warnings: a contract or a policy
that is not wholly understood is not in force.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

import yaml

from lake.errors import DocumentError

MAX_DOCUMENT = 1_000_000
"""Characters in a document."""
MAX_NESTING = 32
"""Levels of lists and mappings in a document."""

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Node:
    """One YAML node with its place, read by asking for the type that is expected."""

    source: str
    node: yaml.Node

    def error(self, message: str, *, hint: str = "") -> DocumentError:
        """An error at this node's place."""
        mark = self.node.start_mark
        return DocumentError(self.source, mark.line + 1, mark.column + 1, message, hint=hint)

    def mapping(self, *, required: Collection[str] = (), optional: Collection[str] | None = None) -> dict[str, Node]:
        """Keys to nodes. ``optional=None`` admits any further key; otherwise an unknown key is an error."""
        pairs = dict(self.items())
        known = set(required) | set(optional or ())
        if optional is not None:
            for key_node, _ in self.node.value:
                if key_node.value not in known:
                    place = Node(self.source, key_node)
                    hint = f"known keys: {', '.join(sorted(known))}"
                    raise place.error(f"unknown key {key_node.value[:64]!r}", hint=hint)
        for key in required:
            if key not in pairs:
                raise self.error(f"the key {key!r} is missing")
        return pairs

    def items(self) -> Iterator[tuple[str, Node]]:
        """The pairs of a mapping in order; a repeated or non-text key is an error."""
        if not isinstance(self.node, yaml.MappingNode):
            raise self.error("a mapping is expected here")
        seen: set[str] = set()
        for key_node, value_node in self.node.value:
            key = Node(self.source, key_node).scalar()
            if key in seen:
                raise Node(self.source, key_node).error(f"the key {key!r} stands here twice")
            seen.add(key)
            yield key, Node(self.source, value_node)

    def sequence(self) -> list[Node]:
        """The items of a list."""
        if not isinstance(self.node, yaml.SequenceNode):
            raise self.error("a list is expected here")
        return [Node(self.source, item) for item in self.node.value]

    def scalar(self) -> str:
        """The text of any scalar."""
        if not isinstance(self.node, yaml.ScalarNode):
            raise self.error("a single value is expected here")
        return str(self.node.value)

    def string(self, *, max_length: int = 2000) -> str:
        """Non-empty text."""
        text = self.scalar()
        if self.node.tag != "tag:yaml.org,2002:str" or not text.strip():
            raise self.error("text is expected here", hint="put it in quotes if it looks like a number or a date")
        if len(text) > max_length:
            raise self.error(f"this text is longer than {max_length} characters")
        return text

    def name(self, pattern: re.Pattern[str]) -> str:
        """Text that matches ``pattern`` wholly."""
        text = self.scalar()
        if pattern.fullmatch(text) is None:
            raise self.error(f"{text[:64]!r} is not a valid name", hint=f"expected {pattern.pattern}")
        return text

    def one_of(self, choices: Collection[str]) -> str:
        """One of a closed set of words."""
        text = self.scalar()
        if text not in choices:
            raise self.error(f"{text[:64]!r} is not known here", hint=f"one of: {', '.join(sorted(choices))}")
        return text

    def integer(self, *, minimum: int | None = None, maximum: int | None = None) -> int:
        """A whole number within bounds."""
        text = self.scalar()
        if self.node.tag != "tag:yaml.org,2002:int" or not re.fullmatch(r"-?(0|[1-9][0-9]{0,17})", text):
            raise self.error("a whole number is expected here")
        value = int(text)
        if (minimum is not None and value < minimum) or (maximum is not None and value > maximum):
            raise self.error(f"the number is outside {minimum}..{maximum}")
        return value

    def number(self) -> float:
        """A number."""
        if self.node.tag not in {"tag:yaml.org,2002:int", "tag:yaml.org,2002:float"}:
            raise self.error("a number is expected here")
        try:
            value = float(self.scalar())
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise self.error("a number is expected here")
        return value

    def boolean(self) -> bool:
        """true or false."""
        if self.node.tag != "tag:yaml.org,2002:bool" or self.scalar().lower() not in {"true", "false"}:
            raise self.error("true or false is expected here")
        return self.scalar().lower() == "true"

    def day(self) -> date:
        """A date as ``YYYY-MM-DD``."""
        try:
            return date.fromisoformat(self.scalar())
        except ValueError:
            raise self.error("a date as YYYY-MM-DD is expected here") from None

    def days(self) -> int:
        """A length of time in days, written ``90d``."""
        match = re.fullmatch(r"([1-9]\d{0,4})d", self.scalar())
        if match is None:
            raise self.error("a number of days such as 90d is expected here")
        return int(match.group(1))

    def is_scalar(self) -> bool:
        """Whether this is a single value."""
        return isinstance(self.node, yaml.ScalarNode)


def read_document(text: str, source: str) -> Node:
    """The root node of the one YAML document in ``text``.

    Raises:
        DocumentError: not YAML, more than one document, empty, too long, nested too deeply, or with anchors (which
            can blow up).
    """
    if len(text) > MAX_DOCUMENT:
        raise DocumentError(source, 1, 1, f"longer than {MAX_DOCUMENT} characters")
    try:
        _check_events(text, source)
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise DocumentError(source, line, column, "not valid YAML", hint=str(error.problem or "")[:120]) from None
    except (yaml.YAMLError, UnicodeEncodeError):
        raise DocumentError(source, 1, 1, "not valid YAML", hint="is it a UTF-8 text file?") from None
    if node is None:
        raise DocumentError(source, 1, 1, "the document is empty")
    return Node(source, node)


def _check_events(text: str, source: str) -> None:
    """Refuse what can blow up before a tree is built of it: the C composer recurses without a limit of its own."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        start: Any = event.start_mark
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise DocumentError(source, start.line + 1, start.column + 1, "anchors and aliases are not allowed")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_NESTING:
            raise DocumentError(source, start.line + 1, start.column + 1, f"nested deeper than {MAX_NESTING}")
