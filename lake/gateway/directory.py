"""Employees and their pseudonyms. The entry that ties the two is sealed, and found through a keyed tag."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Collection, Mapping

from keys.broker import Broker
from keys.control import ControlKeys
from lake.errors import UnavailableError
from lake.rules.model import Subject
from lake.sealed.catalog.catalog import Catalog
from lake.sealed.catalog.chain import Head


class Directory:
    """The directory of one lake. Opened names are kept for the life of the process that may open them anyway."""

    def __init__(
        self, catalog: Catalog, control: ControlKeys, broker: Broker, advance: Callable[[Head | None], None]
    ) -> None:
        self._catalog = catalog
        self._control = control
        self._broker = broker
        self._advance = advance
        self.refuse_erased: Callable[[Collection[bytes]], None] = lambda _: None
        """Raises if one of these lookup tags is of somebody who was shredded and not admitted again."""
        self._names: dict[int, str] = {}
        self._known: dict[str, Subject] = {}

    def find(self, employees: Collection[str]) -> dict[str, Subject]:
        """Subjects of employees that the lake knows."""
        missing = [employee for employee in employees if employee not in self._known]
        tags = {self._control.lookup_tag(employee): employee for employee in missing}
        for tag, subject in self._catalog.find_employees(tags).items():
            self._known[tags[tag]] = subject
        return {employee: self._known[employee] for employee in employees if employee in self._known}

    def enter(self, employees: Collection[str]) -> dict[str, Subject]:
        """Subjects of employees, the unknown ones entered under fresh pseudonyms."""
        for _ in range(3):
            found = self.find(employees)
            new = sorted(set(employees) - set(found))
            if not new:
                return found
            self.refuse_erased([self._control.lookup_tag(employee) for employee in new])
            refs = self._broker.new_subjects(len(new))
            entries = [
                (
                    Subject(ref.subject, ref.number),
                    self._control.lookup_tag(employee),
                    self._control.seal_employee(ref.subject, employee),
                )
                for employee, ref in zip(new, refs, strict=True)
            ]
            # None: another process has entered one of them first; its pseudonym counts, ours stays unused.
            self._advance(self._catalog.add_employees(entries))
        raise UnavailableError("the directory is busy", hint="send the batch again")

    def forget(self, numbers: Collection[int]) -> None:
        """Drop what this process remembers of employees whose entries were erased."""
        gone = set(numbers)
        self._names = {number: name for number, name in self._names.items() if number not in gone}
        self._known = {name: subject for name, subject in self._known.items() if subject.number not in gone}

    def names(self, numbers: Collection[int]) -> dict[int, str]:
        """Employee ids by dense number."""
        missing = [number for number in numbers if number not in self._names]
        if missing:
            for number, (subject, sealed) in self._catalog.directory(missing).items():
                self._names[number] = self._control.open_employee(subject.id, sealed)
        return {number: self._names[number] for number in numbers if number in self._names}

    def named_in(self, names: Collection[str]) -> dict[int, bytes]:
        """Sealed entries, by number, of the employees among these names."""
        return self.entries_of([subject.number for subject in self.find(names).values()])

    def entries_of(self, numbers: Collection[int]) -> dict[int, bytes]:
        """Sealed entries by number, of those that the directory still has."""
        found = self._catalog.directory(numbers) if numbers else {}
        return {number: sealed for number, (_, sealed) in found.items()}


def pseudonyms(subjects: Mapping[int, str], key: bytes) -> dict[int, str]:
    """Per-role pseudonyms by number, from subjects' pseudonyms: ``p_`` and 16 characters, useless to another role."""
    return {
        number: "p_" + base64.b32encode(hmac.new(key, subject.encode(), hashlib.sha256).digest()[:10]).decode().lower()
        for number, subject in subjects.items()
    }
