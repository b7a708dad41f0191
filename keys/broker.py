"""The one door out of ``keys``: a DEK for a verified receipt, or a fresh DEK with its wrap for a file being landed.

A KEK never passes. Nothing here evaluates a query, reads a row or knows a policy.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from keys import envelope
from keys.envelope import Kind
from keys.errors import KeyIntegrityError, KeyStateError, ReceiptRefusedError
from keys.hierarchy import BUCKETS, BucketRows, Hierarchy, KekName
from keys.keystore import KekRow, KeyStore
from keys.receipts import Receipt, verify_receipt
from keys.refs import DekRequest, FileBinding, KeyEvent, PartitionRef, SubjectRef, WrappedDek
from keys.signing import NoteVerifier


@dataclass(frozen=True, slots=True)
class LandingKey:
    """A fresh DEK for one attempt at one file, and the means to wrap it once the file is finished.

    Attributes:
        dek: 32 bytes, for exactly one encryption; a retry takes a new one.
        aad_prefix: 32 bytes, bound to the file's identity.
    """

    file_id: str
    dek: bytes = field(repr=False)
    aad_prefix: bytes = field(repr=False)
    wrap: Callable[[FileBinding], WrappedDek] = field(repr=False)


class Broker:
    """Hands out DEKs. One per process; safe to share between threads."""

    def __init__(
        self,
        hierarchy: Hierarchy,
        store: KeyStore,
        *,
        origin: str,
        notes: NoteVerifier,
        clock: Callable[[], datetime],
    ) -> None:
        self._hierarchy = hierarchy
        self._store = store
        self._origin = origin
        self._notes = notes
        self._clock = clock

    def take_events(self) -> list[KeyEvent]:
        """What happened to keys since the last call, for the audit log."""
        return self._hierarchy.take_events()

    def new_subjects(self, count: int) -> list[SubjectRef]:
        """Fresh pseudonyms with random buckets and the next dense numbers."""
        # 16 random bytes in base32 without padding: no case, no separators, safe in every path.
        names = [_base32(secrets.token_bytes(16)) for _ in range(count)]
        return self._store.add_subjects([(name, secrets.randbelow(BUCKETS)) for name in names])

    def landing_keys(self, partitions: Collection[PartitionRef]) -> Callable[[PartitionRef], LandingKey]:
        """A source of fresh DEKs for these partitions.

        Raises:
            KeyStateError: an employee has been erased.
        """
        subjects = self._store.subjects({partition.subject for partition in partitions})
        names = {_kek_name(partition) for partition in partitions}
        rows = self._hierarchy.ensure_keks(names, subjects)
        buckets = self._hierarchy.bucket_rows()

        def issue(partition: PartitionRef) -> LandingKey:
            return self._issue(partition, rows[_kek_name(partition)], buckets)

        return issue

    def _issue(self, partition: PartitionRef, row: KekRow, buckets: BucketRows) -> LandingKey:
        file_id = secrets.token_hex(16)
        dek = envelope.new_key()
        prefix = self.aad_prefix(partition, file_id)

        def wrap(binding: FileBinding) -> WrappedDek:
            if binding.file_id != file_id or binding.partition != partition:
                raise KeyIntegrityError("a DEK is wrapped for the file that it was made for, and no other")
            kek = self._hierarchy.open_kek(row, buckets)
            blob = envelope.seal(kek, dek, _dek_context(self._hierarchy.lake, binding, row.kek_id, row.version))
            return WrappedDek(row.kek_id, row.version, blob)

        return LandingKey(file_id, dek, prefix, wrap)

    def aad_prefix(self, partition: PartitionRef, file_id: str) -> bytes:
        """The external AAD prefix of a file, 32 bytes."""
        return envelope.aad_prefix(
            self._hierarchy.lake, partition.dataset, partition.sensitivity, partition.subject, partition.month, file_id
        )

    def anchor_size(self) -> int:
        """The size of the audit log that this broker saw last; a receipt must prove growth from there."""
        return self._store.anchor("audit")[0]

    def release(self, receipt: Receipt, requests: Sequence[DekRequest]) -> list[bytes]:
        """The DEKs of files whose partitions a fresh, unused, verified receipt names; in the order asked.

        Raises:
            ReceiptRefusedError: the receipt does not hold, was used, or does not name one of the partitions.
            KeyStateError: a key may not be used (disabled, destroyed, employee erased).
            KeyIntegrityError: a wrap does not open for the catalog's row.
        """
        now = self._clock()
        verified = verify_receipt(receipt, self._origin, self._notes, self._store.anchor("audit"), now)
        subjects = self._store.subjects({request.binding.partition.subject for request in requests})
        for request in requests:
            subject = subjects.get(request.binding.partition.subject)
            if subject is None:
                raise KeyStateError("the keys of an employee are gone", hint="the employee has been erased")
            if not verified.names(request.binding.partition, subject.number):
                raise ReceiptRefusedError("an audit receipt does not name the partition of a file")
        rows = self._store.keks({(request.wrapped.kek_id, request.wrapped.kek_version) for request in requests})
        # Used from here on: a receipt never releases twice, not even after a crash in between.
        self._store.record_release(
            verified.index, len(requests), int(now.timestamp() * 1_000_000), verified.size, verified.root
        )
        opening = _Opening(rows, self._hierarchy.bucket_rows())
        return [self._open(request, opening) for request in requests]

    def check_wrap(self, request: DekRequest) -> None:
        """Open one DEK and keep it: whether the wrap, its KEK and the catalog's row belong together.

        Raises:
            KeysError: they do not.
        """
        name = (request.wrapped.kek_id, request.wrapped.kek_version)
        self._open(request, _Opening(self._store.keks([name]), self._hierarchy.bucket_rows()))

    def _open(self, request: DekRequest, opening: _Opening) -> bytes:
        name = (request.wrapped.kek_id, request.wrapped.kek_version)
        row = opening.rows.get(name)
        if row is None:
            raise KeyStateError(f"the key of file {request.binding.file_id} is gone", hint="it was destroyed, or lost")
        partition = request.binding.partition
        if (row.subject, row.sensitivity, row.month) != _kek_name(partition):
            raise KeyIntegrityError(f"file {request.binding.file_id} names the key of another partition")
        if name not in opening.keks:
            opening.keks[name] = self._hierarchy.open_kek(row, opening.buckets)
        bound_to = _dek_context(self._hierarchy.lake, request.binding, *name)
        dek = envelope.unseal(opening.keks[name], request.wrapped.blob, bound_to)
        if len(dek) != envelope.KEY_BYTES:
            raise KeyIntegrityError(f"the key of file {request.binding.file_id} has a wrong length")
        return dek


@dataclass(slots=True)
class _Opening:
    """One release under way: the rows as they stood at its start, and the KEKs opened for it alone."""

    rows: dict[tuple[str, int], KekRow]
    buckets: BucketRows
    keks: dict[tuple[str, int], bytes] = field(default_factory=dict, repr=False)


def _kek_name(partition: PartitionRef) -> KekName:
    return partition.subject, partition.sensitivity, partition.month


def _dek_context(lake: str, binding: FileBinding, kek_id: str, kek_version: int) -> bytes:
    partition = binding.partition
    return envelope.context(
        Kind.DEK,
        lake,
        partition.dataset,
        partition.sensitivity,
        partition.subject,
        partition.month,
        kek_id,
        kek_version,
        binding.file_id,
        binding.object_key,
        binding.length,
        binding.sha256,
        binding.schema_version,
        binding.format,
        binding.format_version,
        binding.rows,
        binding.first_ts.isoformat(),
        binding.last_ts.isoformat(),
    )


def _base32(raw: bytes) -> str:
    return base64.b32encode(raw).decode().rstrip("=").lower()
