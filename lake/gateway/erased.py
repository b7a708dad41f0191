"""Employees who were shredded: their entry in the directory is gone, and a keyed tag remembers not to enter them again.

A batch that comes late must not bring back whom the lake has forgotten. Who is hired again is admitted again, by
somebody, and gets a new pseudonym, bucket and keys.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Collection
from datetime import UTC

from keys.errors import EmployeeErasedError
from lake.errors import UsageError
from lake.gateway.collection.ledger import Ledger
from lake.gateway.home import Home
from lake.sealed.catalog import tables
from lake.sealed.catalog.erasure import erase_entries
from lake.sealed.catalog.leases import Lease
from lake.sealed.catalog.rows import microseconds

ENTRY = "directory"
"""Followed by what happened: ``directory.ask``, ``directory.erase`` or ``directory.admit``."""
ASK, ERASE, ADMIT = "ask", "erase", "admit"


class Erased:
    """Whom one lake has forgotten, by lookup tag."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._ledger = Ledger(home, tables.retention)

    def tags(self) -> set[bytes]:
        """Tags of those who were erased and not admitted again."""
        found: set[bytes] = set()
        with self._home.catalog.database.reading() as connection:
            for event in self._ledger.events(connection).events:
                if event.kind == ERASE:
                    found |= {bytes.fromhex(tag) for tag in event.document["tags"]}
                elif event.kind == ADMIT:
                    found -= {bytes.fromhex(tag) for tag in event.document["tags"]}
        return found

    def asked(self) -> list[str]:
        """Ids of the employees for whom somebody has asked to be shredded, and who have not been since."""
        waiting: set[bytes] = set()
        with self._home.catalog.database.reading() as connection:
            for event in self._ledger.events(connection).events:
                if event.kind in {ASK, ERASE}:
                    named = {bytes.fromhex(tag) for tag in event.document["tags"]}
                    waiting = waiting | named if event.kind == ASK else waiting - named
        found = self._home.catalog.find_employees(waiting)
        return sorted(self._home.directory.names([subject.number for subject in found.values()]).values())

    def ask(self, by: str, employees: Collection[str]) -> list[str]:
        """Remember that employees are to be shredded, with all others who wait; gives those that did not wait yet.

        Raises:
            UsageError: one is not known to the lake.
        """
        if self._home.directory.find(employees).keys() != set(employees):
            raise UsageError("an employee who is named is not known to the lake", hint="check the ids")
        new = sorted(set(employees) - set(self.asked()))
        if new:
            self._add(ASK, by, {self._home.control.lookup_tag(employee) for employee in new})
        return new

    def refuse(self, tags: Collection[bytes]) -> None:
        """Refuse to enter one of them.

        Raises:
            EmployeeErasedError: one was shredded.
        """
        if set(tags) & self.tags():
            raise EmployeeErasedError(
                "an employee of this batch has been erased",
                hint="who was hired again is admitted with 'lake jobs admit'",
            )

    def erase(self, by: str, numbers: Collection[int], lease: Lease | None) -> int:
        """Erase entries of the directory; gives how many were left. Remembered first, and erased then."""
        entries = self._home.catalog.directory(numbers)
        if entries:
            tags = self._home.catalog.lookups(numbers)
            if new := set(tags) - self.tags():
                self._add(ERASE, by, new)
            sys.audit("lake.step", "directory.remembered")
        self._home.advance(erase_entries(self._home.catalog, numbers, lease))
        sys.audit("lake.step", "directory.erased")
        self._home.directory.forget(numbers)
        return len(entries)

    def admit(self, by: str, employee: str) -> None:
        """Let somebody be entered afresh.

        Raises:
            UsageError: they were not erased.
        """
        tag = self._home.control.lookup_tag(employee)
        if tag not in self.tags():
            raise UsageError("this employee was not erased, or is admitted again already")
        self._add(ADMIT, by, {tag})

    def _add(self, kind: str, by: str, tags: Collection[bytes]) -> None:
        self._home.catalog.check_anchor(*self._home.key_store.anchor("catalog"))
        actor = self._home.actor(by)
        with self._home.catalog.database.writing() as connection:
            self._ledger.events(connection, writing=True)
            self._home.recorder.record(f"{ENTRY}.{kind}", actor, {"employees": len(tags)})
            at = microseconds(self._home.clock().astimezone(UTC).replace(tzinfo=None))
            document = {"by": by, "tags": sorted(tag.hex() for tag in tags)}
            _, committed = self._ledger.add(connection, kind, secrets.token_hex(16), at, document)
        committed()
