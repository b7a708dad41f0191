"""The local provider: root keys in one sealed file, opened by a key file or a passphrase.

Format: docs/formats.md, "Key store file". The sealing key also depends on a device secret in a file of its own, which
is replaced whenever a key version is destroyed and never backed up: an old copy of the key store then no longer opens,
even with the same passphrase. What it can't do: erase blocks of an SSD or reach a copy of the device secret.
"""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from keys import envelope
from keys.errors import KeyStateError, KeyStoreLockedError, KeyStoreMissingError, SecretFileError
from keys.providers import KeyToWrap, ProviderKey, WrappedKey
from keys.providers.local_file import SALT_BYTES, Header, RootKeys, Versions, device_id, encode, open_keys, parse
from keys.refs import KeyState
from keys.secretfiles import read_secret_file, sync_folder, write_secret_file
from keys.unlock import KdfParameters, UnlockSecret

STORE, DEVICE, NEXT_DEVICE, LOCK = "keystore.bin", "device.secret", "device.secret.next", "keystore.lock"


def initialise(folder: Path, secret: UnlockSecret, lake: str) -> None:
    """Make an empty key store for one lake; never overwrites one.

    Raises:
        SecretFileError: there is a key store already, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError:
        raise SecretFileError(f"the folder {folder} cannot be made") from None
    with _folder_lock(folder):
        if (folder / STORE).exists():
            raise SecretFileError(f"{folder / STORE} exists already", hint="it is never overwritten")
        device = os.urandom(envelope.KEY_BYTES)
        header = Header(lake, 0, KdfParameters(secret.kind), os.urandom(SALT_BYTES), device_id(device))
        # A device secret without a key store is the rest of an attempt that was cut off.
        write_secret_file(folder / DEVICE, device, replace=True)
        sealing_key = secret.sealing_key(header.parameters, header.salt, device)
        write_secret_file(folder / STORE, encode(header, {}, sealing_key), replace=False)


@contextmanager
def _folder_lock(folder: Path) -> Iterator[None]:
    """Excludes other processes from changing the key store."""
    if not folder.is_dir():
        raise SecretFileError(f"there is no key store folder {folder}")
    with (folder / LOCK).open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class LocalProvider:
    """Root keys held by this process. Its ``repr`` shows the folder only."""

    kind = "local"
    _header: Header | None = None
    _seen: tuple[int, int]
    _sealing_key: bytes
    _keys: RootKeys

    def __init__(self, folder: Path, secret: UnlockSecret) -> None:
        """Open the key store in ``folder``.

        Raises:
            KeyStoreMissingError, SecretFileError, KeyStoreLockedError: see there.
        """
        self._folder = folder
        self._secret = secret
        with _folder_lock(self._folder):
            self._load()

    def __repr__(self) -> str:
        return f"LocalProvider({str(self._folder)!r})"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("keys are not pickled")

    @property
    def lake(self) -> str:
        """The id of the lake that this key store belongs to."""
        return self._opened().lake

    def _opened(self) -> Header:
        if self._header is None:
            raise KeyStoreLockedError("the key store is not open")
        return self._header

    def create(self, names: Collection[str]) -> None:
        """See KeyProvider."""
        with self._changing():
            for name in names:
                if name in self._keys:
                    raise KeyStateError(f"the key {name!r} exists already")
                self._keys[name] = {1: (KeyState.ENABLED, envelope.new_key())}

    def describe(self, name: str) -> ProviderKey:
        """See KeyProvider."""
        self._follow()
        versions = self._versions(name)
        return ProviderKey(name, max(versions), {number: state for number, (state, _) in versions.items()})

    def wrap(self, name: str, version: int, items: Sequence[KeyToWrap]) -> list[bytes]:
        """See KeyProvider."""
        key = self._wrapping(name, version)
        return [envelope.seal(key, item.key, item.bound_to) for item in items]

    def unwrap(self, name: str, items: Sequence[WrappedKey]) -> list[bytes]:
        """See KeyProvider."""
        self._follow()
        versions = self._versions(name)
        return [self._open(name, versions, item) for item in items]

    def rewrap(self, name: str, version: int, items: Sequence[WrappedKey]) -> list[bytes]:
        """See KeyProvider."""
        key = self._wrapping(name, version)
        versions = self._versions(name)
        return [envelope.seal(key, self._open(name, versions, item), item.bound_to) for item in items]

    def new_version(self, name: str, after: int) -> int:
        """See KeyProvider."""
        with self._changing():
            versions = self._versions(name)
            current = max(versions)
            if after > current:
                raise KeyStateError(f"the key {name!r} has no version {after}")
            if current == after:
                versions[current] = (KeyState.DECRYPT_ONLY, versions[current][1])
                versions[current + 1] = (KeyState.ENABLED, envelope.new_key())
            return max(versions)

    def trim(self, name: str, below: int) -> None:
        """See KeyProvider. Replaces the device secret, so that older copies of the file no longer open."""
        found = self.describe(name)
        if below > found.current:
            raise KeyStateError(f"the current version of the key {name!r} cannot be trimmed")
        if all(state is KeyState.DESTROYED for number, state in found.versions.items() if number < below):
            return
        with self._changing(new_device=True):
            versions = self._versions(name)
            for number in [number for number in versions if number < below]:
                versions[number] = (KeyState.DESTROYED, b"")

    def close(self) -> None:
        """Nothing to give back: files are opened for each change only."""

    def _versions(self, name: str) -> Versions:
        if name not in self._keys:
            raise KeyStateError(f"there is no key {name!r} in the key store")
        return self._keys[name]

    def _wrapping(self, name: str, version: int) -> bytes:
        self._follow()
        state, key = self._version(name, self._versions(name), version)
        if not state.wraps:
            raise KeyStateError(f"version {version} of the key {name!r} is {state.value} and does not wrap")
        return key

    @staticmethod
    def _version(name: str, versions: Versions, version: int) -> tuple[KeyState, bytes]:
        if version not in versions:
            raise KeyStateError(f"there is no version {version} of the key {name!r}")
        return versions[version]

    def _open(self, name: str, versions: Versions, item: WrappedKey) -> bytes:
        state, key = self._version(name, versions, item.version)
        if not state.unwraps:
            raise KeyStateError(f"version {item.version} of the key {name!r} is {state.value} and does not unwrap")
        return envelope.unseal(key, item.blob, item.bound_to)

    @contextmanager
    def _changing(self, *, new_device: bool = False) -> Iterator[None]:
        """One change: under the lock, on the newest state, stored before it counts."""
        with _folder_lock(self._folder):
            self._load()
            try:
                yield
                if new_device:
                    self._seal_for_new_device()
                self._header = replace(self._opened(), generation=self._opened().generation + 1)
                content = encode(self._opened(), self._keys, self._sealing_key)
                write_secret_file(self._folder / STORE, content, replace=True)
                sys.audit("lake.step", "keystore.replaced")
                if new_device:
                    self._adopt_next_device()
            except BaseException:
                self._load()
                raise

    def _seal_for_new_device(self) -> None:
        device = os.urandom(envelope.KEY_BYTES)
        write_secret_file(self._folder / NEXT_DEVICE, device, replace=True)
        sys.audit("lake.step", "keystore.next-device-written")
        header = self._header = replace(self._opened(), device=device_id(device))
        self._sealing_key = self._secret.sealing_key(header.parameters, header.salt, device)

    def _adopt_next_device(self) -> None:
        (self._folder / NEXT_DEVICE).rename(self._folder / DEVICE)
        sync_folder(self._folder)
        sys.audit("lake.step", "keystore.device-replaced")

    def _follow(self) -> None:
        """Take in what another process has changed; every change replaces the file."""
        try:
            current = (self._folder / STORE).stat()
        except OSError:
            raise KeyStoreMissingError(f"{self._folder / STORE} is gone") from None
        if (current.st_ino, current.st_mtime_ns) != self._seen:
            with _folder_lock(self._folder):
                self._load()

    def _load(self) -> None:
        """Read the newest state; the slow derivation only when it would give another key."""
        status = (self._folder / STORE).stat() if (self._folder / STORE).exists() else None
        file = parse(read_secret_file(self._folder / STORE))
        device = self._matching_device(file.header.device)
        known = self._header
        if known is None or (known.device, known.salt, known.parameters) != (
            file.header.device,
            file.header.salt,
            file.header.parameters,
        ):
            self._sealing_key = self._secret.sealing_key(file.header.parameters, file.header.salt, device)
        self._keys = open_keys(file, self._sealing_key)
        self._header = file.header
        # Last: another thread that finds this file seen goes by the keys that are here.
        self._seen = (status.st_ino, status.st_mtime_ns) if status else (0, 0)
        self._settle_devices(file.header.device)

    def _matching_device(self, wanted: str) -> bytes:
        """The device secret that the store was sealed with: the current one, or the next after a crash."""
        for name in (DEVICE, NEXT_DEVICE):
            if (self._folder / name).exists():
                secret = read_secret_file(self._folder / name)
                if device_id(secret) == wanted:
                    return secret
        raise KeyStoreLockedError(
            "the key store was sealed on another device, or is an old copy", hint="an old copy stays closed on purpose"
        )

    def _settle_devices(self, current: str) -> None:
        """Finish or undo a replacement that a crash has left half done."""
        following = self._folder / NEXT_DEVICE
        if following.exists():
            if device_id(read_secret_file(following)) == current:
                self._adopt_next_device()
            else:
                with suppress(OSError):
                    following.unlink()
