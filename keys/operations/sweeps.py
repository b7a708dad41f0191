"""Putting many wraps under newer parents: batches, compare-and-swap, nothing lost whenever it stops.

Every step can be made again: what is under the newer parent already is left alone. A crash loses one batch at most.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import islice

from keys import control, envelope
from keys.changes import Changes
from keys.errors import KeyIntegrityError, KeyOperationError
from keys.hierarchy import Hierarchy
from keys.levels import PAGE
from keys.names import CONTROL_ROOT, SENSITIVITIES, bucket_row_context, kek_context, root_name
from keys.providers import KeyToWrap, WrappedKey
from keys.refs import KeyState
from keys.rows import BucketKeyRow, BucketPlace, KekRow

Progress = Callable[[int], None]
Version = tuple[int, int, int]
"""A version of a bucket key: (sensitivity, bucket, version)."""


def level_of(root: str) -> int | None:
    """The sensitivity of a level's root; None for the control root."""
    return {root_name(level): level for level in SENSITIVITIES}.get(root)


def next_root_version(hierarchy: Hierarchy, root: str, after: int) -> int:
    """Make and adopt the version of a root after ``after``, proven by a round trip before anything depends on it."""
    version = hierarchy.provider.new_version(root, after)
    sys.audit("lake.step", "keys.root-made")
    probe = KeyToWrap(envelope.new_key(), envelope.context(envelope.Kind.DERIVED, "probe", hierarchy.lake, root))
    (blob,) = hierarchy.provider.wrap(root, version, [probe])
    (opened,) = hierarchy.provider.unwrap(root, [WrappedKey(version, blob, probe.bound_to)])
    if not envelope.same(opened, probe.key):
        raise KeyIntegrityError("the provider did not give back the key that it wrapped")
    hierarchy.store.adopt_root(root, version, hierarchy.now())
    sys.audit("lake.step", "keys.root-adopted")
    return version


def rewrap_under_root(
    hierarchy: Hierarchy,
    changes: Changes,
    root: str,
    version: int,
    *,
    leave: Collection[Version] = (),
    progress: Progress = lambda _: None,
) -> int:
    """Put everything that a root wraps under its version; ``leave`` names bucket keys that are to die with the old one.

    Returns:
        How many wraps were changed.
    """
    if root == CONTROL_ROOT:
        return _rewrap_secrets(hierarchy, changes, version)
    level = level_of(root)
    rows = [
        row
        for row in changes.buckets(level)
        if row.root_version != version
        and row.state is not KeyState.DESTROYED
        and (row.sensitivity, row.bucket, row.version) not in leave
    ]
    items = [WrappedKey(row.root_version, row.wrapped, bucket_row_context(hierarchy.lake, row)) for row in rows]
    if not items:
        return 0
    blobs = hierarchy.provider.rewrap(root, version, items)
    sys.audit("lake.step", "keys.buckets-rewrapped")
    _prove_same(hierarchy, root, version, items, blobs)
    changed = changes.rewrap_buckets([(row, version, blob) for row, blob in zip(rows, blobs, strict=True)])
    sys.audit("lake.step", "keys.buckets-stored")
    progress(len(rows))
    return changed


def _prove_same(
    hierarchy: Hierarchy, root: str, version: int, items: Collection[WrappedKey], blobs: Collection[bytes]
) -> None:
    """A wrap takes the place of another only if it opens to the same key: a provider may answer wrongly."""
    before = hierarchy.provider.unwrap(root, list(items))
    wrapped = [WrappedKey(version, blob, item.bound_to) for blob, item in zip(blobs, items, strict=True)]
    after = hierarchy.provider.unwrap(root, wrapped)
    if any(not envelope.same(old, new) for old, new in zip(before, after, strict=True)):
        raise KeyIntegrityError("the provider re-wrapped a key as another one", hint="nothing was changed")


def _rewrap_secrets(hierarchy: Hierarchy, changes: Changes, version: int) -> int:
    secrets = {name: found for name, found in hierarchy.store.control_secrets().items() if found[0] != version}
    names = sorted(secrets)
    items = [WrappedKey(*secrets[name], control.bound_to(hierarchy.lake, name)) for name in names]
    if not items:
        return 0
    blobs = hierarchy.provider.rewrap(CONTROL_ROOT, version, items)
    _prove_same(hierarchy, CONTROL_ROOT, version, items, blobs)
    changed = changes.rewrap_secrets(
        [(name, secrets[name][1], version, blob) for name, blob in zip(names, blobs, strict=True)]
    )
    sys.audit("lake.step", "keys.secrets-stored")
    return changed


def next_bucket_versions(
    hierarchy: Hierarchy, changes: Changes, targets: Mapping[BucketPlace, int], root_versions: Mapping[int, int]
) -> None:
    """Make and adopt versions of bucket keys: fresh random keys, never the former ones wrapped again.

    Args:
        targets: the version that each is to have; one that has it already is left alone.
        root_versions: the version of each level's root that wraps them.
    """
    existing = {(row.sensitivity, row.bucket, row.version) for row in changes.buckets()}
    for level in sorted({level for level, _ in targets}):
        wanted = sorted(
            (*place, version)
            for place, version in targets.items()
            if place[0] == level and (*place, version) not in existing
        )
        if not wanted:
            continue
        made = hierarchy.new_bucket_keys(root_name(level), root_versions[level], wanted)
        sys.audit("lake.step", "keys.buckets-made")
        changes.adopt_buckets(made)
        sys.audit("lake.step", "keys.buckets-adopted")


def sweep_keks(
    hierarchy: Hierarchy,
    changes: Changes,
    old: Collection[Version],
    progress: Progress = lambda _: None,
    page: int = PAGE,
) -> int:
    """Re-wrap every living KEK under old versions of bucket keys to the newest ones; those of erased employees stay.

    Returns:
        How many were re-wrapped.
    """
    rows = {(row.sensitivity, row.bucket, row.version): row for row in changes.buckets()}
    newest = {row.place: row for row in sorted(rows.values(), key=lambda row: row.version)}
    parents = {
        version: (rows[version], newest[rows[version].place])
        for version in old
        if rows[version].state is not KeyState.DESTROYED
    }
    waiting = changes.keks_under(parents.keys(), page)
    total = 0
    while part := list(islice(waiting, page)):
        total += _swap(hierarchy, changes, part, parents)
        progress(len(part))
    return total


def _swap(
    hierarchy: Hierarchy,
    changes: Changes,
    waiting: Sequence[KekRow],
    parents: Mapping[Version, tuple[BucketKeyRow, BucketKeyRow]],
) -> int:
    """Re-wrap KEKs in one transaction; ``parents`` gives what each version of a bucket key is and what follows it."""
    view = hierarchy.store.view_of_keks((), ())
    used = {(kek.sensitivity, kek.bucket, kek.bucket_version) for kek in waiting}
    pairs = {version: parents[version] for version in used}
    opened = hierarchy.open_parents(view.roots, view.epoch, {row for pair in pairs.values() for row in pair})
    keys = {
        version: (opened[version], opened[after.sensitivity, after.bucket, after.version], after.version)
        for version, (_, after) in pairs.items()
    }
    swaps: list[tuple[KekRow, int, bytes]] = []
    for kek in waiting:
        before, after, number = keys[kek.sensitivity, kek.bucket, kek.bucket_version]
        key = envelope.unseal(before, kek.wrapped, kek_context(hierarchy.lake, kek))
        swaps.append((kek, number, envelope.seal(after, key, kek_context(hierarchy.lake, kek, number))))
    changed = changes.rewrap_keks(swaps)
    sys.audit("lake.step", "keys.keks-swapped")
    return changed


def retire(hierarchy: Hierarchy, changes: Changes, old: Collection[Version], progress: Progress, page: int) -> None:
    """Destroy old versions of bucket keys, sweeping again while a KEK was added under one of them.

    Raises:
        KeyOperationError: KEKs keep appearing under a retired bucket key, which a guard should make impossible.
    """
    for _ in range(10):
        if changes.retire_buckets(old):
            sys.audit("lake.step", "keys.buckets-retired")
            return
        sweep_keks(hierarchy, changes, old, progress, page)
    raise KeyOperationError("a bucket key does not come free", hint="run 'lake keys verify'")
