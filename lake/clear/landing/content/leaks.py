"""Keys of services, by the rules of gitleaks: its words first, then its expression, entropy and exceptions.

The rules are data of a third party under ``gitleaks/``. They are applied as gitleaks applies them to a line: the secret
is the named group, or the first that matched, else the whole match.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import re2

from lake.clear.landing.content.credentials import entropy
from lake.clear.landing.content.detector import Span, compiled
from lake.clear.landing.content.expression import Expression


@dataclass(frozen=True, slots=True)
class _Allowed:
    target: str
    expressions: tuple[re2._Regexp, ...]
    words: tuple[str, ...]

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> _Allowed:
        return cls(
            document.get("regexTarget", "secret"),
            tuple(map(compiled, document.get("regexes", ()))),
            tuple(word.lower() for word in document.get("stopwords", ())),
        )

    def holds(self, secret: bytes, match: bytes, line: bytes) -> bool:
        """Whether a find is none."""
        target = {"match": match, "line": line}.get(self.target, secret)
        if any(expression.search(target) is not None for expression in self.expressions):
            return True
        lower = secret.decode(errors="replace").lower()
        return any(word in lower for word in self.words)


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind of key."""

    name: str
    pattern: str
    keywords: tuple[str, ...]
    entropy: float
    group: int
    allowed: tuple[_Allowed, ...]
    compiled: re2._Regexp

    @property
    def category(self) -> str:
        """What it finds, as the filter calls it."""
        return "PRIVATE_KEY" if self.name == "private-key" else "SECRET"

    def find(self, text: bytes) -> Iterator[Span]:
        """Finds in the order of their place."""
        for match in self.compiled.finditer(text):
            group = self.group or next((index for index in range(1, self.compiled.groups + 1) if match.group(index)), 0)
            start, end = match.span(group)
            secret = text[start:end]
            if self.entropy and entropy(secret.decode(errors="replace")) <= self.entropy:
                continue
            if any(allow.holds(secret, match.group(), _line(text, *match.span())) for allow in self.allowed):
                continue
            yield Span(start, end, self.category, secret)


def _line(text: bytes, start: int, end: int) -> bytes:
    after = text.find(b"\n", end)
    return text[text.rfind(b"\n", 0, start) + 1 : len(text) if after < 0 else after]


def _load() -> tuple[str, tuple[Rule, ...]]:
    source = resources.files(f"{__package__}.gitleaks").joinpath("rules.json").read_bytes()
    document = json.loads(source)
    everywhere = _Allowed.of(document["allow"])
    rules = [
        Rule(
            name=rule["id"],
            pattern=rule["regex"],
            keywords=tuple(rule["keywords"]),
            entropy=float(rule.get("entropy", 0)),
            group=int(rule.get("secretGroup", 0)),
            allowed=(everywhere, *map(_Allowed.of, rule.get("allow", ()))),
            compiled=compiled(rule["regex"]),
        )
        for rule in document["rules"]
    ]
    return document["sha256"], tuple(rules)


SOURCE_SHA256, RULES = _load()


_SHORT = 3
_COMMON = frozenset(
    {"key", "api", "auth", "token", "access", "secret", "password", "passwd", "credential", "creds", "curl"}
)


def _asked(rules: Iterable[Rule]) -> list[tuple[Rule, Expression]]:
    return [(rule, Expression(rule.pattern, rule.compiled)) for rule in rules]


def _of(words: Iterable[str]) -> Expression:
    return Expression("(?i)(?:" + "|".join(sorted(map(re2.escape, words))) + ")")


_SHORTLY = [rule for rule in RULES if any(len(word) < _SHORT for word in rule.keywords)]
_COMMONLY = [rule for rule in RULES if rule not in _SHORTLY and _COMMON.intersection(rule.keywords)]
_BY_WORD: dict[str, list[Rule]] = {}
for _rule in RULES:
    if _rule not in _SHORTLY and _rule not in _COMMONLY:
        for _word in _rule.keywords:
            _BY_WORD.setdefault(_word, []).append(_rule)
_ALWAYS, _WITH_COMMON, _WORDS = _asked(_SHORTLY), _asked(_COMMONLY), _of(_BY_WORD)
_COMMON_WORDS = _of({word for rule in _COMMONLY for word in rule.keywords})


def candidates(texts: pa.StringArray) -> Iterator[tuple[int, list[Rule]]]:
    """Which rules have to look at which text.

    A rule whose word is in most texts, or too short to tell, is asked by its own expression; the others where their
    word is.
    """
    yield from _matching(_ALWAYS, texts, np.arange(len(texts)))
    rows = np.flatnonzero(_COMMON_WORDS.matches(texts))
    yield from _matching(_WITH_COMMON, texts.take(pa.array(rows)), rows)
    rows = np.flatnonzero(_WORDS.matches(texts))
    for row, text in zip(rows.tolist(), texts.take(pa.array(rows)).to_pylist(), strict=True):
        lower = text.lower()
        found = {rule.name: rule for word, rules in _BY_WORD.items() if word in lower for rule in rules}
        yield row, list(found.values())


def _matching(
    rules: Iterable[tuple[Rule, Expression]], texts: pa.StringArray, rows: npt.NDArray[np.int64]
) -> Iterator[tuple[int, list[Rule]]]:
    for rule, expression in rules:
        for row in rows[expression.matches(texts)].tolist():
            yield row, [rule]
