"""What the audit log says: who could read, which keys were released, whose rows were read. Reading it is recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any

from lake.clock import parse_timestamp
from lake.errors import UsageError
from lake.gateway.home import Home
from lake.gateway.policies import Policies
from lake.gateway.reach import permitted_files
from lake.gateway.recorder import Actor, parse_entry
from lake.rules.model import Identity
from lake.rules.policy import every_decision
from lake.sealed.audit import entries

Reach = dict[str, dict[int, set[int]]]
"""Employee numbers by dataset and sensitivity."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Times of entries, inclusive; None for no bound."""

    first: datetime | None = None
    last: datetime | None = None

    def holds(self, moment: datetime) -> bool:
        """Whether a time lies within."""
        return (self.first is None or moment >= self.first) and (self.last is None or moment <= self.last)


@dataclass(slots=True)
class Query:
    """One query as the log tells it: its INTENT, its OUTCOMEs so far."""

    index: int
    entry: dict[str, Any]
    outcomes: list[dict[str, Any]] = field(default_factory=list)

    @property
    def finished(self) -> bool:
        """Whether the last OUTCOME is there; if not, the whole scope counts as read."""
        return any(outcome["final"] for outcome in self.outcomes)


class Reports:
    """Reports over one lake's log, catalog and policies."""

    def __init__(self, home: Home, policies: Policies, actor: Actor) -> None:
        self._home = home
        self._policies = policies
        self._actor = actor

    def _recorded(self, report: str, detail: Mapping[str, Any]) -> None:
        self._home.recorder.record(entries.READ, self._actor, {"report": report}, detail)

    def _entries(self, within: Interval) -> Iterator[tuple[int, dict[str, Any]]]:
        for index, content in self._home.log.entries():
            entry = parse_entry(content)
            if within.holds(parse_timestamp(entry["ts"])):
                yield index, entry

    def _queries(self, within: Interval) -> list[Query]:
        """Queries whose INTENT lies within; their OUTCOMEs may come later."""
        found: dict[int, Query] = {}
        for index, content in self._home.log.entries():
            entry = parse_entry(content)
            if entry["type"] == entries.INTENT and within.holds(parse_timestamp(entry["ts"])):
                found[index] = Query(index, entry)
            elif entry["type"] == entries.OUTCOME and entry["ref"] in found:
                found[entry["ref"]].outcomes.append(entry)
        return list(found.values())

    def show(
        self, within: Interval, *, kind: str | None, user: str | None, details: bool, limit: int
    ) -> list[dict[str, Any]]:
        """The newest entries, oldest of them first, with the names behind pseudonyms."""
        self._recorded("show", {"kind": kind, "user": user, "details": details})
        names = self._home.actor_names()
        tag = self._home.control.actor_tag(user) if user else None
        found: list[dict[str, Any]] = []
        for index, entry in self._entries(within):
            if (kind and entry["type"] != kind) or (tag and entry["actor"]["p"] != tag):
                continue
            found.append(self._shown(index, entry, names, details=details))
        return found[-limit:]

    def _shown(self, index: int, entry: dict[str, Any], names: Mapping[str, str], *, details: bool) -> dict[str, Any]:
        shown = {
            "index": index,
            "time": entry["ts"],
            "type": entry["type"],
            "user": names.get(entry["actor"]["p"], entry["actor"]["p"]),
            "roles": entry["actor"]["roles"],
        }
        for name in (
            "purpose",
            "dataset",
            "ref",
            "out",
            "reason",
            "step",
            "rows",
            "files",
            "final",
            "dropped",
            "report",
        ):
            if name in entry:
                shown[name] = entry[name]
        if entry["type"] == entries.OUTCOME:
            reach = self._touched(entry)
            shown["employees"] = len(
                {number for levels in reach.values() for some in levels.values() for number in some}
            )
        if details:
            shown["detail"] = self._home.recorder.open_detail(entry)
        return shown

    def _touched(self, outcome: dict[str, Any]) -> Reach:
        return {
            dataset: {int(level): entries.members(part["emp"]) for level, part in levels.items()}
            for dataset, levels in self._home.recorder.resolve(outcome["touched"]).items()
        }

    def _scope(self, intent: dict[str, Any]) -> Reach:
        return {
            dataset: {
                int(level): set().union(*(entries.members(text) for text in months.values()))
                for level, months in levels.items()
            }
            for dataset, levels in self._home.recorder.resolve(intent["scope"])["partitions"].items()
        }

    def activity(self, within: Interval) -> list[dict[str, Any]]:
        """Every query and denial: who, what for, with what outcome, whose rows; oldest first."""
        self._recorded("activity", {})
        names = self._home.actor_names()
        found = [
            {
                "time": entry["ts"],
                "user": names.get(entry["actor"]["p"], entry["actor"]["p"]),
                "roles": [],
                "purpose": entry["purpose"],
                "datasets": [],
                "outcome": "deny",
                "rows": 0,
                "employees": [],
                "levels": [],
                "entry": index,
            }
            for index, entry in self._entries(within)
            if entry["type"] == entries.DENY
        ]
        for query in self._queries(within):
            reach: Reach = {} if query.finished else self._scope(query.entry)
            for outcome in query.outcomes:
                _merge(reach, self._touched(outcome))
            numbers = {number for levels in reach.values() for some in levels.values() for number in some}
            people = self._home.directory.names(numbers)
            found.append(
                {
                    "time": query.entry["ts"],
                    "user": names.get(query.entry["actor"]["p"], query.entry["actor"]["p"]),
                    "roles": sorted(set(query.entry["grants"].values())),
                    "purpose": query.entry["purpose"],
                    "datasets": sorted(query.entry["grants"]),
                    "outcome": "allow" if query.finished and query.outcomes[-1]["out"] == "allow" else "error",
                    "rows": sum(outcome["rows"] for outcome in query.outcomes),
                    "employees": sorted(people.get(number, f"erased #{number}") for number in numbers),
                    "levels": sorted({level for levels in reach.values() for level in levels}),
                    "entry": query.index,
                }
            )
        return sorted(found, key=lambda row: row["entry"])

    def dropped(self) -> dict[tuple[str, str], int]:
        """What did not land, by dataset and reason."""
        found: dict[tuple[str, str], int] = {}
        for _, entry in self._landed(Interval()):
            for reason, count in entry["dropped"].items():
                key = (entry["dataset"], reason)
                found[key] = found.get(key, 0) + count
        return found

    def blast_radius(self, user: str, within: Interval) -> dict[str, Any]:
        """What a user could read, for which files keys were released to them, and whose rows they read.

        A query without its last OUTCOME counts as having read its whole scope; such queries are also listed apart.
        """
        self._recorded("blast-radius", {"user": user})
        tag = self._home.control.actor_tag(user)
        released = self._home.key_store.releases()
        unwrapped: Reach = {}
        did: Reach = {}
        possible: Reach = {}
        open_intents: list[int] = []
        deks = rows = count = 0
        for query in self._queries(within):
            if query.entry["actor"]["p"] != tag:
                continue
            count += 1
            scope = self._scope(query.entry)
            if query.index in released:
                deks += sum(released[query.index][1].values())
                _merge(unwrapped, scope)
            for outcome in query.outcomes:
                _merge(did, self._touched(outcome))
                rows += outcome["rows"]
            if not query.finished:
                open_intents.append(query.index)
                _merge(possible, scope)
        denials = sum(
            1 for _, entry in self._entries(within) if entry["type"] == entries.DENY and entry["actor"]["p"] == tag
        )
        return {
            "user": user,
            "from": _text(within.first),
            "to": _text(within.last),
            "could": self._described(self._could(user, within)),
            "unwrapped": {**self._described(unwrapped), "keys": deks},
            "did": {**self._described(did), "rows_released": rows},
            "possibly": {**self._described(possible), "open_intents": open_intents},
            "queries": count,
            "denials": denials,
        }

    def _could(self, user: str, within: Interval) -> Reach:
        """Over every policy that was in force: the partitions that a grant of this user opened for some purpose."""
        history = self._policies.history()
        reach: Reach = {}
        for position, applied in enumerate(history):
            until = history[position + 1].applied_at.replace(tzinfo=UTC) if position + 1 < len(history) else None
            since = applied.applied_at.replace(tzinfo=UTC)
            if (within.last and since > within.last) or (within.first and until and until < within.first):
                continue
            if user not in applied.policy.users:
                continue
            principal = applied.policy.principal(Identity(user))
            for decision in every_decision(applied.policy, principal):
                for file, number in permitted_files(self._home, decision):
                    reach.setdefault(decision.dataset, {}).setdefault(file.partition.sensitivity, set()).add(number)
        return reach

    def _described(self, reach: Reach) -> dict[str, Any]:
        """Counts and, for who may open the directory, the employees."""
        everyone = {number for levels in reach.values() for numbers in levels.values() for number in numbers}
        names = self._home.directory.names(everyone)
        return {
            "employees": len(everyone),
            "by_dataset": {
                dataset: {str(level): len(numbers) for level, numbers in sorted(levels.items())}
                for dataset, levels in sorted(reach.items())
            },
            "employee_ids": sorted(names.get(number, f"erased #{number}") for number in everyone),
        }

    def subject_report(self, employee: str, within: Interval, *, identities: bool) -> dict[str, Any]:
        """For one employee: what was collected, and when, why and by which roles their rows were read.

        Names of readers are left out unless asked for: they are due to the data subject only in exceptional cases
        (CJEU C-579/21, Pankki S).

        Raises:
            UsageError: the lake does not know the employee.
        """
        subject = self._home.directory.find([employee]).get(employee)
        if subject is None:
            raise UsageError("the lake holds nothing under this employee id", hint="check the spelling")
        self._recorded("subject-report", {"employee": employee, "identities": identities})
        names = self._home.actor_names() if identities else {}
        reads: list[dict[str, Any]] = []
        for query in self._queries(within):
            levels: set[int] = set()
            for outcome in query.outcomes:
                levels |= _levels(self._touched(outcome), subject.number)
            certain = bool(levels)
            if not query.finished:
                levels |= _levels(self._scope(query.entry), subject.number)
            if levels:
                actor = query.entry["actor"]
                reads.append(
                    {
                        "time": query.entry["ts"],
                        "purpose": query.entry["purpose"],
                        "roles": sorted(set(query.entry["grants"].values())),
                        "datasets": sorted(query.entry["grants"]),
                        "sensitivities": sorted(levels),
                        "read": "yes" if certain else "possibly: the query has no final outcome",
                        "entry": query.index,
                        **({"user": names.get(actor["p"], actor["p"])} if identities else {}),
                    }
                )
        return {
            "employee": employee,
            "from": _text(within.first),
            "to": _text(within.last),
            "collected": self._collected(subject.number, within),
            "reads": reads,
        }

    def _collected(self, number: int, within: Interval) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for index, entry in self._landed(within):
            touched = self._home.recorder.resolve(entry["touched"])
            levels = [int(level) for level, part in touched.items() if number in entries.members(part["emp"])]
            if levels:
                found.append(
                    {"time": entry["ts"], "dataset": entry["dataset"], "sensitivities": levels, "entry": index}
                )
        return found

    def _landed(self, within: Interval) -> list[tuple[int, dict[str, Any]]]:
        """The announcement of every batch that the catalog holds, once.

        Not the entry after the commit: a crash can come between the two, and the batch has landed all the same.
        """
        there = self._home.catalog.batch_ids()
        found = {
            (entry["dataset"], entry["batch"]): (index, entry)
            for index, entry in self._entries(within)
            if entry["type"] == entries.BATCH and entry["step"] == "commit"
        }
        return sorted((item for batch, item in found.items() if batch in there), key=itemgetter(0))


def _merge(into: Reach, other: Reach) -> None:
    for dataset, levels in other.items():
        for level, numbers in levels.items():
            into.setdefault(dataset, {}).setdefault(level, set()).update(numbers)


def _levels(reach: Reach, number: int) -> set[int]:
    return {level for levels in reach.values() for level, numbers in levels.items() if number in numbers}


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat()
