"""Root, bucket key, KEK: making and opening the levels above the DEKs. Open keys of these levels never leave ``keys``.

Bucket keys are cached for minutes (cache.py); KEKs are not, so that destroying one takes effect at the next query.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from keys import envelope
from keys.cache import KeyCache
from keys.errors import CompromisedKeyError, KeyIntegrityError, KeyStateError, StaleKeyError
from keys.keystore import KeyStore, check_subjects
from keys.names import bucket_context, bucket_id, bucket_row_context, kek_context, root_name
from keys.providers import KeyProvider, KeyToWrap, WrappedKey
from keys.refs import KeyEvent, KeyState
from keys.rows import BucketKeyRow, BucketPlace, KekName, KekRow, KeyView

TRIES = 10
"""How often a key that was retired meanwhile is read again."""


class Hierarchy:
    """The key levels of one lake. Collects what happened to keys until the caller takes it."""

    def __init__(
        self,
        lake: str,
        store: KeyStore,
        provider: KeyProvider,
        *,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.lake = lake
        self.store = store
        self.provider = provider
        self._clock = clock
        self._cache = KeyCache(monotonic)
        self._lock = threading.Lock()
        self._events: list[KeyEvent] = []

    def __repr__(self) -> str:
        return f"Hierarchy({self.lake!r})"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("keys are not pickled")

    def now(self) -> int:
        """Microseconds since 1970."""
        return int(self._clock().timestamp() * 1_000_000)

    def take_events(self) -> list[KeyEvent]:
        """What happened since the last call, for the audit log."""
        with self._lock:
            events, self._events = self._events, []
        return events

    def note(self, action: str, kind: str, key_id: str, version: int) -> None:
        """Something happened to a key."""
        with self._lock:
            self._events.append(KeyEvent(action, kind, key_id, version))

    def forget(self) -> None:
        """Drop every open key."""
        self._cache.clear()

    def open_buckets(self, view: KeyView, rows: Iterable[BucketKeyRow]) -> dict[tuple[int, int, int], bytes]:
        """Bucket keys by (sensitivity, bucket, version); those not held are unwrapped in one batch a level.

        Raises:
            KeyStateError: a bucket key or its root may not unwrap.
        """
        return self.open_parents(view.roots, view.epoch, rows)

    def open_parents(
        self, roots: Mapping[tuple[str, int], KeyState], epoch: int, rows: Iterable[BucketKeyRow]
    ) -> dict[tuple[int, int, int], bytes]:
        """The same for a sweep, which has read its rows already."""
        self._cache.follow(epoch)
        opened: dict[tuple[int, int, int], bytes] = {}
        missing: dict[int, list[BucketKeyRow]] = {}
        for row in rows:
            self._check_bucket(roots, row)
            key = self._cache.get(row.wrapped, bucket_row_context(self.lake, row))
            if key is None:
                missing.setdefault(row.sensitivity, []).append(row)
            else:
                opened[row.sensitivity, row.bucket, row.version] = key
        for level, wanted in missing.items():
            items = [WrappedKey(row.root_version, row.wrapped, bucket_row_context(self.lake, row)) for row in wanted]
            keys = self._unwrapped(root_name(level), items)
            for row, item, key in zip(wanted, items, keys, strict=True):
                self._cache.put(epoch, item.blob, item.bound_to, key)
                opened[row.sensitivity, row.bucket, row.version] = key
        return opened

    def _unwrapped(self, root: str, items: Sequence[WrappedKey]) -> list[bytes]:
        try:
            return self.provider.unwrap(root, items)
        except KeyIntegrityError:
            # What another provider has wrapped is no damage: this process still holds the one of before.
            if self.store.provider() == self.provider.kind:
                raise
            raise KeyStateError(
                "the keys of this lake have been moved to another provider", hint="start this process again"
            ) from None

    @staticmethod
    def _check_bucket(roots: Mapping[tuple[str, int], KeyState], row: BucketKeyRow) -> None:
        if not row.state.unwraps:
            raise KeyStateError(f"the bucket key {bucket_id(*row.place)} is {row.state.value}")
        root = roots.get((root_name(row.sensitivity), row.root_version))
        if root is None or not root.unwraps:
            state = "unknown" if root is None else root.value
            raise KeyStateError(f"the root key of sensitivity {row.sensitivity} is {state}")

    def open_keks(
        self,
        view: KeyView,
        rows: Collection[KekRow],
        *,
        compromised: bool = False,
        only: Collection[tuple[str, int]] | None = None,
    ) -> dict[tuple[str, int], bytes]:
        """KEKs by (id, version), for wrapping and unwrapping DEKs inside ``keys``.

        Args:
            compromised: open those marked as compromised too: for re-encryption only.
            only: open these alone; of all, whether they may be opened is checked.

        Raises:
            KeyStateError: a KEK, its bucket key or its root may not unwrap.
            KeyIntegrityError: a row was changed, or belongs to another place.
        """
        parents: dict[tuple[int, int, int], BucketKeyRow] = {}
        for row in rows:
            if row.state is KeyState.COMPROMISED:
                if not compromised:
                    raise CompromisedKeyError(
                        f"the key {row.kek_id} is marked as compromised", hint="its files are being put under another"
                    )
            elif not row.state.unwraps:
                raise KeyStateError(f"the key {row.kek_id} is {row.state.value}")
            place = (row.sensitivity, row.bucket, row.bucket_version)
            if place not in view.buckets:
                raise KeyIntegrityError("a KEK names a bucket key that is not there", hint="restore the key store")
            parents[place] = view.buckets[place]
        buckets = self.open_buckets(view, parents.values())
        return {
            (row.kek_id, row.version): envelope.unseal(
                buckets[row.sensitivity, row.bucket, row.bucket_version], row.wrapped, kek_context(self.lake, row)
            )
            for row in rows
            if only is None or (row.kek_id, row.version) in only
        }

    def landing_view(self, names: Collection[KekName], *, suspended: bool = False) -> KeyView:
        """The keys that wrap new DEKs of these partitions, the missing ones made.

        Args:
            suspended: of disabled employees too; see check_subjects.

        Raises:
            KeyStateError: an employee has been erased or is disabled, or a key does not wrap.
        """
        for _ in range(TRIES):
            view = self.store.view_of_partitions(names)
            check_subjects({subject for subject, _, _ in names}, view.subjects, suspended=suspended)
            missing = sorted(name for name in set(names) if not view.has_wrapping(name))
            if not missing:
                return view
            # A month whose key was destroyed never gets another one.
            if any(row.name in set(missing) for row in view.keks.values()):
                raise KeyStateError("a key of this batch is disabled or destroyed", hint="see 'lake keys status'")
            try:
                self._make_keks(view, missing)
            except KeyStateError as error:
                # A parent may have been replaced since it was read: then read again.
                if not isinstance(error, StaleKeyError) and self.store.epoch() == view.epoch:
                    raise
        raise StaleKeyError("the keys of this batch change too often", hint="send the batch again")

    def _make_keks(self, view: KeyView, missing: Collection[KekName]) -> None:
        places = {name: (name[1], view.subjects[name[0]].bucket) for name in missing}
        newest = self._wrapping_buckets(view, set(places.values()))
        if newest is None:
            return  # bucket keys had to be made: read again
        opened = self.open_buckets(view, newest.values())
        made = [self._new_kek(name, newest[places[name]], opened) for name in missing]
        self.store.add_keks(made)
        # Another process may have been first: only what was stored has happened.
        stored = self.store.view_of_partitions(missing).keks
        for kek in made:
            if (kek.kek_id, kek.version) in stored:
                self.note("create", "kek", kek.kek_id, kek.version)

    def _wrapping_buckets(
        self, view: KeyView, places: Collection[BucketPlace]
    ) -> dict[BucketPlace, BucketKeyRow] | None:
        """The bucket keys that wrap new KEKs; None if some had to be made first."""
        newest: dict[BucketPlace, BucketKeyRow] = {}
        for row in sorted(view.buckets.values(), key=lambda row: row.version):
            newest[row.place] = row
        missing = sorted(set(places) - set(newest))
        for level in sorted({level for level, _ in missing}):
            self._make_buckets(view, level, [place for place in missing if place[0] == level])
        if missing:
            return None
        for place in places:
            if not newest[place].state.wraps:
                state = newest[place].state.value
                raise KeyStateError(f"the bucket key {bucket_id(*place)} is {state} and does not wrap")
        return {place: newest[place] for place in places}

    def _make_buckets(self, view: KeyView, level: int, places: Collection[BucketPlace]) -> None:
        root = root_name(level)
        version = enabled_root(view.roots, root)
        try:
            made = self.new_bucket_keys(root, version, [(*place, 1) for place in places])
        except KeyStateError:
            self._follow_root(root, version)
            raise
        self.store.add_bucket_keys(made, root)
        for row in made:
            self.note("create", "bucket", bucket_id(*row.place), row.version)

    def _follow_root(self, root: str, version: int) -> None:
        """A rotation that runs, or was cut off, has made the next version and not said so yet: say it."""
        current = self.provider.describe(root).current
        if current == version + 1:
            self.store.adopt_root(root, current, self.now())

    def new_bucket_keys(
        self, root: str, root_version: int, names: Collection[tuple[int, int, int]]
    ) -> list[BucketKeyRow]:
        """Fresh bucket keys (sensitivity, bucket, version), wrapped, opened again to prove it, not yet stored."""
        items = [KeyToWrap(envelope.new_key(), bucket_context(self.lake, *name)) for name in names]
        blobs = self.provider.wrap(root, root_version, items)
        wrapped = [WrappedKey(root_version, blob, item.bound_to) for blob, item in zip(blobs, items, strict=True)]
        opened = self.provider.unwrap(root, wrapped)
        if any(not envelope.same(key, item.key) for key, item in zip(opened, items, strict=True)):
            raise KeyIntegrityError("the provider did not give back the key that it wrapped")
        now = self.now()
        return [
            BucketKeyRow(*name, KeyState.ENABLED, root_version, blob, now)
            for name, blob in zip(names, blobs, strict=True)
        ]

    def _new_kek(self, name: KekName, bucket: BucketKeyRow, opened: Mapping[tuple[int, int, int], bytes]) -> KekRow:
        subject, sensitivity, month = name
        kek_id = secrets.token_hex(16)
        row = KekRow(
            kek_id, 1, subject, sensitivity, month, KeyState.ENABLED, bucket.bucket, bucket.version, b"", self.now()
        )
        parent = opened[bucket.sensitivity, bucket.bucket, bucket.version]
        return replace(row, wrapped=envelope.seal(parent, envelope.new_key(), kek_context(self.lake, row)))


def enabled_root(states: Mapping[tuple[str, int], KeyState], root: str) -> int:
    """The version of a root that wraps.

    Raises:
        KeyStateError: none does: the level is disabled.
    """
    versions = [version for (name, version), state in states.items() if name == root and state.wraps]
    if not versions:
        raise KeyStateError(f"the key {root} does not wrap", hint="it is disabled: 'lake keys status' shows its state")
    return max(versions)
