"""The folder of a spool on disk: one owner at a time, the key that everything in it is sealed with, a key per lease.

Whoever destroys a lease's key has destroyed what was recorded under it, whatever becomes of the files.
"""

from __future__ import annotations

import fcntl
import os
import sys
from contextlib import suppress
from pathlib import Path

from keys import envelope
from keys.envelope import KEY_BYTES, Kind
from keys.errors import KeyIntegrityError, KeyStoreMissingError
from keys.secretfiles import read_secret_file, sync_folder, write_secret_file
from lake.errors import IntegrityError, LeaseHeldError, UsageError

KEY_FILE = "spool.key"
_LOCK, _STATE = "lock", "state"


def sealing_context(*words: str | int) -> bytes:
    """What a blob of a spool is bound to."""
    return envelope.context(Kind.SPOOL, *words)


def read_key(file: Path) -> bytes:
    """The key in a file.

    Raises:
        KeysError: there is none, or it is open to others.
        UsageError: it holds something else.
    """
    key = read_secret_file(file)
    if len(key) != KEY_BYTES:
        raise UsageError(f"{file} holds no key of {KEY_BYTES} bytes", hint="name the file that the collector made")
    return key


def ensure_key(file: Path) -> bytes:
    """The key in a file, which is made with mode 0600 if it is not there."""
    try:
        return read_key(file)
    except KeyStoreMissingError:
        write_secret_file(file, envelope.new_key(), replace=False)
        return read_key(file)


class Folder:
    """A spool's folder, held by one process from opening to closing. Its ``repr`` shows the path only.

    Raises:
        LeaseHeldError: another collector uses it.
        UsageError: it cannot be used, or belongs to somebody else.
    """

    def __init__(self, path: Path, key: bytes) -> None:
        self.path = path
        self._key = key
        self._keys: dict[str, bytes] = {}
        _make(path, path / "batches", path / "leases")
        self._lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise LeaseHeldError("another collector uses this folder", hint="'lake collect stop' ends it") from None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)

    def __repr__(self) -> str:
        return f"Folder({str(self.path)!r})"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("keys are not pickled")

    @property
    def batches(self) -> Path:
        """Where batches lie."""
        return self.path / "batches"

    def close(self) -> None:
        """Let others have it."""
        self._keys.clear()
        os.close(self._lock)

    def load_state(self) -> bytes | None:
        """The saved state; None in a new folder."""
        return load_state(self.path, self._key)

    def save_state(self, content: bytes) -> None:
        """Replace the state, durably."""
        sealed = envelope.seal(self._key, content, sealing_context(_STATE))
        replace_file(self.path / _STATE, sealed)

    def lease_key(self, lease: str) -> bytes | None:
        """The key of what was recorded under a lease; None if it was destroyed."""
        if lease not in self._keys:
            try:
                blob = self._lease_file(lease).read_bytes()
            except FileNotFoundError:
                return None
            self._keys[lease] = envelope.unseal(self._key, blob, sealing_context("lease", lease))
        return self._keys[lease]

    def make_lease_key(self, lease: str) -> bytes:
        """The same, made if it is not there."""
        key = self.lease_key(lease)
        if key is None:
            key = envelope.new_key()
            replace_file(self._lease_file(lease), envelope.seal(self._key, key, sealing_context("lease", lease)))
            sys.audit("lake.step", "spool.keyed")
            self._keys[lease] = key
        return key

    def destroy_lease_key(self, lease: str) -> None:
        """Overwrite and remove a lease's key: nothing that was recorded under it opens any more."""
        self._keys.pop(lease, None)
        with suppress(FileNotFoundError):
            file = self._lease_file(lease)
            descriptor = os.open(file, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                os.pwrite(descriptor, os.urandom(os.fstat(descriptor).st_size), 0)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            sys.audit("lake.step", "spool.key_overwritten")
            file.unlink()
            sync_folder(file.parent)

    def leases_with_keys(self) -> list[str]:
        """Leases whose keys are there."""
        return sorted(file.stem for file in (self.path / "leases").glob("*.key"))

    def _lease_file(self, lease: str) -> Path:
        return self.path / "leases" / f"{lease}.key"


def load_state(path: Path, key: bytes) -> bytes | None:
    """The state of a spool that another process may be using; None if there is none.

    Raises:
        IntegrityError: the key is another one, or the file was changed.
    """
    try:
        blob = (path / _STATE).read_bytes()
    except FileNotFoundError:
        return None
    try:
        return envelope.unseal(key, blob, sealing_context(_STATE))
    except KeyIntegrityError:
        raise IntegrityError(
            "the spool does not open with this key", hint="give the key that it was made with, or a new folder"
        ) from None


def owner(path: Path) -> int | None:
    """The process that uses a folder; None if none does."""
    try:
        descriptor = os.open(path / _LOCK, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        text = os.read(descriptor, 32).decode("ascii", "replace").strip()
        return int(text) if text.isdecimal() and int(text) > 1 else None
    finally:
        os.close(descriptor)
    return None


def replace_file(file: Path, content: bytes) -> None:
    """Put a file of mode 0600 in the place of another, wholly or not at all, durably."""
    draft = file.with_name(f"{file.name}.draft")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as opened:
        opened.write(content)
        opened.flush()
        os.fsync(opened.fileno())
    sys.audit("lake.step", "spool.drafted")
    draft.rename(file)
    sync_folder(file.parent)


def _make(*paths: Path) -> None:
    for path in paths:
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = path.stat()
        except OSError as error:
            raise UsageError(f"{path} cannot be used: {os.strerror(error.errno or 0)}") from None
        if status.st_uid != os.geteuid() or status.st_mode & 0o077:
            raise UsageError(f"{path} is open to others, or not yours", hint=f"chmod 700 {path}")
