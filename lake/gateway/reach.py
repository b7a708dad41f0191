"""The files behind a grant that was decided on."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from lake.gateway.home import Home
from lake.rules.model import DataFile
from lake.rules.policy import Grant, ScopeKind
from lake.sealed.catalog.catalog import Selection


def numbers_of(home: Home, employees: Collection[str]) -> frozenset[int]:
    """Numbers of the employees that the lake knows."""
    return frozenset(subject.number for subject in home.directory.find(employees).values())


def without_withheld(home: Home, grant: Grant, files: Sequence[tuple[DataFile, int]]) -> Sequence[tuple[DataFile, int]]:
    """The files without those of people whom a deny leaves out."""
    if not grant.withheld:
        return files
    hidden = {level: numbers_of(home, grant.withheld_at(level)) for level in grant.sensitivities()}
    return [(file, number) for file, number in files if number not in hidden[file.partition.sensitivity]]


def permitted_files(
    home: Home, grant: Grant, first: datetime | None = None, last: datetime | None = None
) -> Sequence[tuple[DataFile, int]]:
    """Every file that a grant opens, each with the number of its employee; times are naive UTC, inclusive."""
    everyone = grant.employees.kind is ScopeKind.ALL
    numbers = None if everyone else numbers_of(home, grant.employees.employees)
    files = home.catalog.select(Selection(grant.dataset, grant.sensitivities(), numbers, first, last))
    return without_withheld(home, grant, files)
