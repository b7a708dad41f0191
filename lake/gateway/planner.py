"""From a grant and a query's own bounds to the files that may be opened: nothing else is ever asked a key for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import pyarrow as pa

from keys.refs import DekRequest, FileBinding, PartitionRef, WrappedDek
from lake.clear.arrow_schema import stored_schema
from lake.clear.reading.plan import SUBJECT_COLUMN, FileToRead, SealedPlan
from lake.clear.sandbox.constraints import TableConstraints
from lake.gateway.directory import pseudonyms
from lake.gateway.home import Home
from lake.gateway.reach import numbers_of, without_withheld
from lake.rules.contract import Contract
from lake.rules.model import (
    EMPLOYEE_COLUMN,
    SENSITIVITY_COLUMN,
    TIME_COLUMN,
    TYPE_COLUMN,
    DataFile,
    Principal,
)
from lake.rules.policy import EmployeeForm, Grant, scope_employees
from lake.sealed.audit import entries
from lake.sealed.catalog.catalog import Selection

MOST_OF_SHORT = 512
"""Characters of a text that may be expected to repeat: names of things. Longer ones are what people write."""


@dataclass(frozen=True, slots=True)
class Planned:
    """What one dataset of a query needs: its grant, and files each with the number of its employee.

    Attributes:
        first, last: the grant's window on capture times, inclusive, None where it bounds no row of the files.
        needed: within the window, the earliest and the latest capture time that the query can need.
    """

    grant: Grant
    contract: Contract
    files: Sequence[tuple[DataFile, int]]
    first: datetime | None
    last: datetime | None
    needed: tuple[datetime | None, datetime | None] = (None, None)

    def requests(self, *, held: bool = False) -> list[DekRequest]:
        """The DEKs to ask for, in the order of the files; ``held`` if their rows are in memory."""
        return [
            DekRequest(binding(file), WrappedDek(file.kek_id, file.kek_version, file.wrapped_dek), held)
            for file, _ in self.files
        ]

    def only(self, files: frozenset[str]) -> Planned:
        """The same with some of the files alone."""
        return replace(self, files=[(file, number) for file, number in self.files if file.file_id in files])

    def scope(self) -> dict[str, dict[str, str]]:
        """Employees by sensitivity and month, for the INTENT entry."""
        found: dict[str, dict[str, set[int]]] = {}
        for file, number in self.files:
            months = found.setdefault(str(file.partition.sensitivity), {})
            months.setdefault(file.partition.month, set()).add(number)
        return {
            level: {month: entries.bitmap(numbers) for month, numbers in months.items()}
            for level, months in found.items()
        }


def binding(file: DataFile) -> FileBinding:
    """What the DEK of a catalog row must be bound to."""
    return FileBinding(
        partition=_partition(file),
        file_id=file.file_id,
        object_key=file.object_key,
        format=file.format,
        format_version=file.format_version,
        schema_version=file.schema_version,
        length=file.length,
        sha256=file.sha256,
        rows=file.rows,
        first_ts=file.first_ts,
        last_ts=file.last_ts,
    )


def _partition(file: DataFile) -> PartitionRef:
    partition = file.partition
    return PartitionRef(partition.dataset, partition.subject, partition.sensitivity, partition.month)


class Planner:
    """Prunes by the catalog."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def plan(
        self, grant: Grant, contract: Contract, principal: Principal, bounds: TableConstraints, now: datetime
    ) -> Planned:
        """The permitted files that the query can need."""
        first, last = grant.window.bounds(now)
        levels = grant.sensitivities()
        if bounds.sensitivities is not None and SENSITIVITY_COLUMN in grant.columns:
            levels &= bounds.sensitivities
        wanted_first, wanted_last = first, last
        if TIME_COLUMN in grant.columns and TIME_COLUMN not in grant.masks:
            # A masked time compares otherwise than the stored one, so only an unmasked one may prune.
            wanted_first = max(filter(None, (first, bounds.time_from)), default=None)
            wanted_last = min(filter(None, (last, bounds.time_to)), default=None)
        numbers = self._numbers(grant, principal, bounds)
        if not levels or numbers == frozenset():
            return Planned(grant, contract, (), first, last)
        selection = Selection(grant.dataset, levels, numbers, wanted_first, wanted_last)
        files = without_withheld(self._home, grant, self._home.catalog.select(selection))
        self._home.quarantine.refuse(grant.dataset, files)
        if all(first is None or first <= file.first_ts for file, _ in files):
            first = None
        if all(last is None or file.last_ts <= last for file, _ in files):
            last = None
        return Planned(grant, contract, files, first, last, (wanted_first, wanted_last))

    def _numbers(self, grant: Grant, principal: Principal, bounds: TableConstraints) -> frozenset[int] | None:
        (purpose,) = grant.purposes  # of a grant that was decided on
        employees = scope_employees(grant, principal, purpose)
        if grant.employee_form is EmployeeForm.REAL and bounds.employees is not None:
            employees = bounds.employees if employees is None else employees & bounds.employees
        return None if employees is None else numbers_of(self._home, employees)

    def seal(
        self, planned: Planned, deks: Sequence[bytes], principal: Principal, purpose: str, now: datetime
    ) -> SealedPlan:
        """The plan that reading gets: files with their DEKs, columns, masks, filter."""
        grant = planned.grant
        key = self._home.control.pseudonym_key(grant.role, purpose)
        labels = self._labels(planned, key)
        stored = stored_schema(planned.contract)
        files = tuple(
            to_read(self._home, file, number, dek, labels.get(number))
            for (file, number), dek in zip(planned.files, deks, strict=True)
        )
        return SealedPlan(
            dataset=grant.dataset,
            location=self._home.objects.location(),
            files=files,
            schema=slice_schema(grant, stored),
            stored=stored.append(pa.field(SENSITIVITY_COLUMN, pa.int8())),
            masks=grant.masks,
            row_filter=grant.row_filter,
            attributes=dict(principal.attributes),
            now=now,
            first=planned.first,
            last=planned.last,
            mask_key=key,
            coded=short_texts(planned.contract),
        )

    def _labels(self, planned: Planned, key: bytes) -> Mapping[int, str]:
        numbers = {number for _, number in planned.files}
        match planned.grant.employee_form:
            case EmployeeForm.REAL:
                return self._home.directory.names(numbers)
            case EmployeeForm.PSEUDONYM:
                return pseudonyms({number: file.partition.subject for file, number in planned.files}, key)
            case EmployeeForm.ABSENT:
                return {}


def short_texts(contract: Contract) -> frozenset[str]:
    """Columns of text whose values repeat: the employee's, the type's, and the fields that the contract keeps short."""
    short = {
        field.name for field in contract.fields.values() if (field.max_length or MOST_OF_SHORT + 1) <= MOST_OF_SHORT
    }
    return frozenset({EMPLOYEE_COLUMN, TYPE_COLUMN} | short)


def slice_schema(grant: Grant, stored: pa.Schema) -> pa.Schema:
    """The same as a query is run over: with what tells people apart, where a grant shows groups alone."""
    shown = visible_schema(grant, stored)
    return shown if grant.smallest_group is None else shown.append(pa.field(SUBJECT_COLUMN, pa.int32()))


def visible_schema(grant: Grant, stored: pa.Schema) -> pa.Schema:
    """Columns of a table as its reader sees them, with types."""
    types: dict[str, Any] = {field.name: field.type for field in stored}
    types |= {SENSITIVITY_COLUMN: pa.int8(), EMPLOYEE_COLUMN: pa.string()}
    return pa.schema([pa.field(name, types[name]) for name in grant.visible_columns()])


def to_read(home: Home, file: DataFile, number: int, dek: bytes, label: str | None = None) -> FileToRead:
    """A file with what reading needs of it; ``label`` is its employee as a grant shows them."""
    return FileToRead(
        file_id=file.file_id,
        object_key=file.object_key,
        format=file.format,
        format_version=file.format_version,
        length=file.length,
        rows=file.rows,
        number=number,
        label=label,
        sensitivity=file.partition.sensitivity,
        dek=dek,
        aad_prefix=home.broker.aad_prefix(_partition(file), file.file_id),
    )
