"""What every operation on keys works with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from keys.changes import Changes
from keys.hierarchy import Hierarchy
from keys.keystore import Transactions
from keys.levels import PAGE
from keys.operations.backup import BackupFolder, mark_tested
from keys.operations.journal import Journal
from keys.operations.restore import restore_test
from keys.signing import NoteSigner

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Keeper:
    """The key store in an operator's hands.

    Attributes:
        folder: where the lock of key operations lies.
        fence: makes the catalog refuse commits whose keys were read before this key epoch.
        checkpoint: takes what was overwritten out of the database: of a file and its log, or of a server's tables.
        provider_files: files of a provider that has some (the local one's sealed store), for backups.
        page: KEKs of one commit of a sweep.
        snapshot_days: how long the key service keeps backups of its own; None if nobody has said.
        archive_days: how long copies and the archived log of the database's server are kept; None if nobody has said,
            and 0 for a file, which has neither.
    """

    hierarchy: Hierarchy
    database: Transactions
    changes: Changes
    journal: Journal
    signer: NoteSigner
    folder: Path
    fence: Callable[[int], None]
    checkpoint: Callable[[], None]
    provider_files: Callable[[], Mapping[str, bytes]]
    progress: Progress = lambda _: None
    page: int = PAGE
    snapshot_days: int | None = None
    archive_days: int | None = 0

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("keys are not pickled")

    def proven_backup(self, place: Path) -> tuple[str, dict[str, int]]:
        """Write a backup and open what is new in it; gives its id and what opened.

        Raises:
            KeyIntegrityError, KeyStateError: it would not open; nothing may be destroyed on the strength of it.
        """
        folder = BackupFolder(place)
        backup, changed = folder.write(self.hierarchy, self.database, self.signer, self.provider_files())
        opened = restore_test(folder, backup, self.hierarchy.provider, changed)
        mark_tested(self.database, backup.id)
        return backup.id, opened
