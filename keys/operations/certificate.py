"""What a shredding certifies: what was destroyed, how it was proven, and the day after which nothing brings it back.

A signed note (C2SP signed-note) whose second line is canonical JSON. It names pseudonyms, ids and counts only. Format:
docs/formats.md, "Shred certificate".
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from keys.errors import KeyIntegrityError
from keys.operations.journal import Operation
from keys.operations.keeper import Keeper
from keys.signing import NoteVerifier

TITLE = "telemetry-lake shred certificate v1"
METHOD = "cryptographic erase (NIST SP 800-88 rev. 2): bucket keys and KEKs destroyed, old root versions trimmed"
OUT_OF_REACH = (
    "results, exports and models made before",
    "keys that somebody copied out of a process before",
)


def certificate_data(operation: Operation) -> dict[str, Any]:
    """Identifiers and counts of a finished shredding: no names and no wraps."""
    detail = operation.detail
    return {
        "operation": operation.id,
        "started_at": operation.started_at,
        "finished_at": operation.updated_at,
        "subjects": list(operation.scope["subjects"]),
        "keks": [list(kek) for kek in detail["keks"]],
        "bucket_keys": [list(bucket) for bucket in detail["buckets"]],
        "roots": {name: list(versions) for name, versions in detail["roots"].items()},
        "survivors": detail["survivors"],
        "backup": detail["backup"],
        "proven_backup": dict(detail["proven"]),
        "old_wraps_refused": detail["refused"],
    }


def issue(keeper: Keeper, operation: Operation) -> str:
    """The certificate of a finished shredding, signed with the audit log's key."""
    data = {
        "v": 1,
        "lake": keeper.hierarchy.lake,
        "provider": keeper.hierarchy.provider.kind,
        "method": METHOD,
        **certificate_data(operation),
        "horizon": _horizon(keeper, operation),
        "out_of_reach": list(OUT_OF_REACH),
    }
    body = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return keeper.signer.sign(f"{TITLE}\n{body}\n")


def _horizon(keeper: Keeper, operation: Operation) -> dict[str, Any]:
    """When what provider and database may still hold is gone too; ``after`` is null until somebody says how long."""
    waits: list[datetime] = []
    for name in operation.detail["roots"]:
        waits += keeper.hierarchy.provider.describe(name).gone_after.values()
    waited = max(waits, default=None)
    finished = datetime.fromtimestamp(operation.updated_at / 1_000_000, UTC)
    after = None
    if keeper.snapshot_days is not None and keeper.archive_days is not None:
        kept = max(keeper.snapshot_days, keeper.archive_days)
        after = max(filter(None, (waited, finished + timedelta(days=kept))))
    horizon = {
        "provider_destroys_at": None if waited is None else waited.isoformat(),
        "provider_snapshot_days": keeper.snapshot_days,
        "after": None if after is None else after.isoformat(),
    }
    # A file's overwritten wraps are gone; a server's stay in its log and in what it archives of that.
    return horizon if keeper.archive_days == 0 else horizon | {"database_archive_days": keeper.archive_days}


def open_certificate(note: str, notes: NoteVerifier) -> dict[str, Any]:
    """A certificate's content, if this lake signed it.

    Raises:
        KeyIntegrityError: it is none, was changed, or is of another lake.
    """
    title, _, rest = notes.open(note).partition("\n")
    if title != TITLE:
        raise KeyIntegrityError("this is not a shred certificate")
    try:
        data: dict[str, Any] = json.loads(rest)
    except ValueError:
        raise KeyIntegrityError("this is not a shred certificate") from None
    return data
