"""Where a row comes from: what a contract does not list is not collected, and some places never are.

Each distinct name is judged once; rows take the verdict of their names.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lake.clear.landing.kinds import Kinds, flags
from lake.rules import contexts
from lake.rules.contract import Contract
from lake.rules.denied import INCOGNITO
from lake.rules.model import TYPE_COLUMN

Codes = npt.NDArray[np.int8]

PASSED, UNLISTED, BROWSER, ABSENT = 0, 1, 2, 3
CATEGORIES = tuple(contexts.TITLES)
REASONS = ("", "context.unlisted", "", "", *(f"context.denied.{category}" for category in CATEGORIES))
"""Reasons by verdict; a verdict of 4 or more is a category that is never collected."""
FIRST_DENIED = 4
REMEMBERED = 100_000
"""Names whose verdict is remembered."""
_PLAIN = r"^[\x20-\x7e]*$"


class ContextFilter:
    """Judges the rows of one contract by their program, site, window title and private mode."""

    def __init__(self, contract: Contract) -> None:
        self._rules = contract.rules
        events = contract.events.values()
        self._events = list(contract.events)
        self._carriers = {
            role: {event.name for event in events if set(self._rules.roles.get(role, ())) & set(event.fields)}
            for role in ("app", "url", "title", "incognito")
        }
        self.judges = any(self._carriers.values())
        self._known: dict[tuple[str, str], int] = {}

    def verdicts(self, rows: pa.RecordBatch, kinds: Kinds | None = None) -> Codes:
        """For each row, the index into ``REASONS`` for which it may not land; 0 if it may."""
        found = np.zeros(rows.num_rows, np.int8)
        if not self.judges:
            return found
        kinds = kinds or Kinds(rows[TYPE_COLUMN], self._events)
        has_app, has_url, has_flag = (flags(kinds.of(self._carriers[role])) for role in ("app", "url", "incognito"))
        app = self._names(rows, "app", self._app)
        site = self._names(rows, "url", self._site)
        browser = app == BROWSER
        unlisted = has_app & ((app == UNLISTED) | (app == ABSENT))
        unlisted |= has_url & (site == UNLISTED)
        unlisted |= (browser | (has_url & ~has_app)) & (site == ABSENT)
        private = np.zeros(rows.num_rows, bool)
        for name in self._rules.roles.get("incognito", ()):
            private |= flags(pc.fill_null(rows[name], False))
            # A browser that does not say whether a window is private may be showing one.
            unlisted |= browser & has_flag & flags(rows[name].is_null())
        found[unlisted] = UNLISTED
        for verdicts in (self._titles(rows), site, app):
            denied = verdicts >= FIRST_DENIED
            if denied.any():
                found[denied] = verdicts[denied]
        found[private] = FIRST_DENIED + CATEGORIES.index(INCOGNITO)
        return found

    def _names(self, rows: pa.RecordBatch, role: str, judge: Callable[[str], int]) -> Codes:
        """The worst verdict of a role's fields; ABSENT where none has a value."""
        found: Codes | None = None
        for name in self._rules.roles.get(role, ()):
            verdicts = _by_value(rows[name], lambda values: self._judged(role, values, judge))
            if found is None:
                found = verdicts
                continue
            worse = (verdicts != ABSENT) & ((found == ABSENT) | (verdicts > found))
            found[worse] = verdicts[worse]
        return np.full(rows.num_rows, ABSENT, np.int8) if found is None else found

    def _titles(self, rows: pa.RecordBatch) -> Codes:
        found = np.zeros(rows.num_rows, np.int8)
        for name in self._rules.roles.get("title", ()):
            found = np.maximum(found, _by_value(rows[name], _title_verdicts, absent=PASSED))
        return found

    def _judged(self, role: str, values: pa.Array, judge: Callable[[str], int]) -> Codes:
        return np.array([self._remembered(role, text, judge) for text in values.to_pylist()], np.int8)

    def _remembered(self, role: str, text: str, judge: Callable[[str], int]) -> int:
        if len(self._known) > REMEMBERED:
            self._known.clear()
        verdict = self._known.get((role, text))
        if verdict is None:
            verdict = self._known[role, text] = judge(text)
        return verdict

    def _app(self, text: str) -> int:
        name = contexts.app_name(text)
        if not name:
            return ABSENT
        denied = contexts.denied_app(name)
        if denied is not None:
            return _denied(denied)
        if name not in self._rules.apps:
            return UNLISTED
        return BROWSER if contexts.is_browser(name) or self._rules.apps[name] == "browser" else PASSED

    def _site(self, text: str) -> int:
        host = contexts.host_name(text)
        if not text.strip():
            return ABSENT
        denied = contexts.denied_host(host)
        if denied is not None:
            return _denied(denied)
        return PASSED if any(domain in self._rules.sites for domain in contexts.domains(host)) else UNLISTED


def _denied(category: str) -> int:
    return FIRST_DENIED + CATEGORIES.index(category)


def _by_value(column: pa.Array, judge: Callable[[pa.Array], Codes], absent: int = ABSENT) -> Codes:
    """Verdicts of a column's rows, each distinct value judged once; ``absent`` for null."""
    found = np.full(len(column), absent, np.int8)
    if column.null_count < len(column):
        coded = column.drop_null().dictionary_encode()
        found[flags(column.is_valid())] = judge(coded.dictionary)[coded.indices.to_numpy()]
    return found


def _title_verdicts(titles: pa.Array) -> Codes:
    """Verdicts of distinct titles: one pass for any word, then a closer look at the few that have one."""
    seen = pc.ascii_lower(titles)
    if not _all_plain(titles):
        plain = pc.match_substring_regex(titles, _PLAIN)
        others = pc.filter(titles, pc.invert(plain))
        skeletons = pa.array([contexts.skeleton(title) for title in others.to_pylist()], pa.string())
        seen = pc.replace_with_mask(seen, pc.invert(plain), skeletons)
    found = np.zeros(len(titles), np.int8)
    hits = np.flatnonzero(pc.match_substring_regex(seen, contexts.TITLE_SCREEN).to_numpy(zero_copy_only=False))
    if len(hits):
        suspects = seen.take(pa.array(hits))
        for index, pattern in reversed(list(enumerate(contexts.TITLES.values()))):
            denied = pc.match_substring_regex(suspects, pattern).to_numpy(zero_copy_only=False)
            found[hits[denied]] = FIRST_DENIED + index
    return found


def _all_plain(titles: pa.Array) -> bool:
    """Whether all texts of a column are ``_PLAIN``, by one look at their bytes."""
    _, ends, texts = titles.buffers()
    first, last = np.frombuffer(ends, np.int32)[[titles.offset, titles.offset + len(titles)]].tolist()
    if first == last:
        return True
    found = np.frombuffer(texts, np.uint8)[first:last]
    return bool(found.min() >= ord(" ") and found.max() <= ord("~"))
