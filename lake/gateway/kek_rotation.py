"""Rotating KEKs: their new versions in the key store, and the DEKs below wrapped again in the catalog.

The catalog refuses commits with former versions before the sweep begins, so that none slips in behind it; a former
version is destroyed only when no row of the catalog names it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from keys.errors import KeyOperationError
from keys.operations import rotate_keks
from keys.operations.journal import Operation
from keys.operations.keeper import Keeper
from keys.refs import DekRequest, KeyState, WrappedDek
from keys.rows import KekScope
from lake.gateway.home import Home
from lake.gateway.planner import binding
from lake.rules.model import DataFile
from lake.sealed.catalog.upkeep import Rewrap

DEK_PAGE = 2_000


def dek_request(file: DataFile) -> DekRequest:
    """The DEK of a catalog row, as the broker is asked for it."""
    return DekRequest(binding(file), WrappedDek(file.kek_id, file.kek_version, file.wrapped_dek))


def rotate_pages(home: Home, keeper: Keeper, operation: Operation, scope: KekScope, *, compromised: bool) -> Operation:
    """Bring a rotation of KEKs to its end, from wherever it stands."""
    operation = rotate_keks.bounded(keeper, operation)
    before = int(operation.detail["before"])
    keks, deks = int(operation.detail.get("keks", 0)), int(operation.detail.get("deks", 0))
    # Of a run that was cut off: versions that have a successor, whose DEKs may not all be under it yet.
    while left := keeper.changes.superseded_keks():
        keeper.fence(home.key_store.epoch())
        deks += sweep_deks(home, keeper, left)
        keks += rotate_keks.retire(keeper, left)
    after = ""
    while True:
        old, after = rotate_keks.next_page(keeper, scope, before, after, compromised=compromised)
        if not old:
            # Those that are disabled stay as they are: whoever rotates after a leak must hear of it.
            disabled = len(keeper.changes.names_of(scope, KeyState.DISABLED))
            return keeper.journal.save(operation, "done", done=True, keks=keks, deks=deks, disabled=disabled)
        deks += sweep_deks(home, keeper, old)
        keks += rotate_keks.retire(keeper, old)
        operation = keeper.journal.save(operation, "sweep", keks=keks, deks=deks)


def sweep_deks(home: Home, keeper: Keeper, old: Sequence[tuple[str, int]]) -> int:
    """Wrap every DEK under these KEKs anew, until the catalog names them no more.

    Raises:
        KeyOperationError: it goes on naming them, which the fence should make impossible.
    """
    total = 0
    for _ in range(10):
        after = ""
        while page := home.upkeep.deks_of(old, after, DEK_PAGE):
            fresh = home.broker.rewrap_deks([dek_request(file) for file, _ in page])
            sys.audit("lake.step", "keys.deks-rewrapped")
            total += home.upkeep.rewrap(
                [
                    Rewrap(file.file_id, file.wrapped_dek, new.kek_id, new.kek_version, new.blob)
                    for (file, _), new in zip(page, fresh, strict=True)
                ]
            )
            sys.audit("lake.step", "keys.deks-swapped")
            keeper.progress(len(page))
            after = page[-1][0].file_id
        if home.upkeep.count_under(old) == 0:
            return total
    raise KeyOperationError("files keep naming a retired key", hint="run 'lake keys verify --deks'")
