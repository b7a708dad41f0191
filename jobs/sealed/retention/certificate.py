"""Purge certificates: a signed note, the audit entry that names it, and the proof that the log holds the entry.

One text file of three parts, each in its only form, so that a changed byte is a certificate that does not verify. It
names pseudonyms, ids, fingerprints and counts; nobody's name. Format: docs/formats.md, "Purge certificate".
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from keys.errors import KeyIntegrityError
from keys.signing import NoteVerifier
from lake import __version__
from lake.clock import timestamp
from lake.errors import IntegrityError, UsageError
from lake.gateway.home import Home
from lake.gateway.recorder import Actor
from lake.rules import layout
from lake.sealed.audit.entries import canonical
from lake.sealed.audit.proofs import Receipt

TITLE = "telemetry-lake purge certificate v1"
ENTRY = "purge.certificate"
MARKS = ("\n=== entry\n", "\n=== proof\n")
CRYPTO = "cryptographic erase (NIST SP 800-88 rev. 2): keys destroyed, then the ciphertext deleted"
REWRITE = "rewrite: the rows that stay written anew under another key, then cryptographic erase of the former file"
OUT_OF_REACH = ("results, exports and models made before", "keys that somebody copied out of a process before")
LISTED = 2_000
"""Keys that a certificate lists one by one; of more it has the number and a digest."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate that holds: what it says, and the log's time and index for it."""

    data: Mapping[str, Any]
    index: int
    recorded: str


def listed(values: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """A list as a certificate has it: number, digest over its lines, and the list itself unless it is long."""
    ordered = sorted(map(list, values))
    digest = hashlib.sha256()
    for value in ordered:
        digest.update(canonical({"": value}) + b"\n")
    found: dict[str, Any] = {"count": len(ordered), "digest": "sha256:" + digest.hexdigest()}
    return found | ({"list": ordered} if len(ordered) <= LISTED else {})


def issue(home: Home, actor: Actor, body: Mapping[str, Any]) -> str:
    """Sign a certificate, record its digest, and bring all three together."""
    signer = home.control.signer(layout.audit_origin(home.config.lake))
    data = {
        "v": 1,
        "lake": home.config.lake,
        **body,
        "tool": ["telemetry-lake", __version__],
        "verifier": actor.tag,
        "verified_at": timestamp(home.clock()),
        "out_of_reach": list(OUT_OF_REACH),
    }
    note = signer.sign(f"{TITLE}\n{canonical(data).decode()}\n")
    digest = "sha256:" + hashlib.sha256(note.encode()).hexdigest()
    named = {name: data[name] for name in ("kind", "run", "plan")}
    recorded = home.recorder.record(ENTRY, actor, {"certificate": digest, **named})
    proof = home.log.receipt(recorded.index)
    return f"{note}{MARKS[0]}{recorded.content.decode()}{MARKS[1]}{proof}"


def open_certificate(text: str, verifier_key: str) -> Certificate:
    """Check a certificate with nothing but the public key of the lake's log.

    Raises:
        UsageError: it is not one, or the key is none.
        IntegrityError: something of it was changed, or another lake has made it.
    """
    note, first, rest = text.partition(MARKS[0])
    content, second, proof = rest.partition(MARKS[1])
    if not (first and second and note.startswith(TITLE + "\n")):
        raise UsageError("this is not a purge certificate", hint="'lake jobs retention verify' writes one")
    try:
        notes = NoteVerifier([verifier_key])
    except KeyIntegrityError:
        raise UsageError("this is not a verifier key", hint="'audit_key' in the lake's lake.json") from None
    try:
        body = notes.open(note).partition("\n")[2]
        data: dict[str, Any] = json.loads(body)
        entry: dict[str, Any] = json.loads(content)
        digest = "sha256:" + hashlib.sha256(note.encode()).hexdigest()
        same = canonical(data) + b"\n" == body.encode() and canonical(entry) == content.encode()
        named = [entry["type"], entry["certificate"], *(entry[name] for name in ("kind", "run", "plan"))]
        fits = named == [ENTRY, digest, *(data[name] for name in ("kind", "run", "plan"))] and data["v"] == 1
        receipt = Receipt.parse(proof)
        same = same and receipt.to_text() == proof and note.endswith("\n") and note.count("\n\n") == 1
    except (KeyIntegrityError, ValueError, KeyError, TypeError):
        raise _changed() from None
    if not (same and fits):
        raise _changed()
    receipt.verify(content.encode(), layout.audit_origin(str(data["lake"])), notes)
    return Certificate(data, receipt.index, str(entry["ts"]))


def horizon(home: Home, finished: int, copies_kept: int | None) -> dict[str, Any]:
    """When copies of key service and database that nobody here can delete are gone; ``after`` is null if not stated."""
    snapshots = home.snapshot_days if copies_kept is None else copies_kept
    archive = 0 if home.key_database.is_sqlite else (home.archive_days if copies_kept is None else copies_kept)
    at = datetime.fromtimestamp(finished / 1_000_000, UTC)
    days = [snapshots, archive]
    known = [one for one in days if one is not None]
    after = None if len(known) < len(days) else max(known)
    ends = None if after is None else timestamp(datetime.fromtimestamp(at.timestamp() + after * 86_400, UTC))
    return {"after": ends, "provider_snapshot_days": snapshots, "database_archive_days": archive}


def _changed() -> IntegrityError:
    return IntegrityError("the certificate was changed, or another lake has made it", hint="ask for the original")
