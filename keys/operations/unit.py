"""A backup of a whole lake as one unit: sealed parts, an index that names them, and a signed manifest over both.

Each part is sealed under a key of its own; the index holds these keys and is sealed under the key of the unit, which
the control root wraps. So a part that has not changed belongs to many units, and whoever has the folder has nothing.
The key store is not among the parts: the manifest names a key backup (backup.py). Format: docs/formats.md,
"Backup unit".
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from keys import envelope
from keys.envelope import Kind
from keys.errors import KeyIntegrityError, KeyOperationError, KeyStateError, SecretFileError
from keys.names import CONTROL_ROOT
from keys.operations.backup import MANIFEST, BackupFolder, write_file
from keys.providers import KeyProvider, KeyToWrap, WrappedKey
from keys.secretfiles import sync_folder
from keys.signing import NoteSigner, NoteVerifier

TITLE = "telemetry-lake backup unit v1"
SUFFIX = ".unit"
HINT = "use another unit"
Facts = Mapping[str, Any]
Part = tuple[str, int, str, str]
"""Digest in hex of the sealed bytes, their number, key in base64, digest in hex of what is sealed."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit as its manifest states it.

    Attributes:
        at: microseconds since 1970.
        provider: kind of the provider whose control root wraps the unit's key.
        root_version, wrapped: that wrap.
        index, index_length: SHA-256 of the sealed index in hex, and its bytes.
        keys, keys_digest: id of the key backup, and SHA-256 of its manifest in hex.
        epoch, fence: key epoch of that backup, and the catalog's fence.
        catalog_seq, catalog_mac: the catalog's newest commit.
        audit_size, audit_root: the audit log's head.
        objects, objects_digest: how many live files the catalog names, and a digest over them.
    """

    id: str
    lake: str
    audit_key: str
    at: int
    provider: str
    root_version: int
    wrapped: bytes
    index: str
    index_length: int
    keys: str
    keys_digest: str
    epoch: int
    fence: int
    catalog_seq: int
    catalog_mac: bytes
    audit_size: int
    audit_root: bytes
    objects: int
    objects_digest: str


class OpenUnit:
    """The parts of a unit whose key was unwrapped. Its ``repr`` shows the id only."""

    def __init__(self, folder: UnitFolder, unit: Unit, parts: Mapping[str, Part]) -> None:
        self._folder = folder
        self.unit = unit
        self._parts = parts

    def __repr__(self) -> str:
        return f"OpenUnit({self.unit.id!r})"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("keys are not pickled")

    def names(self, prefix: str = "") -> list[str]:
        """Names of the parts below a prefix, in order."""
        return sorted(name for name in self._parts if name.startswith(prefix))

    def read(self, name: str) -> bytes:
        """What a part holds.

        Raises:
            KeyIntegrityError: it is missing or changed; names it.
        """
        if name not in self._parts:
            raise KeyIntegrityError(f"the unit has no part {name}", hint=HINT)
        digest, length, key, content = self._parts[name]
        blob = self._folder.stored(digest, length, name)
        plain = envelope.unseal(base64.b64decode(key), blob, _context(self.unit.lake, "part", name))
        if hashlib.sha256(plain).hexdigest() != content:
            raise KeyIntegrityError(f"the part {name} of a unit was changed", hint=HINT)
        return plain

    def same(self, name: str, content: str) -> Part | None:
        """The part of this name if it holds what has this digest, and lies there undamaged."""
        part = self._parts.get(name)
        if part is None or part[3] != content:
            return None
        try:
            self._folder.stored(part[0], part[1], name)
        except KeyIntegrityError:
            return None
        return part


class UnitDraft:
    """A unit that is being written; without :meth:`publish` nothing of it counts."""

    def __init__(self, folder: UnitFolder, lake: str, former: OpenUnit | None) -> None:
        self._folder = folder
        self._lake = lake
        self._former = former
        self._parts: dict[str, Part] = {}
        self.written = 0

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("keys are not pickled")

    @property
    def parts(self) -> int:
        """How many parts it has so far; ``written`` of them are new."""
        return len(self._parts)

    def put(self, name: str, plain: bytes) -> None:
        """Add a part; one that the former unit has as well is taken over."""
        content = hashlib.sha256(plain).hexdigest()
        part = self._former.same(name, content) if self._former is not None else None
        if part is None:
            key = envelope.new_key()
            blob = envelope.seal(key, plain, _context(self._lake, "part", name))
            part = (*self._folder.store(blob), base64.b64encode(key).decode(), content)
            self.written += 1
            sys.audit("lake.step", "backup.part-written")
        self._parts[name] = part

    def publish(self, provider: KeyProvider, signer: NoteSigner, facts: Facts) -> Unit:
        """Seal the index, wrap the unit's key, and write the manifest: from then on the unit is there."""
        unit_id, key = secrets.token_hex(16), envelope.new_key()
        body = json.dumps(self._parts, sort_keys=True, separators=(",", ":")).encode()
        index, length = self._folder.store(envelope.seal(key, body, _context(self._lake, "index", unit_id)))
        version = provider.describe(CONTROL_ROOT).current
        (blob,) = provider.wrap(CONTROL_ROOT, version, [KeyToWrap(key, _context(self._lake, "unit", unit_id))])
        unit = Unit(
            id=unit_id,
            lake=self._lake,
            audit_key=signer.verifier_key,
            provider=provider.kind,
            root_version=version,
            wrapped=blob,
            index=index,
            index_length=length,
            **facts,
        )
        sync_folder(self._folder.folder / "parts")
        sys.audit("lake.step", "backup.parts-durable")
        self._folder.open(unit, provider)  # a key that the provider does not give back protects nothing
        self._folder.publish(unit, signer)
        sys.audit("lake.step", "backup.published")
        return unit


class UnitFolder:
    """Units of one lake in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def keys(self) -> BackupFolder:
        """The key backups that the units name."""
        return BackupFolder(self.folder / "keys")

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Holds the folder's lock.

        Raises:
            SecretFileError: the folder cannot be written.
            KeyOperationError: another process writes a unit.
        """
        try:
            (self.folder / "parts").mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = (self.folder / "lock").open("ab")
        except OSError:
            raise SecretFileError(f"the folder {self.folder} cannot be written") from None
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise KeyOperationError("another backup to this folder is running", hint="wait for it") from None
            yield

    def list(self) -> list[str]:
        """Ids of the units here.

        Raises:
            SecretFileError: the folder is missing or cannot be read.
        """
        try:
            names = [path.name for path in self.folder.iterdir()]
        except OSError:
            raise SecretFileError(f"the folder {self.folder} cannot be read") from None
        return sorted(name.removesuffix(SUFFIX) for name in names if name.endswith(SUFFIX))

    def read(self, unit_id: str, audit_key: str | None = None) -> Unit:
        """A unit's manifest.

        Args:
            audit_key: who must have signed it; if the lake is lost, whom it names itself: then its provider has to
                prove that it is what it says (:meth:`open`, and the control secrets of its key backup).

        Raises:
            KeyIntegrityError: it is not one, was changed, or is of another lake; names it.
        """
        try:
            note = (self.folder / f"{unit_id}{SUFFIX}").read_text("utf-8")
            title, body, *_ = note.split("\n")
            fields: dict[str, Any] = json.loads(body)
            version = fields.pop("v")
            unit = Unit(**{**fields, **{name: bytes.fromhex(fields[name]) for name in _HEX}})
            whole = all(isinstance(value, _TYPES[name]) for name, value in asdict(unit).items())
        except (OSError, ValueError, KeyError, TypeError):
            raise KeyIntegrityError(f"there is no whole unit {unit_id[:32]!r} in {self.folder}", hint=HINT) from None
        if not whole or (title, version, unit.id) != (TITLE, 1, unit_id):
            raise KeyIntegrityError(f"the manifest of the unit {unit_id[:32]} is not its own", hint=HINT)
        if audit_key not in {None, unit.audit_key}:
            raise KeyIntegrityError(f"the unit {unit_id[:32]} belongs to another lake", hint=HINT)
        try:
            NoteVerifier([unit.audit_key]).open(note)
        except KeyIntegrityError:
            raise KeyIntegrityError(f"the manifest of the unit {unit_id[:32]} was changed", hint=HINT) from None
        return unit

    def open(self, unit: Unit, provider: KeyProvider) -> OpenUnit:
        """Unwrap a unit's key and read its index.

        Raises:
            KeyIntegrityError, KeyStateError: the provider does not open it, or the index was changed.
        """
        context = _context(unit.lake, "unit", unit.id)
        (key,) = provider.unwrap(CONTROL_ROOT, [WrappedKey(unit.root_version, unit.wrapped, context)])
        blob = self.stored(unit.index, unit.index_length, "index")
        body = envelope.unseal(key, blob, _context(unit.lake, "index", unit.id))
        parts: dict[str, Sequence[Any]] = json.loads(body)
        return OpenUnit(self, unit, {name: (d, n, key, content) for name, (d, n, key, content) in parts.items()})

    def newest(self, audit_key: str, provider: KeyProvider) -> OpenUnit | None:
        """The newest unit that opens; one that is damaged or whose root is gone is not built upon."""
        found: list[Unit] = []
        for name in self.list():
            with suppress(KeyIntegrityError):
                found.append(self.read(name, audit_key))
        for unit in sorted(found, key=newer, reverse=True):
            with suppress(KeyIntegrityError, KeyStateError):
                return self.open(unit, provider)
        return None

    def key_manifest(self, backup_id: str) -> str:
        """SHA-256 in hex of the manifest of a key backup.

        Raises:
            KeyIntegrityError: it is missing.
        """
        try:
            return hashlib.sha256((self.keys.folder / f"{backup_id}{MANIFEST}").read_bytes()).hexdigest()
        except OSError:
            raise KeyIntegrityError(f"the key backup {backup_id[:32]} is missing", hint=HINT) from None

    def stored(self, digest: str, length: int, name: str) -> bytes:
        """The bytes of a part as they lie there."""
        try:
            content = (self.folder / "parts" / digest).read_bytes()
        except OSError:
            raise KeyIntegrityError(f"the part {name} of a unit is missing", hint=HINT) from None
        if len(content) != length or hashlib.sha256(content).hexdigest() != digest:
            raise KeyIntegrityError(f"the part {name} of a unit was changed", hint=HINT)
        return content

    def store(self, blob: bytes) -> tuple[str, int]:
        """Write sealed bytes under their digest."""
        digest = hashlib.sha256(blob).hexdigest()
        write_file(self.folder / "parts" / digest, blob)
        return digest, len(blob)

    def publish(self, unit: Unit, signer: NoteSigner) -> None:
        """Write the manifest of a unit whose parts are durable."""
        fields = {name: value.hex() if isinstance(value, bytes) else value for name, value in asdict(unit).items()}
        body = json.dumps({"v": 1, **fields}, sort_keys=True, separators=(",", ":"))
        write_file(self.folder / f"{unit.id}{SUFFIX}", signer.sign(f"{TITLE}\n{body}\n").encode())
        sync_folder(self.folder)


def newer(unit: Unit) -> tuple[int, int, str]:
    """What units are ordered by: each begins with an entry in the log, so that of one moment the longer is newer."""
    return unit.at, unit.audit_size, unit.id


_HEX = ("wrapped", "catalog_mac", "audit_root")
_TYPES: dict[str, type] = {
    name: {"int": int, "bytes": bytes, "str": str}[kind] for name, kind in Unit.__annotations__.items()
}


def _context(lake: str, what: str, name: str) -> bytes:
    return envelope.context(Kind.BACKUP, lake, what, name)
