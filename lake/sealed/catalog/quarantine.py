"""Files that a scrub found damaged, until one finds them whole again: what would read them is refused as a whole.

Outside the chain, as it is no content and no boundary: without its row a damaged file still fails where it is read. The
row makes every query that needs the file fail at once, also one that would not have met the damaged bytes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from lake.errors import QuarantinedError
from lake.rules.model import DataFile
from lake.sealed.catalog import tables
from lake.sealed.catalog.database import Database
from lake.sealed.catalog.leases import Lease, check_lease
from lake.sealed.catalog.rows import chunks, microseconds, moment


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A damaged file: what is wrong with it (a word of a closed set), and since when that is known (naive UTC)."""

    file_id: str
    dataset: str
    reason: str
    since: datetime


class Quarantine:
    """The quarantine of one lake."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def judge(self, damaged: Mapping[str, str], whole: Collection[str], *, at: datetime, lease: Lease) -> None:
        """Take files in, by id with a reason, and let those go that were found whole; in one transaction.

        Raises:
            LeaseLostError: another process has taken the scrub over.
        """
        ids = sorted({*damaged, *whole})
        quarantine = tables.quarantine
        with self._database.writing() as connection:
            check_lease(connection, lease)
            since: dict[str, int] = {}
            for part in chunks(ids):
                where = quarantine.c.file_id.in_(part)
                since |= {row.file_id: row.at for row in connection.execute(sa.select(quarantine).where(where))}
                connection.execute(quarantine.delete().where(where))
            now = microseconds(at)
            rows = [
                {"file_id": file_id, "reason": reason, "at": since.get(file_id, now)}
                for file_id, reason in sorted(damaged.items())
            ]
            if rows:
                connection.execute(quarantine.insert(), rows)

    def listed(self) -> list[Quarantined]:
        """Live files in quarantine, in order of id."""
        quarantine, files = tables.quarantine.c, tables.files.c
        query = (
            sa.select(tables.quarantine, files.dataset)
            .join(tables.files, files.file_id == quarantine.file_id)
            .where(files.removed_seq.is_(None))
            .order_by(quarantine.file_id)
        )
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        return [Quarantined(row.file_id, row.dataset, row.reason, moment(row.at)) for row in rows]

    def refuse(self, dataset: str, files: Sequence[tuple[DataFile, int]]) -> None:
        """Refuse to read these files if one of them is damaged.

        Raises:
            QuarantinedError: some are; fewer rows are never given without a word.
        """
        with self._database.reading() as connection:
            held = set(connection.execute(sa.select(tables.quarantine.c.file_id)).scalars())
        count = sum(file.file_id in held for file, _ in files) if held else 0
        if count:
            raise QuarantinedError(
                f"{count} of the files of {dataset!r} that this needs are damaged",
                hint="restore them from a backup, then 'lake jobs run scrub'; 'lake jobs quarantine' names them",
                files=count,
            )
