"""New versions of KEKs: for partitions whose KEK is old, or known to somebody who should not have it.

The DEKs below lie in the catalog, which ``keys`` does not know: whoever calls sweeps them between :func:`next_page` and
:func:`retire`. Old versions open until no row of the catalog names them.
"""

from __future__ import annotations

import sys
from collections.abc import Collection
from dataclasses import replace

from keys import envelope
from keys.names import kek_context
from keys.operations.keeper import Keeper
from keys.refs import KeyState
from keys.rows import KekRow, KekScope

VERB = "rotate kek"


def next_page(
    keeper: Keeper, scope: KekScope, before: int, after: str, *, compromised: bool, limit: int = 1_000
) -> tuple[list[tuple[str, int]], str]:
    """Give a page of KEKs their next versions; commits with the former ones are refused from here on.

    Args:
        before: microseconds; KEKs made later have been rotated already.
        after: where the page before ended.
        compromised: mark the former versions: they open for re-encryption only.

    Returns:
        The former (id, version)s, and where this page ends.
    """
    old = keeper.changes.living_keks(scope, before, after, limit)
    if not old:
        return [], after
    new = _new_versions(keeper, old)
    epoch = keeper.changes.add_kek_versions(new, KeyState.COMPROMISED if compromised else KeyState.DECRYPT_ONLY)
    sys.audit("lake.step", "keys.keks-made")
    keeper.fence(epoch)
    sys.audit("lake.step", "keys.keks-fenced")
    return [(row.kek_id, row.version) for row in old], old[-1].kek_id


def _new_versions(keeper: Keeper, old: Collection[KekRow]) -> list[KekRow]:
    newest = {row.place: row for row in keeper.changes.buckets() if row.state.wraps}
    view = keeper.hierarchy.store.view_of_keks((), ())
    places = {(row.sensitivity, row.bucket) for row in old}
    opened = keeper.hierarchy.open_parents(view.roots, view.epoch, [newest[place] for place in places])
    new: list[KekRow] = []
    now = keeper.hierarchy.now()
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
