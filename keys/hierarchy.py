"""Root, bucket key, KEK: making and opening the levels above the DEKs. Open keys of these levels never leave ``keys``.

Bucket keys are cached (there are at most 1,024); KEKs are not, so that deleting one takes effect at the next query.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Collection, Mapping
from dataclasses import replace

from keys import envelope
from keys.envelope import Kind
from keys.errors import KeyIntegrityError, KeyStateError
from keys.keystore import BucketKeyRow, KekRow, KeyStore
from keys.providers import KeyProvider
from keys.refs import KeyEvent, KeyState, SubjectRef

BUCKETS = 256
SENSITIVITIES = (1, 2, 3, 4)
CONTROL_ROOT = "root-control"


def root_name(sensitivity: int) -> str:
    """The provider's key for one sensitivity; named by level so that a host can be kept away from 3 and 4."""
    return f"root-dss{sensitivity}"


ROOT_NAMES = (CONTROL_ROOT, *(root_name(level) for level in SENSITIVITIES))

KekName = tuple[str, int, str]
"""(subject, sensitivity, month)."""

BucketRows = Mapping[tuple[int, int, int], BucketKeyRow]
"""Bucket keys by (sensitivity, bucket, version)."""


class Hierarchy:
    """The key levels of one lake. Collects what happened to keys in ``events`` until the caller takes them."""

    def __init__(self, lake: str, store: KeyStore, provider: KeyProvider) -> None:
        self.lake = lake
        self._store = store
        self._provider = provider
        self._buckets: dict[tuple[bytes, bytes], bytes] = {}
        self._lock = threading.Lock()
        self._events: list[KeyEvent] = []

    def __repr__(self) -> str:
        return f"Hierarchy({self.lake!r})"

    def take_events(self) -> list[KeyEvent]:
        """What happened since the last call, for the audit log."""
        with self._lock:
            events, self._events = self._events, []
        return events

    def _note(self, action: str, kind: str, key_id: str, version: int) -> None:
        with self._lock:
            self._events.append(KeyEvent(action, kind, key_id, version))

    def _bucket_context(self, row: BucketKeyRow) -> bytes:
        root = root_name(row.sensitivity)
        return envelope.context(
            Kind.BUCKET_KEY, self.lake, row.sensitivity, row.bucket, row.version, root, row.root_version
        )

    def _kek_context(self, row: KekRow) -> bytes:
        return envelope.context(
            Kind.KEK,
            self.lake,
            row.sensitivity,
            row.bucket,
            row.bucket_version,
            row.subject,
            row.month,
            row.kek_id,
            row.version,
        )

    def _open_bucket(self, row: BucketKeyRow) -> bytes:
        """The bytes of a bucket key. Only the bytes are cached, by blob: the state is always the store's."""
        if not row.state.unwraps:
            raise KeyStateError(f"a bucket key of sensitivity {row.sensitivity} is {row.state.value}")
        bound_to = self._bucket_context(row)
        cached = self._buckets.get((row.wrapped, bound_to))
        if cached is None:
            cached = self._provider.unwrap(root_name(row.sensitivity), row.root_version, row.wrapped, bound_to)
            self._buckets[row.wrapped, bound_to] = cached
        return cached

    def bucket_rows(self) -> BucketRows:
        """Every bucket key as it stands now; read once for each release or delivery."""
        return {(row.sensitivity, row.bucket, row.version): row for row in self._store.every_bucket_key()}

    def _wrapping_bucket(self, sensitivity: int, bucket: int) -> tuple[BucketKeyRow, bytes]:
        """The bucket key that wraps new KEKs, made on first use."""
        row = self._store.bucket_key(sensitivity, bucket)
        if row is None:
            version = self._provider.describe(root_name(sensitivity)).current
            key = envelope.new_key()
            new = BucketKeyRow(sensitivity, bucket, 1, KeyState.ENABLED, version, b"")
            blob = self._provider.wrap(root_name(sensitivity), version, key, self._bucket_context(new))
            made = BucketKeyRow(sensitivity, bucket, 1, KeyState.ENABLED, version, blob)
            row = self._store.add_bucket_key(made)
            if row is made:
                self._note("create", "bucket", f"dss{sensitivity}-b{bucket:03d}", 1)
        if not row.state.wraps:
            raise KeyStateError(f"a bucket key of sensitivity {sensitivity} is {row.state.value} and does not wrap")
        return row, self._open_bucket(row)

    def ensure_keks(self, names: Collection[KekName], subjects: Mapping[str, SubjectRef]) -> dict[KekName, KekRow]:
        """The KEKs that wrap new DEKs, the missing ones made.

        Raises:
            KeyStateError: an employee has been erased or is unknown, or a key does not wrap.
        """
        for subject, _, _ in names:
            if subject not in subjects:
                raise KeyStateError("an employee of this batch has been erased", hint="no key is made for them")
        found = self._store.newest_keks(names)
        missing = sorted(set(names) - set(found))
        if missing:
            made = [self._new_kek(name, subjects[name[0]].bucket) for name in missing]
            self._store.add_keks(made)
            found = self._store.newest_keks(names)
            for kek in made:
                current = found.get((kek.subject, kek.sensitivity, kek.month))
                if current is not None and current.kek_id == kek.kek_id:
                    self._note("create", "kek", kek.kek_id, kek.version)
        if len(found) != len(set(names)):
            raise KeyStateError("a key of this batch does not wrap any more", hint="send the batch again")
        return found

    def _new_kek(self, name: KekName, bucket: int) -> KekRow:
        subject, sensitivity, month = name
        bucket_row, bucket_key = self._wrapping_bucket(sensitivity, bucket)
        row = KekRow(
            secrets.token_hex(16),
            1,
            subject,
            sensitivity,
            month,
            KeyState.ENABLED,
            bucket,
            bucket_row.version,
            b"",
        )
        blob = envelope.seal(bucket_key, envelope.new_key(), self._kek_context(row))
        return replace(row, wrapped=blob)

    def open_kek(self, row: KekRow, buckets: BucketRows) -> bytes:
        """The bytes of a KEK, for wrapping and unwrapping DEKs inside ``keys``.

        Args:
            buckets: what :meth:`bucket_rows` gave for this release or delivery.

        Raises:
            KeyStateError: the KEK or its bucket key may not unwrap.
            KeyIntegrityError: the row was changed, or belongs to another place.
        """
        if not row.state.unwraps:
            raise KeyStateError(f"the key {row.kek_id} is {row.state.value}")
        bucket = buckets.get((row.sensitivity, row.bucket, row.bucket_version))
        if bucket is None:
            raise KeyIntegrityError("a KEK names a bucket key that is not there", hint="restore the key store")
        key = self._open_bucket(bucket)
        return envelope.unseal(key, row.wrapped, self._kek_context(row))

    def verify(self) -> dict[str, int]:
        """Open every wrap under its parent.

        Returns:
            How many bucket keys and KEKs opened.
        """
        self._buckets.clear()
        rows = self.bucket_rows()
        buckets = [row for row in rows.values() if row.state.unwraps]
        for bucket in buckets:
            self._open_bucket(bucket)
        keks = [row for row in self._store.every_kek() if row.state.unwraps]
        for kek in keks:
            self.open_kek(kek, rows)
        return {"bucket_keys": len(buckets), "keks": len(keks)}
