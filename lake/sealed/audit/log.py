"""The audit log: append-only, durable before it answers, shared by processes, its every head signed.

Must never acknowledge an entry that a crash could lose, and never write again after a write has failed.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from lake.errors import AuditUnavailableError, UsageError
from lake.sealed.audit.checkpoint import Checkpoint, sign_checkpoint
from lake.sealed.audit.files import LOCK, locked, sync_directory
from lake.sealed.audit.journal import JOURNAL, write_journal
from lake.sealed.audit.merkle import EMPTY_ROOT, consistency_path, inclusion_path
from lake.sealed.audit.proofs import Receipt, verify_consistency, verify_inclusion
from lake.sealed.audit.publish import publish_tree, replace_checkpoint
from lake.sealed.audit.replica import Replica
from lake.sealed.audit.tiles import MAX_ENTRY_SIZE
from lake.sealed.audit.verify import VerifyReport, verify

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

    from lake.sealed.audit.checkpoint import CheckpointSigner, NoteOpener

__all__ = ["AuditLog", "VerifyReport", "verify"]


class AuditLog:
    """One log in one folder. Objects may be shared by threads; processes each open their own.

    Every call first takes in what other processes have appended, and checks it against its signed heads.
    """

    def __init__(self, root: Path, origin: str, *, signer: CheckpointSigner | None, opener: NoteOpener) -> None:
        """Use `open`, which also checks what is stored."""
        self._root = root
        self._origin = origin
        self._signer = signer
        self._opener = opener
        self._failed = False
        self._mutex = threading.RLock()
        self._replica = Replica(root, origin, opener, writable=signer is not None)

    @classmethod
    def create(cls, root: Path, signer: CheckpointSigner) -> None:
        """Makes an empty log in the folder `root`, which may exist; `open` then opens it.

        Raises:
            UsageError: there is a log already.
            AuditUnavailableError: the folder cannot be written, or the signer does not sign.
        """
        empty = Checkpoint(signer.name, 0, EMPTY_ROOT)
        try:
            note = signer.sign(empty.to_text())
        except Exception:  # noqa: BLE001 the port may raise anything, and its text may quote secrets
            raise AuditUnavailableError("the audit log's checkpoint could not be signed") from None
        try:
            root.mkdir(parents=True, exist_ok=True)
            sync_directory(root.parent)
            (root / LOCK).touch()
            with locked(root, exclusive=True):
                if (root / JOURNAL).exists():
                    raise UsageError("the folder already holds an audit log", hint="open it")
                replace_checkpoint(root, note)
                # The journal comes last: a folder without one holds no log yet.
                write_journal(root, [], note)
        except OSError:
            raise AuditUnavailableError("the audit log cannot be created", hint="check folder and disk") from None

    @classmethod
    def open(cls, root: Path, origin: str, *, signer: CheckpointSigner | None, opener: NoteOpener) -> Self:
        """Opens the log, replaying and checking its journal; without a signer it is read only.

        With a signer, a commit that a crash cut off is removed and full bundles it left undone are written.

        Raises:
            IntegrityError: what is stored is not what was signed.
            AuditUnavailableError: there is no log, or its files cannot be read or written.
            UsageError: the signer signs for another log.
        """
        if signer is not None and signer.name != origin:
            raise UsageError("the signer's name is not the log's origin", hint="use the key of this log")
        try:
            log = cls(root, origin, signer=signer, opener=opener)
        except OSError:
            raise _unreadable() from None
        try:
            if signer is None:
                with log._reading(), locked(root, exclusive=False):
                    log._replica.refresh()
                    log._replica.check_published()
            else:
                with log._writing():
                    # Before anything is cut off: a tail that was published is not a commit that a crash cut off.
                    log._replica.check_published()
                    log._replica.cut_tail()
                    log._replica.seal()
        except BaseException:
            log._replica.close()
            raise
        return log

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def size(self) -> int:
        """The number of entries."""
        with self._reading():
            return self._replica.tree.size

    @property
    def root_hash(self) -> bytes:
        """The 32-byte root of all entries."""
        with self._reading():
            return self._replica.tree.root()

    def root_at(self, size: int) -> bytes:
        """The 32-byte root of the first `size` entries."""
        with self._reading():
            _check_range(size, self._replica.tree.size)
            return self._replica.tree.root(size)

    def head(self) -> str:
        """The newest signed checkpoint."""
        with self._reading():
            return self._replica.note

    def append(self, entries: Sequence[bytes]) -> range:
        """Adds entries of 1 to 65,535 bytes in one commit; they are on disk when this returns their indices.

        Raises:
            UsageError: an entry is empty or too long; nothing was added.
            AuditUnavailableError: the entries are not acknowledged. After a failed write the log stays read only
                until it is opened anew, which shows whether all of them or none were recorded.
            IntegrityError: the files are not what was signed.
        """
        for position, entry in enumerate(entries):
            if not 1 <= len(entry) <= MAX_ENTRY_SIZE:
                message = f"entry {position} of the commit has {len(entry)} bytes"
                raise UsageError(message, hint=f"an entry has 1 to {MAX_ENTRY_SIZE} bytes")
        with self._writing() as signer:
            start = self._replica.tree.size
            if entries:
                added = [bytes(entry) for entry in entries]
                after = self._replica.tree.preview(added)
                note = sign_checkpoint(Checkpoint(self._origin, after.size, after.root()), signer, self._opener)
                self._replica.append(added, note)
            self._replica.seal()
            return range(start, start + len(entries))

    def check_writable(self) -> None:
        """Whether entries can be added, as far as is known without adding one.

        Raises:
            AuditUnavailableError: a write has failed, or the log was opened to be read.
        """
        with self._mutex:
            if self._signer is None or self._failed:
                raise _read_only()

    def entry(self, index: int) -> bytes:
        """The entry at `index`, checked against the signed root."""
        with self._reading():
            _check_range(index, self._replica.tree.size - 1)
            start, chunk = self._replica.chunk(index)
            return chunk[index - start]

    def entries(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, bytes]]:
        """Index and entry of each from `start` to before `stop` (default: the size now), checked as `entry` does."""
        with self._reading():
            end = self._replica.tree.size if stop is None else stop
            _check_range(end, self._replica.tree.size)
            _check_range(start, end)
        while start < end:
            with self._reading():
                first, chunk = self._replica.chunk(start)
                wanted = chunk[start - first : end - first]
            yield from enumerate(wanted, start)
            start += len(wanted)

    def inclusion_proof(self, index: int, size: int | None = None) -> list[bytes]:
        """The RFC 6962 audit path of the entry in the tree of `size` entries (default: all), checked."""
        with self._reading():
            end = self._replica.tree.size if size is None else size
            _check_range(end, self._replica.tree.size)
            _check_range(index, end - 1)
            proof = inclusion_path(index, end, self._replica.tree.node)
            verify_inclusion(self._replica.tree.node(0, index), index, end, proof, self._replica.tree.root(end))
            return proof

    def consistency_proof(self, old_size: int, new_size: int | None = None) -> list[bytes]:
        """The RFC 6962 proof that the tree of `new_size` entries (default: all) extends that of `old_size`, checked."""
        with self._reading():
            end = self._replica.tree.size if new_size is None else new_size
            _check_range(end, self._replica.tree.size)
            _check_range(old_size, end)
            proof = consistency_path(old_size, end, self._replica.tree.node)
            verify_consistency(old_size, self._replica.tree.root(old_size), end, self._replica.tree.root(end), proof)
            return proof

    def receipt(self, index: int) -> str:
        """The C2SP tlog-proof that the entry is in the newest signed tree."""
        with self._reading():
            _check_range(index, self._replica.tree.size - 1)
            proof = inclusion_path(index, self._replica.tree.size, self._replica.tree.node)
            verify_inclusion(
                self._replica.tree.node(0, index), index, self._replica.tree.size, proof, self._replica.tree.root()
            )
            return Receipt(index, tuple(proof), self._replica.note).to_text()

    def publish(self) -> None:
        """Writes what clients of tlog-tiles need for the newest checkpoint, and then that checkpoint."""
        with self._writing():
            self._replica.check_published()
            self._replica.seal()
            publish_tree(self._root, self._replica.tree, self._replica.note, published=self._replica.published)
            self._replica.published = self._replica.tree.size

    def close(self) -> None:
        """Publishes what is not published yet, unless read only or failed, and closes the files."""
        with self._mutex:
            try:
                if self._signer is not None and not self._failed and self.size != self._replica.published:
                    self.publish()
            finally:
                self._failed = True
                self._replica.close()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with self._mutex:
            try:
                if not self._failed and not self._replica.is_level():
                    with locked(self._root, exclusive=False):
                        self._replica.refresh()
                yield
            except OSError:
                # Refreshing syncs too, so a writer must not go on; a reader may try again.
                self._failed = self._signer is not None
                raise _unreadable() from None

    @contextmanager
    def _writing(self) -> Iterator[CheckpointSigner]:
        with self._mutex:
            if self._signer is None or self._failed:
                raise _read_only()
            try:
                with locked(self._root, exclusive=True):
                    self._replica.refresh()
                    yield self._signer
            except OSError:
                # A failed sync may have dropped the pages: trying again could report success for lost bytes.
                self._failed = True
                raise AuditUnavailableError(
                    "the audit log cannot be written", hint="check disk space and permissions, and open the log anew"
                ) from None


def _check_range(value: int, most: int) -> None:
    if not 0 <= value <= most:
        raise UsageError(f"{value} is not within the log", hint=f"the largest possible value is {most}")


def _read_only() -> AuditUnavailableError:
    return AuditUnavailableError("the audit log is read only", hint="check the disk and open the log anew")


def _unreadable() -> AuditUnavailableError:
    return AuditUnavailableError("the audit log cannot be read", hint="check the folder, its files and permissions")
