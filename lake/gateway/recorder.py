"""Writing to the audit log: who did what, with query text sealed and constants replaced by keyed tags."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from keys.control import ControlKeys, audit_detail_name
from keys.receipts import Receipt
from keys.refs import KeyEvent
from lake.clock import Clock, parse_timestamp
from lake.errors import IntegrityError
from lake.rules.model import MAX_EMPLOYEE_ID
from lake.sealed.audit import entries
from lake.sealed.audit.log import AuditLog

MAX_DETAIL = 200_000
"""Characters of a sealed detail; a longer one is cut, and says so."""
ERASED: Mapping[str, Any] = {"erased": True}
"""In the place of a detail that named somebody whose entry in the directory is gone."""
_WORD = re.compile(r"[^\s'\"(),;=<>\[\]{}]+")
_MARKS = ".:!?-"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts, as the log shows them: a pseudonym and the roles held."""

    tag: str
    roles: tuple[str, ...] = ()

    def fields(self) -> dict[str, Any]:
        """The entry's ``actor``."""
        return {"p": self.tag, "roles": list(self.roles)}


@dataclass(frozen=True, slots=True)
class Recorded:
    """An entry that is durable: its index, its bytes, and its scope if that lies beside the log."""

    index: int
    content: bytes
    scope: bytes | None


class People(Protocol):
    """The directory, as far as sealing needs it."""

    def named_in(self, names: Collection[str]) -> dict[int, bytes]:
        """Sealed entries, by number, of the employees among these names."""

    def entries_of(self, numbers: Collection[int]) -> dict[int, bytes]:
        """The same of these numbers, as far as they are still there."""


def words(detail: Any) -> set[str]:
    """What in a detail may be the id of an employee: whole texts, quoted ones, and words."""
    if isinstance(detail, Mapping):
        return set().union(*map(words, detail.values()))
    if isinstance(detail, (list, tuple, set, frozenset)):
        return set().union(*map(words, detail))
    if not isinstance(detail, str):
        return set()
    found = {detail, *_WORD.findall(detail)}
    found |= {word.strip(_MARKS) for word in found}
    for quote in "'\"":
        quoted = re.findall(f"{quote}((?:[^{quote}]|{quote}{quote})*){quote}", detail)
        found |= {text.replace(2 * quote, quote) for text in quoted}
    return {word for word in found if 0 < len(word) <= MAX_EMPLOYEE_ID and _is_utf8(word)}


def _is_utf8(word: str) -> bool:
    """Half a surrogate pair is in no id."""
    return word.encode(errors="ignore").decode() == word


class Recorder:
    """Appends entries. What it returns from is on disk.

    Args:
        people: who may be named in a detail.
    """

    def __init__(
        self, log: AuditLog, attachments: entries.Attachments, control: ControlKeys, people: People, clock: Clock
    ) -> None:
        self.log = log
        self.people = people
        self._attachments = attachments
        self._control = control
        self._clock = clock

    def record(
        self, kind: str, actor: Actor, fields: Mapping[str, Any], detail: Mapping[str, Any] | None = None
    ) -> Recorded:
        """Append one entry.

        Args:
            detail: what only a reader of details may see (the SQL, names); sealed by actor and month, and by the
                entries in the directory of the employees that it names, so that it goes with the first of them.

        Raises:
            AuditUnavailableError: it could not be recorded; the caller must not go on.
        """
        moment = self._clock()
        body = {"actor": actor.fields(), **fields}
        if detail is not None:
            name = audit_detail_name(actor.tag, moment)
            text = json.dumps(detail, ensure_ascii=False)[:MAX_DETAIL]
            # Half a surrogate pair has no UTF-8; as an escape of JSON it is kept.
            content = text.encode(errors="backslashreplace")
            about = self.people.named_in(words(detail))
            if about:
                body["about"] = entries.bitmap(about)
            sealed = self._control.seal_detail(name, content, [about[number] for number in sorted(about)])
            body["sealed"] = base64.b64encode(sealed).decode()
        entry, moved = self._attachments.fit(entries.new_entry(kind, moment, body))
        (index,) = self.log.append([entry])
        return Recorded(index, entry, moved.get("scope"))

    def record_keys(self, actor: Actor, events: Sequence[KeyEvent]) -> None:
        """Append what happened to keys, a bounded list of ids in each entry."""
        for start in range(0, len(events), 500):
            part = events[start : start + 500]
            keys = [[event.action, event.kind, event.key_id, event.version] for event in part]
            self.record(entries.KEYS, actor, {"keys": keys})

    def receipt(self, recorded: Recorded, seen: int) -> Receipt:
        """The proof that an entry is in the log, and that the log grew from ``seen`` entries."""
        proof = self.log.receipt(recorded.index)
        size = int(proof.partition("\n\n")[2].split("\n")[1])
        consistency = tuple(self.log.consistency_proof(seen, size)) if 0 < seen <= size else ()
        return Receipt(proof, recorded.content, recorded.scope, consistency)

    def resolve(self, value: Any) -> Any:
        """A field's value, wherever it lies."""
        return self._attachments.resolve(value)

    def open_detail(self, entry: Mapping[str, Any]) -> dict[str, Any] | None:
        """The sealed detail of an entry, or None if it has none; ``ERASED`` if it named somebody who was shredded."""
        if "sealed" not in entry:
            return None
        named = entries.members(str(entry["about"])) if "about" in entry else frozenset()
        about = self.people.entries_of(named)
        if len(about) < len(named):
            return dict(ERASED)
        sealed = base64.b64decode(str(self.resolve(entry["sealed"])))
        name = audit_detail_name(str(entry["actor"]["p"]), parse_timestamp(str(entry["ts"])))
        text = self._control.open_detail(name, sealed, [about[number] for number in sorted(about)])
        try:
            detail: dict[str, Any] = json.loads(text)
        except ValueError:
            return {"cut": text.decode(errors="replace")}
        return detail


def parse_entry(content: bytes) -> dict[str, Any]:
    """An entry as an object."""
    try:
        entry: dict[str, Any] = json.loads(content)
    except ValueError:
        raise IntegrityError("an entry of the audit log is not an entry of this lake") from None
    return entry
