"""The content filter: looks into every text, masks what it finds and says how sensitive each text is.

Vectorised first: gates leave out texts that cannot hold a find, and each detector's own expression says which of the
rest it looks at. Only then, text by text, exact spans and their checks. All expressions are RE2's, which takes time
linear in the text whatever stands in it.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lake.clear.landing.content import contact, credentials, gates, identity, leaks, money, topics
from lake.clear.landing.content.categories import CATEGORIES
from lake.clear.landing.content.detector import Detector, Span
from lake.clear.landing.content.expression import Batch, Expression
from lake.clear.landing.content.ner import Named, NameFinder
from lake.clear.landing.content.normal import UNUSUAL, Places, fold, places
from lake.clear.landing.content.tokens import Tokens

DETECTORS: tuple[Detector, ...] = (
    *money.DETECTORS,
    *identity.DETECTORS,
    *credentials.DETECTORS,
    *contact.DETECTORS,
    *topics.DETECTORS,
)
MOST_FINDS = 2_000
"""In one text; one with more is withheld as a whole."""
REVISION = 2
"""Raised when a check, the folding or the tokens change, which the digest of the rules does not see by itself."""
_WORDS = r"\pL\S*\s+\S*\pL"
"""Running text, in which a model looks for names: two words at least, so no program and no site."""
Finder = Detector | leaks.Rule | Named
Levels = npt.NDArray[np.int8]


def _digest() -> str:
    """SHA-256 of everything that decides what is found."""
    state = hashlib.sha256(f"{REVISION}\0{leaks.SOURCE_SHA256}\0".encode())
    for kind in (kind for kind in CATEGORIES.values() if not kind.modelled):
        state.update(f"{kind}\0".encode())
    for detector in DETECTORS:
        state.update(f"{detector.category}\0{detector.pattern}\0".encode())
    return state.hexdigest()


DIGEST = _digest()


@dataclass(frozen=True, slots=True)
class Screened:
    """Texts after the filter, by column: masked; sensitivity of each row (int8, 1 to 4); finds by category."""

    columns: Mapping[str, pa.Array]
    sensitivities: Mapping[str, pa.Array]
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Judged:
    """One text after the filter."""

    text: str
    sensitivity: int
    counts: Mapping[str, int]


class ContentScreen:
    """Screens texts; ``key`` makes its mask tokens, ``names`` finds what only a model of language can.

    Attributes:
        digest: of everything that decides what is found.
    """

    def __init__(self, key: bytes, names: NameFinder | None = None) -> None:
        self.digest = DIGEST if names is None else hashlib.sha256(f"{DIGEST}\0{names.digest}".encode()).hexdigest()
        self._names = names
        self._words = Expression(_WORDS)
        self._tokens = Tokens(key)
        self._gated = [
            (
                gate,
                [(detector, Expression(detector.pattern)) for detector in DETECTORS if detector.gate is kind],
            )
            for kind, gate in gates.GATES.items()
        ]

    def apply(self, strings: Mapping[str, pa.Array]) -> Screened:
        """Find and mask what may not land in the clear, in every column of texts.

        Args:
            strings: columns of type string, of any length each; nulls stay nulls.
        """
        columns: dict[str, pa.Array] = {}
        sensitivities: dict[str, pa.Array] = {}
        counts: Counter[str] = Counter()
        for name, column in strings.items():
            coded = pc.dictionary_encode(column)
            indices = pc.fill_null(coded.indices, -1).to_numpy(zero_copy_only=False)
            judged = self._judge(coded.dictionary)
            levels = np.ones(len(coded.dictionary) + 1, np.int8)
            often = np.bincount(indices[indices >= 0], minlength=len(coded.dictionary))
            for index, found in judged.items():
                levels[index] = found.sensitivity
                for category, number in found.counts.items():
                    counts[category] += number * int(often[index])
            sensitivities[name] = pa.array(levels[indices], pa.int8())
            columns[name] = _replaced(column, coded, {index: found.text for index, found in judged.items()})
        return Screened(columns, sensitivities, dict(counts))

    def spans(self, text: str) -> list[tuple[int, int, str]]:
        """Finds in one text: first character, the one after the last, category. What overlaps is one find."""
        batch = Batch(pa.array([fold(text)], pa.string()))
        found = _spans(batch[0], self._candidates(batch).get(0, []))
        where = _where(text, batch[0])
        return [(*_original(where, span), span.category) for span in found or ()]

    def _judge(self, texts: pa.StringArray) -> dict[int, Judged]:
        """What was found, by position of the text; texts without finds are left out."""
        folded = self._folded(texts)
        judged = {}
        for index, finders in self._candidates(folded).items():
            found = self._masked(texts[index].as_py(), folded[index], finders)
            if found is not None:
                judged[index] = found
        return judged

    def _folded(self, texts: pa.StringArray) -> Batch:
        odd = pc.or_(pc.invert(pc.string_is_ascii(texts)), pc.match_substring_regex(texts, UNUSUAL))
        if pc.any(odd).as_py():
            folded = pa.array(map(fold, texts.filter(odd).to_pylist()), pa.string())
            texts = pc.replace_with_mask(texts, odd, folded)
        return Batch(texts)

    def _candidates(self, batch: Batch) -> dict[int, list[Finder]]:
        """Who has to look at which text."""
        looked: dict[int, list[Finder]] = {}
        for gate, detectors in self._gated:
            rows = gate(batch)
            if not rows:
                continue
            behind = batch.take(rows)
            for detector, expression in detectors:
                for index in expression.rows(behind):
                    looked.setdefault(rows[index], []).append(detector)
        for row, rules in leaks.candidates(batch):
            looked.setdefault(row, []).extend(rules)
        if self._names is not None:
            rows = self._words.rows(batch)
            named = self._names.find([batch[row].decode() for row in rows])
            for row, spans in zip(rows, named, strict=True):
                if spans:
                    looked.setdefault(row, []).append(Named(spans))
        return looked

    def _masked(self, text: str, folded: bytes, finders: Iterable[Finder]) -> Judged | None:
        found = _spans(folded, finders)
        if found is None:
            withheld = CATEGORIES["WITHHELD"]
            return Judged(self._tokens.of("WITHHELD", text), withheld.sensitivity, {"WITHHELD": 1})
        if not found:
            return None
        where = _where(text, folded)
        pieces: list[str] = []
        position = 0
        for span in found:
            if CATEGORIES[span.category].masked:
                start, end = _original(where, span)
                pieces += (text[position:start], self._tokens.of(span.category, span.value.decode(errors="replace")))
                position = end
        pieces.append(text[position:])
        categories = [span.category for span in found]
        level = max(CATEGORIES[category].sensitivity for category in categories)
        return Judged(
            "".join(pieces), level, {category: categories.count(category) for category in dict.fromkeys(categories)}
        )


def _where(text: str, folded: bytes) -> Places | None:
    """Where the bytes of its folded form come from; None where each is the character at its place."""
    return None if text.isascii() and text.encode() == folded else places(text, folded)


def _original(where: Places | None, span: Span) -> tuple[int, int]:
    return (span.start, span.end) if where is None else where.of(span.start, span.end)


def _spans(text: bytes, finders: Iterable[Finder]) -> list[Span] | None:
    """Finds in order, those that overlap made one of the more sensitive kind; None if there is no end to them."""
    found: list[Span] = []
    for span in _all(text, finders):
        if span.end > span.start:
            found.append(span)
        if len(found) > MOST_FINDS:
            return None
    if len(found) < 2:
        return found
    about = {span.category: span for span in found if not CATEGORIES[span.category].masked}
    found = sorted(
        (span for span in found if CATEGORIES[span.category].masked), key=lambda span: (span.start, -span.end)
    )
    merged: list[Span] = []
    for span in found:
        if merged and span.start < merged[-1].end:
            merged[-1] = _union(text, merged[-1], span)
        else:
            merged.append(span)
    return merged + list(about.values())


def _all(text: bytes, finders: Iterable[Finder]) -> Iterator[Span]:
    for finder in finders:
        yield from finder.find(text)


def _union(text: bytes, one: Span, other: Span) -> Span:
    more = CATEGORIES[other.category].sensitivity > CATEGORIES[one.category].sensitivity
    start, end = one.start, max(one.end, other.end)
    return Span(start, end, other.category if more else one.category, text[start:end])


def _replaced(column: pa.Array, coded: pa.DictionaryArray, texts: Mapping[int, str]) -> pa.Array:
    changed = {index: text for index, text in texts.items() if text != coded.dictionary[index].as_py()}
    if not changed:
        return column
    mask = np.zeros(len(coded.dictionary), np.bool_)
    mask[list(changed)] = True
    values = pa.array([changed[index] for index in sorted(changed)], coded.dictionary.type)
    dictionary = pc.replace_with_mask(coded.dictionary, pa.array(mask), values)
    return dictionary.take(coded.indices).cast(column.type)
