"""The one door out of ``keys``: a DEK for a verified receipt, or a fresh DEK with its wrap for a file being landed.

A KEK never passes. Nothing here evaluates a query, reads a row or knows a policy.
"""

from __future__ import annotations

import base64
import secrets
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from keys import envelope
from keys.envelope import Kind
from keys.errors import (
    EmployeeErasedError,
    KeyIntegrityError,
    KeyStateError,
    OutdatedPlanError,
    ReceiptRefusedError,
)
from keys.hierarchy import TRIES, Hierarchy
from keys.keystore import KeyStore
from keys.limits import BrokerLimits
from keys.names import BUCKETS
from keys.receipts import REKEY_INTENT, Receipt, verify_receipt
from keys.refs import DekRequest, FileBinding, KeyEvent, KeyState, PartitionRef, SubjectRef, WrappedDek
from keys.rows import KekName, KekRow, KeyView
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

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("keys are not pickled")


class LandingKeys:
    """Fresh DEKs for some partitions. Keeps those that it issued, so that they can be wrapped anew after a rotation.

    Attributes:
        epoch: the oldest key epoch of any wrap made since the last renewal; the catalog refuses a commit of an older
            one than its fence.
    """

    def __init__(self, broker: Broker, partitions: Collection[PartitionRef]) -> None:
        self._broker = broker
        self._names = {_kek_name(partition) for partition in partitions}
        self._issued: dict[str, tuple[PartitionRef, bytes]] = {}
        self.renew()

    def __repr__(self) -> str:
        return f"LandingKeys({len(self._names)} partitions)"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("keys are not pickled")

    def renew(self) -> None:
        """Read the KEKs again; the caller wraps every file again.

        Raises:
            KeyStateError: an employee has been erased or disabled meanwhile.
        """
        self._view = self._broker.hierarchy.landing_view(self._names)
        self.epoch = self._view.epoch

    def __call__(self, partition: PartitionRef) -> LandingKey:
        """A fresh DEK for a file of this partition."""
        if _kek_name(partition) not in self._names:
            raise KeyStateError("a DEK was asked for another partition than those announced")
        file_id, dek = secrets.token_hex(16), envelope.new_key()
        self._issued[file_id] = (partition, dek)
        return LandingKey(file_id, dek, self._broker.aad_prefix(partition, file_id), self.wrap)

    def files(self) -> list[str]:
        """Ids of the files that DEKs were issued for."""
        return list(self._issued)

    def wrap(self, binding: FileBinding) -> WrappedDek:
        """Wrap the DEK of a finished file under the KEK as it was read last; as often as needed.

        Raises:
            KeyStateError: an employee has been erased or disabled meanwhile.
        """
        partition, dek = self._issued.get(binding.file_id, (None, b""))
        if binding.partition != partition:
            raise KeyIntegrityError("a DEK is wrapped for the file that it was made for, and no other")
        for _ in range(TRIES):
            view = self._view
            try:
                row = view.wrapping_kek(_kek_name(binding.partition))
                return self._broker.wrap_dek(view, row, dek, binding)
            except KeyStateError:
                # A parent was destroyed since it was read. Files wrapped before stay of the older epoch.
                if self._broker.hierarchy.store.epoch() == view.epoch:
                    raise
                self._view = self._broker.hierarchy.landing_view(self._names)
        raise KeyStateError("the keys of this batch change too often", hint="send the batch again")


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
        limits: BrokerLimits | None = None,
    ) -> None:
        self.hierarchy = hierarchy
        self._store = store
        self._origin = origin
        self._notes = notes
        self._clock = clock
        self._limits = limits

    def __repr__(self) -> str:
        return f"Broker({self.hierarchy.lake!r})"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("keys are not pickled")

    def take_events(self) -> list[KeyEvent]:
        """What happened to keys since the last call, for the audit log."""
        return self.hierarchy.take_events()

    def new_subjects(self, count: int) -> list[SubjectRef]:
        """Fresh pseudonyms with random buckets and the next dense numbers."""
        # 16 random bytes in base32 without padding: no case, no separators, safe in every path.
        names = [_base32(secrets.token_bytes(16)) for _ in range(count)]
        return self._store.add_subjects([(name, secrets.randbelow(BUCKETS)) for name in names])

    def landing_keys(self, partitions: Collection[PartitionRef]) -> LandingKeys:
        """A source of fresh DEKs for these partitions.

        Raises:
            KeyStateError: an employee has been erased or disabled.
        """
        return LandingKeys(self, partitions)

    def wrap_dek(self, view: KeyView, row: KekRow, dek: bytes, binding: FileBinding) -> WrappedDek:
        """Wrap a DEK for a file; for this module and the rotation of KEKs."""
        kek = self.hierarchy.open_keks(view, [row])[row.kek_id, row.version]
        blob = envelope.seal(kek, dek, dek_context(self.hierarchy.lake, binding, row.kek_id, row.version))
        return WrappedDek(row.kek_id, row.version, blob)

    def aad_prefix(self, partition: PartitionRef, file_id: str) -> bytes:
        """The external AAD prefix of a file, 32 bytes."""
        return envelope.aad_prefix(
            self.hierarchy.lake, partition.dataset, partition.sensitivity, partition.subject, partition.month, file_id
        )

    def anchor_size(self) -> int:
        """The size of the audit log that this broker saw last; a receipt must prove growth from there."""
        return self._store.anchor("audit")[0]

    def release(self, receipt: Receipt, requests: Sequence[DekRequest]) -> list[bytes]:
        """The DEKs of files whose partitions a fresh, unused, verified receipt names; in the order asked.

        Returns:
            32 bytes for each request, none for one that is ``held``.

        Raises:
            ReceiptRefusedError: the receipt does not hold, was used, or does not name one of the partitions.
            RateLimitedError: more than a limit allows; the receipt stays unused.
            OutdatedPlanError: a key was replaced or an employee erased since the plan was made: plan again.
            KeyStateError: a key may not be used: disabled or destroyed.
            KeyIntegrityError: a wrap does not open for the catalog's row.
            ProviderError: the key service did not answer.
        """
        now = self._clock()
        verified = verify_receipt(receipt, self._origin, self._notes, self._store.anchor("audit"), now)
        subjects = self._store.subjects({request.binding.partition.subject for request in requests})
        for request in requests:
            subject = subjects.get(request.binding.partition.subject)
            if subject is None:
                raise EmployeeErasedError("the keys of an employee are gone", hint="the employee has been erased")
            if not verified.names(request.binding.partition, subject.number):
                raise ReceiptRefusedError("an audit receipt does not name the partition of a file")
        # Used from here on: a receipt never releases twice, not even after a crash in between.
        self._store.record_release(
            verified.index,
            verified.actor,
            Counter(request.binding.partition.sensitivity for request in requests),
            at=int(now.timestamp() * 1_000_000),
            anchor=(verified.size, verified.root),
            limits=self._limits,
        )
        return self.open_deks(requests, compromised=verified.kind == REKEY_INTENT)

    def check_wrap(self, request: DekRequest) -> None:
        """Open one DEK and keep it: whether the wrap, its KEK and the catalog's row belong together.

        Raises:
            KeysError: they do not.
        """
        self.check_wraps([request])

    def check_wraps(self, requests: Sequence[DekRequest]) -> None:
        """The same of many files."""
        self.open_deks(requests, compromised=True, suspended=True)

    def check_open(self, requests: Sequence[DekRequest]) -> None:
        """Whether these DEKs would be given now, to who holds them already; nothing is handed out.

        Raises:
            KeysError: one would not: a key was disabled, replaced or destroyed since.
        """
        self.open_deks(requests)

    def open_deks(
        self, requests: Sequence[DekRequest], *, compromised: bool = False, suspended: bool = False
    ) -> list[bytes]:
        """DEKs without a receipt: for this module and the rotation of KEKs, never for a caller outside ``keys``.

        Args:
            compromised: under KEKs that are marked so; ``suspended``: of employees who are disabled.
        """
        names = {request.binding.partition.subject for request in requests}
        wanted = {_name_of(request.wrapped) for request in requests}
        for attempt in range(TRIES):
            view = self._store.view_of_keks(names, wanted)
            try:
                rows = self._rows_of(requests, view, suspended=suspended)
                opened = {_name_of(request.wrapped) for request in requests if not request.held}
                keks = self.hierarchy.open_keks(view, rows, compromised=compromised, only=opened)
            except KeyStateError:
                # A parent may have been retired between reading the rows and opening them: then read again.
                if attempt == TRIES - 1 or self._store.epoch() == view.epoch:
                    raise
                continue
            return [b"" if request.held else self._open(request, keks) for request in requests]
        raise KeyStateError("the keys of these files change too often", hint="try again")

    def rewrap_deks(self, requests: Sequence[DekRequest]) -> list[WrappedDek]:
        """The same DEKs under the newest KEKs of their partitions; no DEK leaves.

        Raises:
            KeyStateError, KeyIntegrityError, ProviderError: see :meth:`release`.
        """
        deks = self.open_deks(requests, compromised=True, suspended=True)
        wanted = {_kek_name(request.binding.partition) for request in requests}
        view = self.hierarchy.landing_view(wanted, suspended=True)
        rows = {name: view.wrapping_kek(name) for name in wanted}
        keks = self.hierarchy.open_keks(view, list(rows.values()))
        wrapped: list[WrappedDek] = []
        for request, dek in zip(requests, deks, strict=True):
            row = rows[_kek_name(request.binding.partition)]
            context = dek_context(self.hierarchy.lake, request.binding, row.kek_id, row.version)
            blob = envelope.seal(keks[row.kek_id, row.version], dek, context)
            wrapped.append(WrappedDek(row.kek_id, row.version, blob))
        return wrapped

    @staticmethod
    def _rows_of(requests: Sequence[DekRequest], view: KeyView, *, suspended: bool) -> list[KekRow]:
        found: dict[tuple[str, int], KekRow] = {}
        for request in requests:
            name = _name_of(request.wrapped)
            subject = view.subjects.get(request.binding.partition.subject)
            if subject is None:
                raise EmployeeErasedError("the keys of an employee are gone", hint="the employee has been erased")
            if subject.disabled and not suspended:
                raise KeyStateError("the keys of an employee are disabled", hint="'lake keys enable' lifts it")
            row = view.keks.get(name)
            if row is None or row.state is KeyState.DESTROYED:
                # After a rotation the catalog names the newer key: a new plan finds it.
                raise OutdatedPlanError(
                    f"the key of file {request.binding.file_id} is gone", hint="it was destroyed, replaced or lost"
                )
            if row.name != _kek_name(request.binding.partition):
                raise KeyIntegrityError(f"file {request.binding.file_id} names the key of another partition")
            found[name] = row
        return list(found.values())

    def _open(self, request: DekRequest, keks: Mapping[tuple[str, int], bytes]) -> bytes:
        name = _name_of(request.wrapped)
        dek = envelope.unseal(
            keks[name], request.wrapped.blob, dek_context(self.hierarchy.lake, request.binding, *name)
        )
        if len(dek) != envelope.KEY_BYTES:
            raise KeyIntegrityError(f"the key of file {request.binding.file_id} has a wrong length")
        return dek


def _name_of(wrapped: WrappedDek) -> tuple[str, int]:
    return wrapped.kek_id, wrapped.kek_version


def _kek_name(partition: PartitionRef) -> KekName:
    return partition.subject, partition.sensitivity, partition.month


def dek_context(lake: str, binding: FileBinding, kek_id: str, kek_version: int) -> bytes:
    """What the wrap of a DEK is bound to."""
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
