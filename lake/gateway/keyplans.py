"""What an operation on keys is about, as an operator says it, and how much that would be. Changes nothing."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from keys.names import CONTROL_ROOT, ROOT_NAMES, root_name
from keys.rows import BucketPlace, KekScope
from lake.errors import UsageError
from lake.gateway.home import Home
from lake.sealed.audit import entries
from lake.sealed.catalog.upkeep import FileScope


@dataclass(frozen=True, slots=True)
class KeyScope:
    """What an operation is about, as an operator says it; None for all."""

    employees: frozenset[str] | None = None
    sensitivities: frozenset[int] | None = None
    months: frozenset[str] | None = None
    buckets: frozenset[int] | None = None

    def document(self) -> dict[str, Any]:
        """For the audit log and the journal: employees left out, who are named by number."""
        return {
            "sensitivities": None if self.sensitivities is None else sorted(self.sensitivities),
            "months": None if self.months is None else sorted(self.months),
            "buckets": None if self.buckets is None else sorted(self.buckets),
        }


class KeyPlans:
    """Finds and counts the keys of scopes on one opened lake."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def subjects(self, employees: Collection[str]) -> dict[str, tuple[str, int]]:
        """(pseudonym, number) of employees.

        Raises:
            UsageError: one is not known.
        """
        found = self._home.directory.find(employees)
        if len(found) != len(set(employees)):
            raise UsageError("an employee who is named is not known to the lake", hint="check the ids")
        return {name: (subject.id, subject.number) for name, subject in found.items()}

    def places(self, scope: KeyScope) -> list[BucketPlace]:
        """The bucket keys of a scope that exist."""
        wanted = None
        if scope.employees is not None:
            names = {subject for subject, _ in self.subjects(scope.employees).values()}
            wanted = {subject.bucket for subject in self._home.key_store.subjects(names).values()}
        return sorted(
            {
                row.place
                for row in self._home.key_changes.buckets()
                if (scope.sensitivities is None or row.sensitivity in scope.sensitivities)
                and (scope.buckets is None or row.bucket in scope.buckets)
                and (wanted is None or row.bucket in wanted)
            }
        )

    def kek_scope(self, scope: KeyScope) -> tuple[KekScope, dict[str, Any]]:
        """The scope by pseudonym, and the fields of an audit entry."""
        fields: dict[str, Any] = {"scope": scope.document()}
        names = None
        if scope.employees is not None:
            found = self.subjects(scope.employees)
            names = frozenset(subject for subject, _ in found.values())
            fields["emp"] = entries.bitmap(number for _, number in found.values())
        return KekScope(names, scope.sensitivities, scope.months), fields

    def plan_state(self, scope: KeyScope, *, whole_level: bool) -> dict[str, int]:
        """What :meth:`change_state` would be about: roots, employees or KEKs."""
        wanted, _ = self.kek_scope(scope)
        if whole_level:
            return {"roots": len(scope.sensitivities or ())}
        if wanted.subjects is not None and scope.sensitivities is None and scope.months is None:
            return {"employees": len(wanted.subjects)}
        return {"keks": self._home.key_changes.count_scope(wanted)}

    def count_in(self, places: Collection[BucketPlace]) -> int:
        """How many living KEKs are under some bucket keys."""
        return self._home.key_changes.count_keks(places)

    def count_files(self, scope: KeyScope) -> int:
        """How many live files the KEKs of a scope wrap the DEKs of."""
        numbers = None
        if scope.employees is not None:
            numbers = frozenset(number for _, number in self.subjects(scope.employees).values())
        return self._home.upkeep.count(FileScope(numbers, scope.sensitivities, scope.months))[0]

    def count_wraps(self, *, deks: bool) -> int:
        """How many wraps a verification opens."""
        files = self._home.catalog.counts()["files"] if deks else 0
        return self._home.key_store.counts()["keks"] + files

    def count_keks(self, scope: KeyScope) -> int:
        """How many KEKs of a scope wrap."""
        wanted, _ = self.kek_scope(scope)
        return self._home.key_changes.count_scope(wanted)

    def plan_shred(self, employees: Collection[str]) -> dict[str, int]:
        """What a shredding would destroy, what it would wrap again, and what would be unreadable."""
        found = self.subjects(employees)
        names = frozenset(subject for subject, _ in found.values())
        living = self._home.key_store.subjects(names)
        keks = self._home.key_changes.keks_of(names)
        places = {(row.sensitivity, row.bucket) for row in keks}
        numbers = {number for _, number in found.values()}
        held = [row for row in self._home.catalog.holdings() if row["number"] in numbers]
        return {
            "employees": len(living),
            "keks": len(keks),
            "bucket_keys": len(places),
            "survivors": self._home.key_changes.count_keks(places) - len(keks),
            "files": sum(row["files"] for row in held),
            "rows": sum(row["rows"] for row in held),
        }


def every_root() -> list[str]:
    """Names of the provider's keys."""
    return list(ROOT_NAMES)


def roots_of(levels: Collection[int], *, control: bool) -> list[str]:
    """The roots of some sensitivities, and of the control secrets if asked."""
    return sorted({root_name(level) for level in levels} | ({CONTROL_ROOT} if control else set()))
