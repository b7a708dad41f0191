"""Keys of services, by the rules of gitleaks: its words first, then its expression, entropy and exceptions.

The rules are data of a third party under ``gitleaks/``. They are applied as gitleaks applies them to a line: the secret
is the named group, or the first that matched, else the whole match.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import re2

from lake.clear.landing.content.credentials import entropy
from lake.clear.landing.content.detector import Span, compiled
from lake.clear.landing.content.expression import Batch, Expression, Frequent


def _any_of(patterns: Iterable[str]) -> re2._Regexp | None:
    alternatives = "|".join(f"(?:{pattern})" for pattern in patterns)
    return compiled(alternatives, captures=False) if alternatives else None


@dataclass(frozen=True, slots=True)
class _Allowed:
    target: str
    expressions: re2._Regexp | None
    words: re2._Regexp | None

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> _Allowed:
        return cls(
            document.get("regexTarget", "secret"),
            _any_of(document.get("regexes", ())),
            _any_of(re2.escape(word.lower()) for word in document.get("stopwords", ())),
        )

    def holds(self, secret: bytes, match: bytes, line: bytes) -> bool:
        """Whether a find is none."""
        target = {"match": match, "line": line}.get(self.target, secret)
        if self.expressions is not None and self.expressions.search(target) is not None:
            return True
        return (
            self.words is not None and self.words.search(secret.decode(errors="replace").lower().encode()) is not None
        )


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


def _of(words: Iterable[str]) -> str:
    return "(?i)(?:" + "|".join(sorted(map(re2.escape, words))) + ")"


_SHORTLY = [rule for rule in RULES if any(len(word) < _SHORT for word in rule.keywords)]
_COMMONLY = [rule for rule in RULES if rule not in _SHORTLY and _COMMON.intersection(rule.keywords)]
_BY_WORD: dict[str, list[Rule]] = {}
for _rule in RULES:
    if _rule not in _SHORTLY and _rule not in _COMMONLY:
        for _word in _rule.keywords:
            _BY_WORD.setdefault(_word, []).append(_rule)
_ALWAYS = Expression("|".join(f"(?:{rule.pattern})" for rule in _SHORTLY))
_WITH_COMMON = [(rule, Expression(rule.pattern)) for rule in _COMMONLY]
_COMMON_WORDS = Frequent(_of({word for rule in _COMMONLY for word in rule.keywords}))
_WORD = compiled("|".join(map(re2.escape, _BY_WORD)), captures=False, longest=True)
_RULES_OF = list(_BY_WORD.values())
_PLACES = {
    word.encode(): [place for place, other in enumerate(_BY_WORD) if word.startswith(other)] for word in _BY_WORD
}
"""By the longest word that begins somewhere: all words that begin there, by their place in ``_BY_WORD``."""


def candidates(batch: Batch) -> Iterator[tuple[int, Sequence[Rule]]]:
    """Which rules have to look at which text.

    A rule whose word is in most texts, or too short to tell, is asked by its own expression; the others where their
    word is.
    """
    for row in _ALWAYS.rows(batch):
        yield row, _SHORTLY
    rows = _COMMON_WORDS.rows(batch)
    some = batch.take(rows)
    for rule, expression in _WITH_COMMON:
        for index in expression.rows(some):
            yield rows[index], (rule,)
    for row, places in _words(batch).items():
        found = {rule.name: rule for place in sorted(places) for rule in _RULES_OF[place]}
        yield row, list(found.values())


def _words(batch: Batch) -> Mapping[int, set[int]]:
    """Which words are in which text, by their places; those that overlap too."""
    lower = batch.joined.lower()
    found: dict[int, set[int]] = {}
    match = _WORD.search(lower)
    while match is not None:
        found.setdefault(batch.row(match.start()), set()).update(_PLACES[match.group()])
        match = _WORD.search(lower, match.start() + 1)
    return found
