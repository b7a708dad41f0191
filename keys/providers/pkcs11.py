"""The PKCS#11 provider: keys in a hardware security module, or in SoftHSM2. A version is an AES-256 key object.

The object of version 2 of ``root`` is labelled ``tlake-root/v2``; it cannot be extracted, and wraps with AES-GCM. The
highest version present is the current one, lower ones that are absent have been destroyed, and an operator suspends
one by taking ``CKA_DECRYPT`` away. What it can't do: re-wrap without the keys passing through this process, and
reach backups of the token.

PKCS#11 has no atomic "make it unless it exists". Processes whose PIN files lie in the same folder exclude each other
there. Hosts that share a token do not: if two make the same version at once, each sees the other's and withdraws its
own before anyone was told of it; and should two with the same label ever stay, both are refused. Let one host rotate.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pkcs11
from pkcs11 import Attribute, GCMParams, KeyType, Mechanism, MechanismFlag, ObjectClass

from keys.errors import KeyIntegrityError, KeyStateError, ProviderError, SecretFileError
from keys.providers import KeyToWrap, ProviderKey, WrappedKey, committed
from keys.providers.pkcs11_token import Pkcs11Config, Result, join, leave
from keys.providers.states import unwrapping, wrapping
from keys.refs import KeyState

__all__ = ["Pkcs11Config", "Pkcs11Provider"]

_NONCE, _TAG = 12, 16
_USES = MechanismFlag.ENCRYPT | MechanismFlag.DECRYPT
_READ = [Attribute.LABEL, Attribute.ENCRYPT, Attribute.DECRYPT, Attribute.SENSITIVE, Attribute.EXTRACTABLE]

# Of a changed ciphertext or another context. SoftHSM2 says GeneralError, as for most other things.
_REFUSED = (
    pkcs11.EncryptedDataInvalid,
    pkcs11.EncryptedDataLenRange,
    pkcs11.DataInvalid,
    pkcs11.DataLenRange,
    pkcs11.FunctionFailed,
    pkcs11.GeneralError,
)


@dataclass(frozen=True, slots=True)
class _Version:
    """A version, and the handle of its key unless it was destroyed."""

    state: KeyState
    key: Any = field(default=None, repr=False)


class Pkcs11Provider:
    """Keys of one token. Its ``repr`` shows the token's label and the prefix only."""

    kind = "pkcs11"

    def __init__(self, config: Pkcs11Config) -> None:
        """Log in, unless this process is logged in.

        Raises:
            ProviderDeniedError, ProviderUnavailableError, SecretFileError, KeyStoreMissingError: see `Token.run`.
        """
        self._config = config
        self._joined = True
        self._token = join(config)
        try:
            self._token.run(lambda _: None)
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"Pkcs11Provider({self._config.token_label!r}, {self._config.prefix!r})"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("providers are not pickled")

    def create(self, names: Collection[str]) -> None:
        """See KeyProvider. A process that is killed meanwhile leaves the keys that it had made."""

        def made(session: pkcs11.Session) -> None:
            for name in names:
                if _find(session, self._config.prefix, name):
                    raise KeyStateError(f"the key {name!r} exists already")
            keys: dict[str, Any] = {}
            try:
                for name in names:
                    keys[name] = self._make(session, name, 1)
            except BaseException:
                for key in keys.values():
                    key.destroy()
                raise

        self._alone(made)

    def describe(self, name: str) -> ProviderKey:
        """See KeyProvider."""
        versions = self._token.run(lambda session: self._versions(session, name))
        return ProviderKey(name, max(versions), {number: each.state for number, each in versions.items()})

    def wrap(self, name: str, version: int, items: Sequence[KeyToWrap]) -> list[bytes]:
        """See KeyProvider."""

        def wrapped(session: pkcs11.Session) -> list[bytes]:
            key = wrapping(name, self._versions(session, name), version).key
            return [committed.pack(each.key, each.bound_to, _encrypt(key, each.key, each.bound_to)) for each in items]

        return self._token.run(wrapped)

    def unwrap(self, name: str, items: Sequence[WrappedKey]) -> list[bytes]:
        """See KeyProvider."""

        def unwrapped(session: pkcs11.Session) -> list[bytes]:
            needed = unwrapping(name, self._versions(session, name), items)
            return [_open(needed[item.version].key, item) for item in items]

        return self._token.run(unwrapped)

    def rewrap(self, name: str, version: int, items: Sequence[WrappedKey]) -> list[bytes]:
        """See KeyProvider. The keys pass through this process: AES-GCM has no re-encryption in PKCS#11."""

        def rewrapped(session: pkcs11.Session) -> list[bytes]:
            versions = self._versions(session, name)
            target, needed = wrapping(name, versions, version).key, unwrapping(name, versions, items)
            return [
                committed.repack(item.blob, _encrypt(target, _open(needed[item.version].key, item), item.bound_to))
                for item in items
            ]

        return self._token.run(rewrapped)

    def new_version(self, name: str, after: int) -> int:
        """See KeyProvider."""

        def made(session: pkcs11.Session) -> int:
            current = max(self._versions(session, name))
            if after > current:
                raise KeyStateError(f"the key {name!r} has no version {after}")
            if current == after:
                self._make(session, name, after + 1)
                return after + 1
            return current

        return self._alone(made)

    def trim(self, name: str, below: int) -> None:
        """See KeyProvider."""

        def trimmed(session: pkcs11.Session) -> None:
            versions = self._versions(session, name)
            if below > max(versions):
                raise KeyStateError(f"the current version of the key {name!r} cannot be trimmed")
            for number, found in sorted(versions.items()):
                if number < below and found.key is not None:
                    found.key.destroy()
                    sys.audit("lake.step", "pkcs11.version-destroyed")

        self._alone(trimmed)

    def close(self) -> None:
        """See KeyProvider; the last one to close logs out."""
        if self._joined:
            self._joined = False
            leave(self._config)

    def _alone(self, action: Callable[[pkcs11.Session], Result]) -> Result:
        """A change of the token, which no other process of this host makes meanwhile."""
        with _folder_lock(self._config.pin_file.parent):
            return self._token.run(action)

    def _make(self, session: pkcs11.Session, name: str, version: int) -> Any:
        label = f"{self._config.prefix}{name}/v{version}"
        key = session.generate_key(
            KeyType.AES,
            256,
            label=label,
            id=os.urandom(16),
            store=True,
            capabilities=_USES,
            template={Attribute.PRIVATE: True, Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False},
        )
        sys.audit("lake.step", "pkcs11.key-made")
        if len(list(session.get_objects({Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.LABEL: label}))) != 1:
            key.destroy()
            raise ProviderError(f"another host was making version {version} of the key {name!r}", hint="try again")
        return key

    def _versions(self, session: pkcs11.Session, name: str) -> dict[int, _Version]:
        """The versions of a key that exists, absent ones as destroyed."""
        found = _find(session, self._config.prefix, name)
        if not found:
            raise KeyStateError(f"there is no key {name!r} on the token")
        return {number: found.get(number, _Version(KeyState.DESTROYED)) for number in range(1, max(found) + 1)}


def _find(session: pkcs11.Session, prefix: str, name: str) -> dict[int, _Version]:
    """The versions that are on the token.

    Raises:
        KeyStateError: two keys have one label, or a key could leave the token.
    """
    pattern = re.compile(re.escape(f"{prefix}{name}/v") + r"([1-9][0-9]{0,5})")
    found: dict[int, tuple[Any, dict[Attribute, Any]]] = {}
    template = {Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.KEY_TYPE: KeyType.AES, Attribute.TOKEN: True}
    for key in list(session.get_objects(template)):
        values = key.get_attributes(_READ)
        label = values.get(Attribute.LABEL, "")
        match = pattern.fullmatch(label)
        if match is None:
            continue
        if int(match[1]) in found:
            raise KeyStateError(f"the token has two keys labelled {label}", hint="keep the one that was ever used")
        if values.get(Attribute.EXTRACTABLE, True) or not values.get(Attribute.SENSITIVE, False):
            raise KeyStateError(f"the key {label} may leave the token", hint="it was not made by this project")
        found[int(match[1])] = (key, values)
    current = max(found, default=0)
    return {number: _Version(_state(values, current=number == current), key) for number, (key, values) in found.items()}


def _state(values: dict[Attribute, Any], *, current: bool) -> KeyState:
    if not values.get(Attribute.DECRYPT, False):
        return KeyState.DISABLED
    return KeyState.ENABLED if current and values.get(Attribute.ENCRYPT, False) else KeyState.DECRYPT_ONLY


def _encrypt(key: Any, plain: bytes, bound_to: bytes) -> bytes:
    """``nonce[12] | ciphertext | tag[16]``; few keys are wrapped, far below the limit of random nonces."""
    nonce = os.urandom(_NONCE)
    ciphertext: bytes = key.encrypt(plain, mechanism=Mechanism.AES_GCM, mechanism_param=_parameters(nonce, bound_to))
    return nonce + ciphertext


def _open(key: Any, item: WrappedKey) -> bytes:
    ciphertext = committed.ciphertext_of(item.blob)
    if len(ciphertext) <= _NONCE + _TAG:
        raise KeyIntegrityError("a wrapped key is too short")
    parameters = _parameters(ciphertext[:_NONCE], item.bound_to)
    try:
        plain: bytes = key.decrypt(ciphertext[_NONCE:], mechanism=Mechanism.AES_GCM, mechanism_param=parameters)
    except _REFUSED:
        _require_working(key)
        raise KeyIntegrityError("a wrapped key or its context is not what was wrapped") from None
    return committed.checked(plain, item.blob, item.bound_to)


def _require_working(key: Any) -> None:
    """Tells a changed blob from a token that fails: both answer the same. Raises what the token says."""
    if not key[Attribute.ENCRYPT]:
        return
    parameters = _parameters(os.urandom(_NONCE), b"")
    ciphertext = key.encrypt(bytes(32), mechanism=Mechanism.AES_GCM, mechanism_param=parameters)
    key.decrypt(ciphertext, mechanism=Mechanism.AES_GCM, mechanism_param=parameters)


def _parameters(nonce: bytes, bound_to: bytes) -> GCMParams:
    return GCMParams(nonce, hashlib.sha256(bound_to).digest(), _TAG * 8)


@contextmanager
def _folder_lock(folder: Path) -> Iterator[None]:
    """Excludes other processes of this host; the folder itself is locked, so that nothing need be written there."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        raise SecretFileError(f"the folder {folder} of the PIN file cannot be opened") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
