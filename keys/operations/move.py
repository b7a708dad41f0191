"""Moving a lake to another provider: bucket keys and control secrets are wrapped there; no KEK and no data is touched.

Everything is wrapped and proven first; one transaction then switches. Before it the old provider holds, after it the
new one; a crash in between leaves unused keys in the new provider, and the same command goes on.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from keys import control, envelope
from keys.errors import KeyIntegrityError, KeyOperationError, KeyStateError
from keys.hierarchy import Hierarchy
from keys.names import CONTROL_ROOT, ROOT_NAMES, bucket_row_context, root_name
from keys.operations.journal import Operation, exclusive
from keys.operations.keeper import Keeper
from keys.operations.restore import open_bucket_rows
from keys.providers import KeyProvider, KeyToWrap, WrappedKey
from keys.refs import KeyState
from keys.rows import RootRow

MOVE = "move"


def move(keeper: Keeper, target: KeyProvider) -> Operation:
    """Put the top of the hierarchy under another provider.

    Raises:
        KeyOperationError: another operation is running or unfinished, the new provider has keys of these names that
            may be another lake's, or keys changed meanwhile: run it again.
        KeyIntegrityError: the new provider did not give back a key; nothing was changed.
        ProviderError: one of the two did not answer; nothing was changed.
    """
    with exclusive(keeper.folder):
        hierarchy = keeper.hierarchy
        if keeper.journal.unfinished() is None:
            _refuse_strangers(hierarchy, target)
        operation = keeper.journal.begin(MOVE, {"to": target.kind}, "start")
        if "counts" in operation.detail and _holds(hierarchy, target):
            return keeper.journal.save(operation, "done", done=True)
        _ensure_roots(target)
        sys.audit("lake.step", "move.roots-made")
        epoch = hierarchy.store.epoch()
        versions = {name: target.describe(name).current for name in ROOT_NAMES}
        rows = [row for row in keeper.changes.buckets() if row.state is not KeyState.DESTROYED]
        opened = open_bucket_rows(hierarchy.lake, hierarchy.provider, rows)
        buckets = []
        for level in sorted({row.sensitivity for row in rows}):
            own = [row for row in rows if row.sensitivity == level]
            items = [
                KeyToWrap(opened[row.sensitivity, row.bucket, row.version], bucket_row_context(hierarchy.lake, row))
                for row in own
            ]
            version = versions[root_name(level)]
            buckets += [
                (row, version, blob)
                for row, blob in zip(own, _wrapped(target, root_name(level), version, items), strict=True)
            ]
        secrets = hierarchy.store.control_secrets()
        names = sorted(secrets)
        held = hierarchy.provider.unwrap(
            CONTROL_ROOT, [WrappedKey(*secrets[name], control.bound_to(hierarchy.lake, name)) for name in names]
        )
        items = [KeyToWrap(key, control.bound_to(hierarchy.lake, name)) for name, key in zip(names, held, strict=True)]
        version = versions[CONTROL_ROOT]
        wrapped = _wrapped(target, CONTROL_ROOT, version, items)
        sys.audit("lake.step", "move.wrapped")
        counts = {"bucket_keys": len(buckets), "control_secrets": len(wrapped)}
        operation = keeper.journal.save(operation, "wrapped", counts=counts)
        now = hierarchy.now()
        states = _states(keeper)
        keeper.changes.switch_provider(
            target.kind,
            epoch,
            [RootRow(name, number, states[name], now) for name, number in versions.items()],
            buckets,
            [(name, secrets[name][1], version, blob) for name, blob in zip(names, wrapped, strict=True)],
        )
        sys.audit("lake.step", "move.switched")
        hierarchy.forget()
        return keeper.journal.save(operation, "done", done=True)


def _holds(hierarchy: Hierarchy, target: KeyProvider) -> bool:
    """Whether the switch was made before a crash; the kinds do not tell, as a lake also moves within one kind."""
    secrets = hierarchy.store.control_secrets()
    try:
        target.unwrap(
            CONTROL_ROOT, [WrappedKey(*blob, control.bound_to(hierarchy.lake, name)) for name, blob in secrets.items()]
        )
    except (KeyStateError, KeyIntegrityError):
        return False
    return True


def _states(keeper: Keeper) -> dict[str, KeyState]:
    """What the one version of each root is to be: a level that is disabled stays so."""
    newest = {row.name: row.state for row in keeper.changes.roots()}
    return {
        name: KeyState.DISABLED if state is KeyState.DISABLED else KeyState.ENABLED for name, state in newest.items()
    }


def _refuse_strangers(hierarchy: Hierarchy, target: KeyProvider) -> None:
    """Before a move begins, its roots are not there: two lakes with the same roots would destroy each other's keys.

    A provider that knows its lake has this one's own, from before it moved away.
    """
    if getattr(target, "lake", None) == hierarchy.lake:
        return
    for name in ROOT_NAMES:
        try:
            target.describe(name)
        except KeyStateError:
            continue
        raise KeyOperationError(f"the new provider has a key {name} already", hint="give this lake a prefix of its own")


def _ensure_roots(target: KeyProvider) -> None:
    """Roots of an attempt that was cut off are used; any other keys of these names are refused by their state."""
    missing = []
    for name in ROOT_NAMES:
        try:
            found = target.describe(name)
        except KeyStateError:
            missing.append(name)
            continue
        if not found.versions[found.current].wraps:
            raise KeyOperationError(f"the new provider has a key {name} that does not wrap")
    if missing:
        target.create(missing)


def _wrapped(target: KeyProvider, root: str, version: int, items: Sequence[KeyToWrap]) -> list[bytes]:
    blobs = target.wrap(root, version, items)
    again = target.unwrap(
        root, [WrappedKey(version, blob, item.bound_to) for blob, item in zip(blobs, items, strict=True)]
    )
    if any(not envelope.same(key, item.key) for key, item in zip(again, items, strict=True)):
        raise KeyIntegrityError("the new provider did not give back a key that it wrapped", hint="nothing was changed")
    return blobs
