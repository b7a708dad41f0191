"""Opening every wrap under its parent: whether the key store as it lies could open every file. Memory stays flat."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from keys import control
from keys.changes import Changes
from keys.errors import KeyIntegrityError
from keys.hierarchy import Hierarchy
from keys.names import CONTROL_ROOT
from keys.operations.restore import open_bucket_rows, open_kek
from keys.providers import WrappedKey
from keys.refs import KeyState

Progress = Callable[[int], None]


def verify_keys(hierarchy: Hierarchy, changes: Changes, progress: Progress = lambda _: None) -> dict[str, int]:
    """Open every control secret, bucket key and KEK that is not destroyed, whatever its state, and keep none.

    Returns:
        Counts of what opened and of what is destroyed.

    Raises:
        KeyIntegrityError: names the first that does not open.
        KeyStateError, ProviderError: the provider does not open its own wraps.
    """
    counts: Counter[str] = Counter()
    secrets = hierarchy.store.control_secrets()
    items = [WrappedKey(*secrets[name], control.bound_to(hierarchy.lake, name)) for name in sorted(secrets)]
    counts["control_secrets"] = len(hierarchy.provider.unwrap(CONTROL_ROOT, items))
    rows = changes.buckets()
    opened = open_bucket_rows(hierarchy.lake, hierarchy.provider, rows)
    counts["bucket_keys"] = len(opened)
    counts["destroyed_bucket_keys"] = len(rows) - len(opened)
    for page in changes.pages_of_keks():
        for row in page:
            if row.state is KeyState.DESTROYED:
                counts["destroyed_keks"] += 1
                if row.wrapped:
                    raise KeyIntegrityError(f"the destroyed key {row.kek_id} still has a wrap")
                continue
            open_kek(hierarchy.lake, row, opened)
            counts["keks"] += 1
        progress(len(page))
    return {name: counts[name] for name in ("control_secrets", "bucket_keys", "keks")} | {
        name: counts[name] for name in ("destroyed_bucket_keys", "destroyed_keks")
    }
