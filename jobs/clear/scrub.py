"""Scrub, the part that needs keys: every wrap against its row, every module of every file against its AEAD tag.

All columns of all row groups are decoded, and nothing is done with the rows but to count them and to look at their
times. No SQL is evaluated.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from jobs.clear.compact_merge import rows_of
from jobs.clear.exchange import Opened, concluded, opened
from jobs.clear.stored import StoredContracts
from jobs.sealed.scrub import Found, Page, Scrub, object_problem
from jobs.sealed.scrub_pace import Pace
from keys.errors import KeyIntegrityError, KeyStateError
from lake.clear.arrow_schema import stored_schema
from lake.clear.reading.plan import FileToRead
from lake.errors import IntegrityError
from lake.gateway.home import Home
from lake.gateway.kek_rotation import dek_request
from lake.gateway.recorder import Actor
from lake.rules.model import TIME_COLUMN, DataFile, month_of

WRAP, MODULE, ROWS = "wrap", "module", "rows"
"""What else may be wrong: its key does not open for its row; a module does not authenticate; its rows are others."""
BATCH_ROWS = 122_880


class ScrubFiles(Scrub):
    """Everything: objects, catalog, wraps, modules, rows."""

    name: ClassVar[str] = "scrub"

    def __init__(self, home: Home, actor: Actor, *, sample: float = 1.0, rate: float | None = None) -> None:
        super().__init__(home, actor, sample=sample, rate=rate)
        self._contracts = StoredContracts(self.home)

    def _checked(self, page: Page, pace: Pace) -> Found:
        found = Found(files=len(page), bytes=sum(file.length for file, _ in page))
        for file, _ in page:
            problem = object_problem(self.home, file, pace)
            if problem:
                found.damaged[file.file_id] = problem
        rest = self._wraps([item for item in page if item[0].file_id not in found.damaged], found)
        if rest:
            self._modules(rest, found, pace)
        return found

    def _wraps(self, page: Page, found: Found) -> Page:
        """The files whose wraps open; what only cannot be opened now is unchecked."""
        if self._wrap_problem(page) == "":
            return page
        good: list[tuple[DataFile, int]] = []
        for item in page:
            problem = self._wrap_problem([item])
            if problem == "":
                good.append(item)
            elif problem == WRAP:
                found.damaged[item[0].file_id] = WRAP
            else:
                found.unchecked += 1
        return good

    def _wrap_problem(self, page: Page) -> str | None:
        """Empty if the wraps open, ``wrap`` if one does not, None if that cannot be told now."""
        try:
            self.home.broker.check_wraps([dek_request(file) for file, _ in page])
        except KeyIntegrityError:
            return WRAP
        except KeyStateError:
            # Rotated, replaced or erased since the page was read; a key that is gone for good is a damage.
            still = self.home.upkeep.live([file.file_id for file, _ in page])
            return WRAP if len(page) == 1 and still == list(page) else None
        return ""

    def _modules(self, page: Page, found: Found, pace: Pace) -> None:
        try:
            of_page = opened(self.home, self.actor, "scrub", page)
        except KeyStateError:
            if len(page) == 1:
                found.unchecked += 1  # suspended or compromised: its modules are not looked at
                return
            for item in page:
                self._modules([item], found, pace)
            return
        rows = self._decoded(of_page, page, found, pace)
        damaged = sum(file.file_id in found.damaged for file, _ in page)
        fields = {"files": len(page), "rows": rows, "changed": False, "damaged": damaged}
        concluded(self.home, self.actor, "scrub", of_page.intent, fields)

    def _decoded(self, of_page: Opened, page: Page, found: Found, pace: Pace) -> int:
        total = 0
        for source, (file, _) in zip(of_page.files, page, strict=True):
            rows, problem = self._file(source, file)
            total += rows
            pace.read(file.length)
            if problem:
                found.damaged[file.file_id] = problem
            else:
                found.whole.append(file.file_id)
        found.rows += total
        return total

    def _file(self, source: FileToRead, file: DataFile) -> tuple[int, str]:
        """Rows decoded, and what is wrong."""
        rows = 0
        bounds: list[datetime] = []
        last: datetime | None = None
        sorted_by_time = True
        schema = stored_schema(self._contracts.get(file.partition.dataset, file.schema_version))
        try:
            for batch in rows_of(source, self.home.objects.location(), schema, BATCH_ROWS):
                times = batch.column(TIME_COLUMN)
                rows += batch.num_rows
                if times.null_count:
                    return rows, ROWS
                first, final = pc.min_max(times).as_py().values()
                sorted_by_time &= (last is None or last <= first) and _ascending(times)
                last = final
                bounds += (first, final)
        except IntegrityError:
            return rows, MODULE
        months = {month_of(moment) for moment in bounds}
        wanted = (file.rows, file.first_ts, file.last_ts)
        if not bounds or (rows, min(bounds), max(bounds)) != wanted or months != {file.partition.month}:
            return rows, ROWS
        return rows, "" if sorted_by_time else ROWS


def _ascending(times: pa.Array) -> bool:
    values = times.cast(pa.int64()).to_numpy(zero_copy_only=False)
    return bool((values[1:] >= values[:-1]).all())
