"""Two books of the same thing: what the broker released, and what the audit log says was asked for.

The broker keeps its own (keys.tables, releases), so that a log that was bypassed, or a broker that was, shows as a
difference between the two.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from keys.receipts import INTENTS
from lake.clock import parse_timestamp
from lake.errors import UsageError
from lake.gateway.home import Home
from lake.gateway.recorder import Actor, parse_entry
from lake.gateway.reports import Interval
from lake.sealed.audit import entries

ASKING = INTENTS
ENDING = frozenset({entries.OUTCOME, entries.REKEY_OUTCOME, entries.JOB_OUTCOME})


@dataclass(slots=True)
class Reconciliation:
    """What was compared, and every difference.

    Attributes:
        unused: INTENTs for which nothing was released: refused, failed, or cut off in between.
    """

    releases: int = 0
    keys: int = 0
    intents: int = 0
    unused: int = 0
    differences: list[str] = field(default_factory=list)


def reconcile(home: Home, actor: Actor) -> Reconciliation:
    """Compare the broker's book with the audit log, entry by entry."""
    home.recorder.record(entries.READ, actor, {"report": "reconcile"})
    # The book first: what is released later has its INTENT in the log by then.
    book = home.key_store.releases()
    found = Reconciliation(releases=len(book), keys=sum(sum(levels.values()) for _, levels in book.values()))
    asked: set[int] = set()
    read: dict[int, int] = {}
    for index, content in home.log.entries():
        entry = parse_entry(content)
        if entry["type"] in ASKING:
            asked.add(index)
            if index in book:
                found.differences += (f"entry {index}: {text}" for text in _differences(home, entry, *book[index]))
        elif entry["type"] in ENDING and _read_rows(home, entry):
            read[entry["ref"]] = index
    found.intents, found.unused = len(asked), len(asked - set(book))
    found.differences += (
        f"entry {index}: keys were released for it, and it is not an INTENT of the log"
        for index in sorted(set(book) - asked)
    )
    # Those that were released since the book was read are in it now.
    without = set(read) - set(book) - set(home.key_store.releases() if set(read) - set(book) else ())
    found.differences += (
        f"entry {read[index]}: rows were read for entry {index}, and no key was released for it"
        for index in sorted(without)
    )
    return found


def _differences(home: Home, entry: Mapping[str, Any], actor: str, levels: Mapping[int, int]) -> Iterator[str]:
    if entry["actor"]["p"] != actor:
        yield "its keys were released to another actor"
    scope = home.recorder.resolve(entry["scope"])
    named = {int(level) for of_dataset in scope["partitions"].values() for level in of_dataset}
    if not set(levels) <= named:
        yield "keys of a sensitivity were released that it does not name"
    if sum(levels.values()) > scope["files"]:
        yield f"{sum(levels.values())} keys were released for {scope['files']} files"


def _read_rows(home: Home, entry: Mapping[str, Any]) -> bool:
    if entry["type"] != entries.OUTCOME:
        return bool(entry["rows"])
    return any(levels for levels in home.recorder.resolve(entry["touched"]).values())


def released_to(home: Home, user: str, within: Interval) -> tuple[dict[tuple[str, int, str], set[int]], int]:
    """Partitions whose DEKs were released to a user, with the numbers of employees; and the newest commit of then.

    More than those files, never fewer: a query may have needed some files of a partition only.

    Raises:
        UsageError: nothing was.
    """
    tag = home.control.actor_tag(user)
    book = home.key_store.releases()
    partitions: dict[tuple[str, int, str], set[int]] = {}
    last = None
    for index, content in home.log.entries():
        if index not in book:
            continue
        entry = parse_entry(content)
        moment = parse_timestamp(entry["ts"])
        if entry["type"] not in ASKING or entry["actor"]["p"] != tag or not within.holds(moment):
            continue
        last = moment
        for dataset, levels in home.recorder.resolve(entry["scope"])["partitions"].items():
            for level, months in levels.items():
                for month, text in months.items():
                    partitions.setdefault((dataset, int(level), month), set()).update(entries.members(text))
    if last is None:
        raise UsageError("no key was released to this user in that time", hint="check the name and the times")
    return partitions, home.upkeep.head_at(last.replace(tzinfo=None))
