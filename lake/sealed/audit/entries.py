"""Entries of the audit log: canonical JSON (the subset of RFC 8785 without floating point), at most 65,535 bytes.

People are pseudonyms, employees are dense numbers in roaring bitmaps, query text is sealed; docs/formats.md has the
fields of every type. What does not fit into an entry lies beside the log and is named by its digest.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from pyroaring import BitMap

from lake.clock import timestamp
from lake.errors import AuditUnavailableError, IntegrityError

MAX_INLINE = 48_000
"""Bytes of an entry beyond which its large fields are moved beside the log."""
SPILLABLE = ("scope", "touched", "sealed")

INTENT, OUTCOME, DENY = "query.intent", "query.outcome", "query.deny"
BATCH, BATCH_REFUSED = "ingest.batch", "ingest.refused"
POLICY, KEYS, CREATED, READ = "policy.apply", "key.create", "lake.create", "audit.read"
CONTRACT = "contract"
"""Followed by what happened to a version of a contract, such as ``contract.approve``; or ``contract.deny``."""
KEY_OPERATION = "key.operation"
BACKUP, RESTORED = "lake.backup", "lake.restore"
REKEY_INTENT, REKEY_OUTCOME = "rekey.intent", "rekey.outcome"
JOB_INTENT, JOB_OUTCOME = "job.intent", "job.outcome"
"""Of a job that reads whole files; ``job`` says which. Its outcome has the rows that were read."""
PAUSE, OPT_OUT, RESUME = "collection.pause", "collection.opt_out", "collection.resume"
"""A resumption has a ``step``: ``request``, then ``approve`` by another person."""
FREEZE, UNFREEZE = "reads.freeze", "reads.unfreeze"
LEASE, DEVICE = "lease", "device"
"""Followed by what happened, such as ``lease.grant`` or ``device.retire``."""
BREAK_GLASS = "break_glass"
"""Followed by what happened to an elevation, such as ``break_glass.approve``; or ``break_glass.deny``."""


def bitmap(numbers: Iterable[int]) -> str:
    """Employee numbers as a base64 roaring bitmap (the portable format of the Roaring specification)."""
    members = BitMap(numbers)
    members.run_optimize()
    return base64.b64encode(members.serialize()).decode()


def members(text: str) -> set[int]:
    """The numbers of a bitmap."""
    return set(BitMap.deserialize(base64.b64decode(text)))


def canonical(value: Mapping[str, Any]) -> bytes:
    """Canonical JSON of strings, integers, booleans, lists and objects."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def new_entry(kind: str, moment: datetime, fields: Mapping[str, Any]) -> dict[str, Any]:
    """An entry with its common fields. The salt keeps a leaf's hash from confirming a guess of its content."""
    return {
        "v": 1,
        "id": secrets.token_hex(16),
        "ts": timestamp(moment),
        "salt": base64.b64encode(os.urandom(16)).decode(),
        "type": kind,
        **fields,
    }


class Attachments:
    """Large fields beside the log, each named and checked by its SHA-256."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def fit(self, entry: dict[str, Any]) -> tuple[bytes, dict[str, bytes]]:
        """The entry's bytes, its large fields moved out if need be; and what was moved, by field."""
        moved: dict[str, bytes] = {}
        content = canonical(entry)
        for name in sorted(SPILLABLE, key=lambda field: -len(canonical({"": entry.get(field, "")}))):
            if len(content) <= MAX_INLINE:
                break
            if name in entry:
                document = canonical({"": entry[name]}) if isinstance(entry[name], str) else canonical(entry[name])
                entry = {**entry, name: {"ref": self._put(document)}}
                moved[name] = document
                content = canonical(entry)
        return content, moved

    def resolve(self, value: Any) -> Any:
        """A field's value, fetched if it was moved out.

        Raises:
            IntegrityError: the attachment is missing or is not what the entry names.
        """
        if not (isinstance(value, dict) and set(value) == {"ref"}):
            return value
        ref = str(value["ref"])
        try:
            document = self._path(ref).read_bytes()
        except OSError:
            raise IntegrityError("an attachment of the audit log is missing", hint="restore it from a backup") from None
        if "sha256:" + hashlib.sha256(document).hexdigest() != ref:
            raise IntegrityError("an attachment of the audit log was changed", hint="restore it from a backup")
        found = json.loads(document)
        return found[""] if set(found) == {""} else found

    def restore(self, digest: str, document: bytes) -> None:
        """Put back an attachment whose SHA-256 in hex this is; nothing if it is there.

        Raises:
            IntegrityError: it is another one.
            AuditUnavailableError: it cannot be written.
        """
        if hashlib.sha256(document).hexdigest() != digest:
            raise IntegrityError("an attachment of the audit log was changed", hint="use another copy")
        if not self._path(digest).exists():
            self._put(document)

    def _path(self, ref: str) -> Path:
        digest = ref.removeprefix("sha256:")
        return self._root / "sealed" / digest[:2] / digest

    def _put(self, document: bytes) -> str:
        ref = "sha256:" + hashlib.sha256(document).hexdigest()
        path = self._path(ref)
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            temporary = path.with_name(f".{secrets.token_hex(8)}")
            try:
                with temporary.open("xb") as file:
                    file.write(document)
                    file.flush()
                    os.fsync(file.fileno())
                temporary.rename(path)
            finally:
                with suppress(OSError):
                    temporary.unlink()
            for folder in (path.parent, path.parent.parent, self._root):
                descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
        except OSError:
            raise AuditUnavailableError(
                "the audit log cannot store an attachment", hint="check the disk; nothing is read or changed until then"
            ) from None
        return ref
