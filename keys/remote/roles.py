"""What each role may ask of the broker. Everything that is not named here is refused."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from keys.control import AUDIT_DETAIL, AUDIT_SIGNING, AUDIT_TAGS, CATALOG, DIRECTORY, POLICY, PSEUDONYMS
from keys.receipts import INTENT, JOB_INTENT, REKEY_INTENT
from keys.remote.wire import MIB, MOST_BYTES


class Role(StrEnum):
    """What a host is for."""

    GATEWAY = "gateway"  # answers queries: old DEKs, each for a receipt
    INGEST = "ingest"  # lands batches: fresh DEKs only
    JOBS = "jobs"  # writes and checks data: old DEKs for receipts of a re-key or another job, and fresh ones
    OPERATOR = "operator"  # checks the lake and the books, puts contracts and policies in force: no DEK at all


_OPENING = frozenset({"control_secrets", "anchor", "advance_anchor"})
"""What it takes to open a lake and to append to its audit log."""

CALLS: Mapping[Role, frozenset[str]] = {
    Role.GATEWAY: _OPENING | {"release", "check_open", "epoch", "releases", "counts"},
    Role.INGEST: _OPENING | {"announce", "wrap", "new_subjects", "take_events"},
    Role.JOBS: _OPENING | {"release", "announce", "wrap", "check_wraps", "take_events", "counts"},
    Role.OPERATOR: _OPENING | {"check_wraps", "verify", "counts", "releases"},
}

RECEIPTS: Mapping[Role, frozenset[str]] = {
    Role.GATEWAY: frozenset({INTENT}),
    Role.JOBS: frozenset({REKEY_INTENT, JOB_INTENT}),
}
"""The entries whose receipts a role may show: only a host for jobs opens keys that are marked as compromised."""

_RECORDING = frozenset({CATALOG, AUDIT_SIGNING, AUDIT_TAGS, DIRECTORY})
"""What it takes to append to the catalog and to the audit log, and to enter people under pseudonyms."""

SECRETS: Mapping[Role, frozenset[str]] = {
    Role.GATEWAY: _RECORDING | {AUDIT_DETAIL, POLICY, PSEUDONYMS},
    Role.INGEST: _RECORDING,
    Role.JOBS: _RECORDING,
    Role.OPERATOR: _RECORDING | {POLICY},
}

MOST_ASKED: Mapping[Role, int] = {
    Role.GATEWAY: MOST_BYTES,
    Role.INGEST: 16 * MIB,
    Role.JOBS: MOST_BYTES,
    Role.OPERATOR: MIB,
}
"""Bytes of one request."""
