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

    def _wrapping_buckets(self, wanted: Collection[tuple[int, int]]) -> dict[tuple[int, int], BucketKeyRow]:
        """The bucket keys (sensitivity, bucket) that wrap new KEKs, made on first use."""
        newest: dict[tuple[int, int], BucketKeyRow] = {}
        for row in sorted(self.bucket_rows().values(), key=lambda row: row.version):
            place = (row.sensitivity, row.bucket)
            if row.state.wraps or place not in newest:
                newest[place] = row
        missing = sorted(set(wanted) - set(newest))
        if missing:
            made = [self._new_bucket_key(*place) for place in missing]
            for row, stored in zip(made, self._store.add_bucket_keys(made), strict=True):
                newest[stored.sensitivity, stored.bucket] = stored
                if stored is row:
                    self._note("create", "bucket", f"dss{row.sensitivity}-b{row.bucket:03d}", row.version)
        for place in wanted:
            if not newest[place].state.wraps:
                state = newest[place].state.value
                raise KeyStateError(f"a bucket key of sensitivity {place[0]} is {state} and does not wrap")
        return newest

    def _new_bucket_key(self, sensitivity: int, bucket: int) -> BucketKeyRow:
        root = root_name(sensitivity)
        version = self._provider.describe(root).current
        row = BucketKeyRow(sensitivity, bucket, 1, KeyState.ENABLED, version, b"")
        return replace(row, wrapped=self._provider.wrap(root, version, envelope.new_key(), self._bucket_context(row)))

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
            places = {name: (name[1], subjects[name[0]].bucket) for name in missing}
            buckets = self._wrapping_buckets(set(places.values()))
            made = [self._new_kek(name, buckets[places[name]]) for name in missing]
            self._store.add_keks(made)
            found = self._store.newest_keks(names)
            for kek in made:
                current = found.get((kek.subject, kek.sensitivity, kek.month))
                if current is not None and current.kek_id == kek.kek_id:
                    self._note("create", "kek", kek.kek_id, kek.version)
        if len(found) != len(set(names)):
            raise KeyStateError("a key of this batch does not wrap any more", hint="send the batch again")
        return found

    def _new_kek(self, name: KekName, bucket: BucketKeyRow) -> KekRow:
        subject, sensitivity, month = name
        row = KekRow(
            secrets.token_hex(16),
            1,
            subject,
            sensitivity,
            month,
            KeyState.ENABLED,
            bucket.bucket,
            bucket.version,
            b"",
        )
        blob = envelope.seal(self._open_bucket(bucket), envelope.new_key(), self._kek_context(row))
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
