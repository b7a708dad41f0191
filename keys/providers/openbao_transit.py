"""How the transit engine writes keys and ciphertexts. A blob's body is ``version u32be | the engine's ciphertext``."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable
from typing import Any

from keys.errors import KeyIntegrityError, KeyStateError, ProviderAnswerError
from keys.providers import ProviderKey, WrappedKey, committed
from keys.refs import KeyState

SAFE = {"type": "aes256-gcm96", "derived": True, "exportable": False, "allow_plaintext_backup": False}
"""What every key must be."""

MOST_VERSIONS = 100_000
_VERSION_BYTES = 4
_CIPHERTEXT = re.compile(r"vault:v([1-9][0-9]{0,8}):([A-Za-z0-9+/]+={0,2})")


def described(name: str, data: dict[str, Any]) -> ProviderKey:
    """States of a key's versions as the engine tells them.

    Raises:
        KeyStateError: the key is not as safe as ours are.
        ProviderAnswerError: it can't be so.
    """
    if data.get("imported_key") or any(data.get(setting) != value for setting, value in SAFE.items()):
        raise KeyStateError(
            f"the key {name!r} was made otherwise", hint="it must be derived, not exportable, not imported"
        )
    latest = whole_number(data, "latest_version")
    available, decrypting = whole_number(data, "min_available_version"), whole_number(data, "min_decryption_version")
    present = data.get("keys")
    if latest > MOST_VERSIONS:
        raise ProviderAnswerError(f"the key service tells of more versions of {name!r} than there can be")
    expected = {str(number) for number in range(max(available, decrypting, 1), latest + 1)}
    if not isinstance(present, dict) or not expected or not expected <= present.keys():
        raise ProviderAnswerError(f"the key service describes {name!r} in a way that cannot be")

    def state(number: int) -> KeyState:
        if number < available:
            return KeyState.DESTROYED
        if data.get("soft_deleted") or number < decrypting:
            return KeyState.DISABLED
        return KeyState.ENABLED if number == latest else KeyState.DECRYPT_ONLY

    return ProviderKey(name, latest, {number: state(number) for number in range(1, latest + 1)})


def whole_number(data: dict[str, Any], name: str) -> int:
    """A field of an answer that counts something.

    Raises:
        ProviderAnswerError: it is missing or something else.
    """
    value = data.get(name)
    if type(value) is not int or value < 0:
        raise ProviderAnswerError(f"the key service answered without {name}")
    return value


def encoded(content: bytes) -> str:
    """Base64, as JSON needs it."""
    return base64.b64encode(content).decode()


def context(bound_to: bytes) -> str:
    """The engine derives the key from it; of a fixed length and without the names that are in it."""
    return encoded(hashlib.sha256(bound_to).digest())


def opening(item: WrappedKey) -> dict[str, Any]:
    """The input that asks to open a blob.

    Raises:
        KeyIntegrityError: it is not a blob, or of another version than it is said to be.
    """
    body = committed.ciphertext_of(item.blob)
    version, ciphertext = int.from_bytes(body[:_VERSION_BYTES], "big"), body[_VERSION_BYTES:]
    if version != item.version or not ciphertext:
        raise KeyIntegrityError("a wrapped key was made under another version, or changed")
    return {"ciphertext": f"vault:v{version}:{encoded(ciphertext)}", "context": context(item.bound_to)}


def version_of(ciphertext: str) -> int:
    """The version that a ciphertext names; 0 if it is none."""
    found = _CIPHERTEXT.fullmatch(ciphertext)
    return int(found[1]) if found else 0


def ciphertexts(results: Iterable[dict[str, Any]], version: int) -> list[bytes]:
    """The bodies of blobs: compact, and with one encoding only.

    Raises:
        ProviderAnswerError: a result is not of this version, or there twice.
    """
    made = []
    for result in results:
        found = _CIPHERTEXT.fullmatch(str(result.get("ciphertext")))
        if found is None or int(found[1]) != version or not (body := _decoded(found[2])):
            raise ProviderAnswerError("the key service wrapped under another version than the one asked for")
        made.append(version.to_bytes(_VERSION_BYTES, "big") + body)
    if len(set(made)) != len(made):
        raise ProviderAnswerError("the key service gave one ciphertext for two keys")
    return made


def plaintext(result: dict[str, Any]) -> bytes:
    """The key in a result; empty if there is none."""
    return _decoded(result.get("plaintext"))


def _decoded(text: object) -> bytes:
    try:
        return base64.b64decode(text, validate=True) if isinstance(text, str) else b""
    except binascii.Error:
        return b""
