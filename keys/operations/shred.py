"""Crypto-shredding: the keys of employees destroyed so that no copy of the key store brings them back.

Tombstone, fence, new roots and bucket keys that leave their KEKs out, a backup that was opened, the old roots trimmed,
and a proof that the old wraps open no more (NIST SP 800-88 rev. 2, cryptographic erase; Reardon et al., CCS 2013).
A crash before the trim loses nothing; after it every survivor stands in a proven backup without the old root.
"""

from __future__ import annotations

import base64
import sys
from collections.abc import Callable, Collection
from pathlib import Path

import sqlalchemy as sa

from keys.errors import KeyIntegrityError, KeyOperationError, KeyStateError
from keys.names import bucket_context, root_name
from keys.operations.journal import Operation, exclusive
from keys.operations.keeper import Keeper
from keys.operations.restore import open_bucket_rows
from keys.operations.rotate import advance_root, check_roots, trim_roots
from keys.operations.sweeps import next_bucket_versions, retire, rewrap_under_root, sweep_keks
from keys.providers import WrappedKey
from keys.refs import KeyState
from keys.rows import BucketKeyRow, BucketPlace
from keys.tables import bucket_keys, keks

SHRED = "shred"
Guard = Callable[[], None]


def shred(
    keeper: Keeper,
    subjects: Collection[str],
    place: Path,
    before_destruction: Guard = lambda: None,
    leave_out: Guard = lambda: None,
) -> Operation:
    """Destroy every key of these employees for good; several share the work.

    Args:
        subjects: pseudonyms.
        place: folder of the backup that must open before anything is destroyed.
        before_destruction: asked right before the old roots are trimmed; raises to stop there (a hold placed late).
        leave_out: takes their files out of the catalog: before their keys go, so that no query of others' rows asks
            for them, and again when none can land any more.

    Returns:
        The finished operation; its detail is what a certificate states.

    Raises:
        KeyOperationError: another operation is running or unfinished, or an employee is not known.
        KeyStateError: a level is disabled; nothing was changed.
        KeyIntegrityError: an old wrap still opens: the erasure did not succeed.
        ProviderError: run the same command again; nothing is lost, and the employees are unreadable already.
    """
    scope = {"subjects": sorted(set(subjects)), "backup": str(place.absolute())}
    if not subjects:
        raise KeyOperationError("no employee is named")
    if set(subjects) - set(keeper.hierarchy.store.numbers(subjects)):
        raise KeyOperationError("an employee who is named is not known to the key store")
    with exclusive(keeper.folder):
        if done := keeper.journal.finished(SHRED, scope):
            return done  # nothing of theirs was made since; who asks again has lost the certificate
        check_roots(keeper, {root_name(row.sensitivity) for row in keeper.changes.keks_of(sorted(set(subjects)))})
        operation = keeper.journal.begin(SHRED, scope, "start")
        leave_out()
        sys.audit("lake.step", "shred.left-out")
        # From here on no key of theirs is opened or made, so that what is announced below is all there is.
        epoch = keeper.changes.tombstone(subjects)
        sys.audit("lake.step", "shred.tombstoned")
        keeper.fence(epoch)
        sys.audit("lake.step", "shred.fenced")
        leave_out()
        if "buckets" not in operation.detail:
            operation = _announce(keeper, operation, subjects)
        operation = _reseal(keeper, operation)
        before_destruction()
        targets: dict[str, list[int]] = operation.detail["roots"]
        operation = trim_roots(keeper, operation, {name: new for name, (_, new) in sorted(targets.items())}, place)
        if "refused" not in operation.detail:
            operation = _prove(keeper, operation)
        keeper.checkpoint()  # the old wraps that were tried leave the write-ahead log too
        return keeper.journal.save(operation, "done", done=True)


def _announce(keeper: Keeper, operation: Operation, subjects: Collection[str]) -> Operation:
    """What is to be destroyed, decided once: bucket keys with their versions, KEKs, and old wraps as witnesses."""
    with keeper.database.reading() as connection:
        where = keks.c.subject.in_(sorted(subjects)) & (keks.c.state != KeyState.DESTROYED.value)
        found = connection.execute(sa.select(keks).where(where)).all()
    places: set[BucketPlace] = {(row.sensitivity, row.bucket) for row in found}
    newest: dict[BucketPlace, list[BucketKeyRow]] = {}
    for row in keeper.changes.buckets():
        if row.place in places and row.state is not KeyState.DESTROYED:
            newest.setdefault(row.place, []).append(row)
    versions = [
        [*spot, max(row.version for row in rows), max(row.version for row in rows) + 1] for spot, rows in newest.items()
    ]
    dying = [row for rows in newest.values() for row in rows]
    # Each opens now: that the provider refuses it at the end is then a proof.
    open_bucket_rows(keeper.hierarchy.lake, keeper.hierarchy.provider, dying)
    witnesses = [
        [row.sensitivity, row.bucket, row.version, row.root_version, base64.b64encode(row.wrapped).decode()]
        for row in dying
    ]
    operation = keeper.journal.save(
        operation,
        "announced",
        buckets=sorted(versions),
        keks=sorted([row.kek_id, row.version, row.sensitivity, row.month] for row in found),
        witnesses=sorted(witnesses),
        roots={},
    )
    sys.audit("lake.step", "shred.announced")
    return operation


def _reseal(keeper: Keeper, operation: Operation) -> Operation:
    """Everything that survives, under roots and bucket keys that the employees' KEKs were never under."""
    versions: list[list[int]] = operation.detail["buckets"]
    old = [(level, bucket, version) for level, bucket, was, _ in versions for version in range(1, was + 1)]
    existing = {(row.sensitivity, row.bucket, row.version): row.state for row in keeper.changes.buckets()}
    old = [version for version in old if version in existing]
    levels = sorted({level for level, _, _, _ in versions})
    for level in levels:
        # The bucket keys that are to die stay under the old root: nothing brings them over.
        operation = advance_root(keeper, operation, root_name(level), leave=old)
    roots = {level: int(operation.detail["roots"][root_name(level)][1]) for level in levels}
    targets = {(level, bucket): new for level, bucket, _, new in versions}
    next_bucket_versions(keeper.hierarchy, keeper.changes, targets, roots)
    for level in levels:
        # Bucket keys that another process made under the old root before it was retired.
        name = root_name(level)
        rewrap_under_root(keeper.hierarchy, keeper.changes, name, roots[level], leave=old)
    living = [version for version in old if existing[version] is not KeyState.DESTROYED]
    swept = sweep_keks(keeper.hierarchy, keeper.changes, living, keeper.progress, keeper.page)
    retire(keeper.hierarchy, keeper.changes, living, keeper.progress, keeper.page)
    keeper.hierarchy.forget()
    survivors = keeper.changes.count_keks(sorted(targets))
    operation = keeper.journal.save(operation, "resealed", survivors=survivors, swept=swept)
    sys.audit("lake.step", "shred.resealed")
    return operation


def _prove(keeper: Keeper, operation: Operation) -> Operation:
    """Try every old wrap of the bucket keys that died: the provider must refuse each.

    Raises:
        KeyIntegrityError: one opens.
    """
    tried = 0
    for level, bucket, version, root_version, blob in operation.detail["witnesses"]:
        context = bucket_context(keeper.hierarchy.lake, level, bucket, version)
        item = WrappedKey(root_version, base64.b64decode(blob), context)
        try:
            keeper.hierarchy.provider.unwrap(root_name(level), [item])
        except (KeyStateError, KeyIntegrityError):
            tried += 1
            continue
        raise KeyIntegrityError("an old wrap still opens: the keys are not destroyed", hint="see 'lake keys status'")
    _check_residue(keeper, operation)
    operation = keeper.journal.save(operation, "proven", refused=tried, witnesses=[])
    sys.audit("lake.step", "shred.proven")
    return operation


def _check_residue(keeper: Keeper, operation: Operation) -> None:
    """No wrap of theirs, and none of the dead bucket keys, may be left in the live key store."""
    names: list[str] = list(operation.scope["subjects"])
    with keeper.database.reading() as connection:
        where = keks.c.subject.in_(names) & (keks.c.state != KeyState.DESTROYED.value)
        left = connection.execute(sa.select(keks.c.kek_id).where(where)).first()
        for level, bucket, was, _ in operation.detail["buckets"]:
            dead = (
                (bucket_keys.c.sensitivity == level)
                & (bucket_keys.c.bucket == bucket)
                & (bucket_keys.c.version <= was)
                & (bucket_keys.c.state != KeyState.DESTROYED.value)
            )
            left = left or connection.execute(sa.select(bucket_keys.c.version).where(dead)).first()
    if left is not None:
        raise KeyIntegrityError("a key of an erased employee is left in the key store", hint="run the command again")
