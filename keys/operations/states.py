"""Suspending keys and lifting it: no wrap is touched, and it takes effect at the next query, whatever is cached."""

from __future__ import annotations

import sys
from collections.abc import Collection

from keys.errors import KeyOperationError
from keys.names import root_name
from keys.operations.keeper import Keeper
from keys.refs import KeyState
from keys.rows import KekScope


def suspend_levels(keeper: Keeper, levels: Collection[int], *, disabled: bool) -> int:
    """Disable or enable whole levels: the roots' versions in the key store. The provider is not asked.

    Returns:
        How many versions changed.
    """
    changed = 0
    for level in levels:
        changed += keeper.changes.suspend_root(root_name(level), disabled=disabled)
        sys.audit("lake.step", "keys.level-suspended")
    return changed


def suspend_keks(keeper: Keeper, scope: KekScope, *, disabled: bool) -> int:
    """Disable or enable the KEKs of a scope that wrap (or, to enable, those that are disabled).

    Raises:
        KeyOperationError: a rotation was cut off: files may be under former versions, which would go on opening.
    """
    if disabled and keeper.changes.superseded_keks(limit=1):
        raise KeyOperationError("a rotation of KEKs is not finished", hint=f"finish it with '{keeper.journal.resume}'")
    before, after = (KeyState.ENABLED, KeyState.DISABLED) if disabled else (KeyState.DISABLED, KeyState.ENABLED)
    found = keeper.changes.names_of(scope, before)
    changed = keeper.changes.change_keks(found, (before,), after) if found else 0
    sys.audit("lake.step", "keys.keks-suspended")
    return changed
