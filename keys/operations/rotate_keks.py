"""New versions of KEKs: for partitions whose KEK is old, or known to somebody who should not have it.

The DEKs below lie in the catalog, which ``keys`` does not know: whoever calls sweeps them between :func:`next_page` and
:func:`retire`. Old versions open until no row of the catalog names them.
"""

from __future__ import annotations

import sys
from collections.abc import Collection
from dataclasses import replace

import sqlalchemy as sa

from keys import envelope
from keys.names import SENSITIVITIES, kek_context, root_name
from keys.operations.journal import Operation
from keys.operations.keeper import Keeper
from keys.operations.rotate import check_roots
from keys.refs import KeyState
from keys.rows import KekRow, KekScope
from keys.tables import keks

VERB = "rotate kek"


def check_levels(keeper: Keeper, scope: KekScope) -> None:
    """Refuse a rotation before it begins if it would meet a disabled level.

    Raises:
        KeyStateError: there is one.
    """
    levels = scope.sensitivities or frozenset(SENSITIVITIES)
    used = [level for level in levels if keeper.changes.count_scope(replace(scope, sensitivities=frozenset({level})))]
    check_roots(keeper, [root_name(level) for level in used])


def bounded(keeper: Keeper, operation: Operation) -> Operation:
    """The rotation with the moment up to which KEKs are old, decided once: after every one that there is.

    The clock is not asked: one that was set back would leave all of them as they are.
    """
    if "before" in operation.detail:
        return operation
    with keeper.database.reading() as connection:
        newest = connection.execute(sa.select(sa.func.max(keks.c.created_at))).scalar()
    return keeper.journal.save(operation, "start", before=(newest or 0) + 1)


def next_page(
    keeper: Keeper, scope: KekScope, before: int, after: str, *, compromised: bool, limit: int = 1_000
) -> tuple[list[tuple[str, int]], str]:
    """Give a page of KEKs their next versions; commits with the former ones are refused from here on.

    Args:
        before: microseconds; KEKs made then or later have been rotated already.
        after: where the page before ended.
        compromised: mark the former versions: they open for re-encryption only.

    Returns:
        The former (id, version)s, and where this page ends.
    """
    old = keeper.changes.living_keks(scope, before, after, limit)
    if not old:
        return [], after
    new = _new_versions(keeper, old, before)
    epoch = keeper.changes.add_kek_versions(new, KeyState.COMPROMISED if compromised else KeyState.DECRYPT_ONLY)
    sys.audit("lake.step", "keys.keks-made")
    keeper.fence(epoch)
    sys.audit("lake.step", "keys.keks-fenced")
    return [(row.kek_id, row.version) for row in old], old[-1].kek_id


def next_versions(keeper: Keeper, rows: Collection[KekRow]) -> None:
    """Give KEKs their next versions, whatever their states; commits with the former ones are the caller's to refuse.

    Raises:
        KeyOperationError: one was changed meanwhile.
    """
    if rows:
        enabled = [replace(row, state=KeyState.ENABLED) for row in rows]
        keeper.changes.add_kek_versions(_new_versions(keeper, enabled, 0))
        sys.audit("lake.step", "keys.keks-made")


def _new_versions(keeper: Keeper, old: Collection[KekRow], before: int) -> list[KekRow]:
    newest = {row.place: row for row in keeper.changes.buckets() if row.state.wraps}
    view = keeper.hierarchy.store.view_of_keks((), ())
    places = {(row.sensitivity, row.bucket) for row in old}
    opened = keeper.hierarchy.open_parents(view.roots, view.epoch, [newest[place] for place in places])
    new: list[KekRow] = []
    now = max(keeper.hierarchy.now(), before)
    for row in old:
        bucket = newest[row.sensitivity, row.bucket]
        fresh = replace(row, version=row.version + 1, bucket_version=bucket.version, created_at=now)
        parent = opened[bucket.sensitivity, bucket.bucket, bucket.version]
        context = kek_context(keeper.hierarchy.lake, fresh)
        new.append(replace(fresh, wrapped=envelope.seal(parent, envelope.new_key(), context)))
    return new


def retire(keeper: Keeper, old: Collection[tuple[str, int]]) -> int:
    """Destroy former versions that no row of the catalog names any more; the caller has made sure of that."""
    retired = keeper.changes.change_keks(old, (KeyState.DECRYPT_ONLY, KeyState.COMPROMISED), KeyState.DESTROYED)
    sys.audit("lake.step", "keys.keks-retired")
    return retired
