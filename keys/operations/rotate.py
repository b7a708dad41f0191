"""Rotation: new versions of roots and bucket keys, and everything below wrapped again. No data is touched.

Killed anywhere, every key still opens, and the same command finishes. A rotation destroys nothing in old backups: for
that the old root must be trimmed, which waits for a proven backup.
"""

from __future__ import annotations

import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from keys.errors import KeyOperationError, KeyStateError
from keys.hierarchy import enabled_root
from keys.names import ROOT_NAMES, bucket_id, root_name
from keys.operations.journal import Operation, exclusive
from keys.operations.keeper import Keeper
from keys.operations.sweeps import next_bucket_versions, next_root_version, retire, rewrap_under_root, sweep_keks
from keys.refs import KeyState
from keys.rows import BucketPlace

ROOT, BUCKET = "rotate root", "rotate bucket"


def rotate_roots(keeper: Keeper, names: Collection[str], trim: Path | None = None) -> Operation:
    """New versions of roots; what they wrap is wrapped again. The number of provider calls is fixed.

    Args:
        names: of ``keys.names.ROOT_NAMES``.
        trim: destroy the former versions too, once a backup in this folder has been proven to do without them.

    Raises:
        KeyOperationError: another operation is running or unfinished.
        KeyStateError: a root is disabled.
        ProviderError: run the same command again; nothing is lost.
    """
    if not names or not set(names) <= set(ROOT_NAMES):
        raise KeyOperationError("there is no such root key", hint=f"one of {', '.join(ROOT_NAMES)}")
    scope: dict[str, Any] = {"roots": sorted(names), "trim": None if trim is None else str(trim.absolute())}
    with exclusive(keeper.folder):
        check_roots(keeper, names)
        operation = keeper.journal.begin(ROOT, scope, "start")
        for name in sorted(names):
            operation = advance_root(keeper, operation, name)
        if trim is not None:
            targets = operation.detail["roots"]
            operation = trim_roots(keeper, operation, {name: targets[name][1] for name in sorted(names)}, trim)
        return keeper.journal.save(operation, "done", done=True)


def check_roots(keeper: Keeper, names: Collection[str]) -> None:
    """Refuse an operation that a disabled level would stop half-way: it must not begin, as it keeps others waiting.

    Raises:
        KeyStateError: one of the roots does not wrap.
    """
    for name in sorted(names):
        _enabled(keeper, name)


def advance_root(
    keeper: Keeper, operation: Operation, name: str, leave: Collection[tuple[int, int, int]] = ()
) -> Operation:
    """Bring one root to its next version and everything under it; finished already if the operation says so."""
    targets: dict[str, list[int]] = dict(operation.detail.get("roots", {}))
    if name not in targets:
        after = _enabled(keeper, name)
        targets[name] = [after, after + 1]
        operation = keeper.journal.save(operation, "roots", roots=targets)
        sys.audit("lake.step", "keys.root-announced")
    version = next_root_version(keeper.hierarchy, name, targets[name][0])
    if version != targets[name][1]:
        raise KeyOperationError(f"the root {name} was changed by somebody else", hint="run 'lake keys verify'")
    rewrap_under_root(keeper.hierarchy, keeper.changes, name, version, leave=leave, progress=keeper.progress)
    return operation


def _enabled(keeper: Keeper, name: str) -> int:
    states = {(row.name, row.version): row.state for row in keeper.changes.roots()}
    return enabled_root(states, name)


def trim_roots(keeper: Keeper, operation: Operation, below: dict[str, int], place: Path) -> Operation:
    """Destroy versions of roots: only when nothing living is wrapped under them, in a backup that was opened.

    Raises:
        KeyOperationError: something is still under them; nothing was destroyed.
    """
    # After a crash too: the backup that was proven then may be gone by now.
    for name, version in below.items():
        if not keeper.changes.root_is_free(name, version):
            raise KeyOperationError(f"living keys are still under an old version of {name}", hint="run it again")
    keeper.checkpoint()
    backup, opened = keeper.proven_backup(place)
    operation = keeper.journal.save(operation, "trim", backup=backup, proven=opened)
    sys.audit("lake.step", "keys.backup-proven")
    for name, version in below.items():
        keeper.hierarchy.provider.trim(name, version)
        sys.audit("lake.step", "keys.root-trimmed")
        states = keeper.hierarchy.provider.describe(name).versions
        old = {number: state for number, state in states.items() if number < version}
        if any(state not in {KeyState.DESTROYED, KeyState.PENDING_DESTRUCTION} for state in old.values()):
            raise KeyStateError(f"the provider has not destroyed old versions of {name}", hint="run it again")
        pending = KeyState.PENDING_DESTRUCTION in old.values()
        keeper.changes.retire_roots(name, version, KeyState.PENDING_DESTRUCTION if pending else KeyState.DESTROYED)
        sys.audit("lake.step", "keys.root-retired")
    # The provider's own files have changed with the destruction: the newest backup holds those that open now.
    keeper.proven_backup(place)
    return operation


def rotate_buckets(keeper: Keeper, places: Collection[BucketPlace]) -> Operation:
    """New bucket keys; their KEKs are wrapped again, and the former versions destroyed in the live key store.

    Raises:
        KeyOperationError: another operation is running or unfinished, or there is no such bucket key.
        KeyStateError: a level is disabled.
    """
    existing = {row.place for row in keeper.changes.buckets()}
    missing = sorted(set(places) - existing)
    if missing or not places:
        raise KeyOperationError(f"there is no bucket key {bucket_id(*missing[0])}" if missing else "nothing to rotate")
    scope = {"buckets": sorted(map(list, places))}
    with exclusive(keeper.folder):
        check_roots(keeper, {root_name(level) for level, _ in places})
        operation = keeper.journal.begin(BUCKET, scope, "start")
        if "versions" not in operation.detail:
            operation = keeper.journal.save(operation, "buckets", versions=_next_versions(keeper, places))
            sys.audit("lake.step", "keys.buckets-announced")
        versions: list[list[int]] = list(operation.detail["versions"])
        roots = {level: _enabled(keeper, root_name(level)) for level in {place[0] for place in places}}
        targets = {(level, bucket): new for level, bucket, _, new in versions}
        next_bucket_versions(keeper.hierarchy, keeper.changes, targets, roots)
        old = [(level, bucket, was) for level, bucket, was, _ in versions]
        swept = sweep_keks(keeper.hierarchy, keeper.changes, old, keeper.progress, keeper.page)
        retire(keeper.hierarchy, keeper.changes, old, keeper.progress, keeper.page)
        keeper.checkpoint()
        return keeper.journal.save(operation, "done", done=True, keks=swept)


def _next_versions(keeper: Keeper, places: Collection[BucketPlace]) -> list[list[int]]:
    """[level, bucket, version, next version] of every bucket key."""
    newest: dict[BucketPlace, int] = {}
    for row in keeper.changes.buckets():
        newest[row.place] = max(newest.get(row.place, 0), row.version)
    return [[*place, newest[place], newest[place] + 1] for place in sorted(places)]
