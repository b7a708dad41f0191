"""Signed notes with Ed25519, as C2SP specifies them (c2sp.org/signed-note): text, blank line, signature lines.

A signature line is ``— <name> <base64(key id[4] || signature)>``; a verifier key is
``<name>+<key id hex>+<base64(0x01 || public key)>``, and the key id the first four bytes of
SHA-256(name || 0x0A || 0x01 || public key).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from keys.errors import KeyIntegrityError

_ED25519 = b"\x01"
_SEPARATOR = "\n\n"
_MARK = "— "
_MAX_NOTE = 1_000_000


def _key_id(name: str, public: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + _ED25519 + public).digest()[:4]


class NoteSigner:
    """Signs notes under one name. Holds a private key; its ``repr`` shows the name only."""

    def __init__(self, name: str, seed: bytes) -> None:
        if not name or any(char.isspace() or char == "+" for char in name):
            raise KeyIntegrityError("the name of a note's key has no white space and no plus sign")
        self.name = name
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self._public = self._private.public_key().public_bytes_raw()

    def __repr__(self) -> str:
        return f"NoteSigner({self.name!r})"

    @property
    def verifier_key(self) -> str:
        """What others need to verify this signer's notes; public."""
        encoded = base64.b64encode(_ED25519 + self._public).decode()
        return f"{self.name}+{_key_id(self.name, self._public).hex()}+{encoded}"

    def sign(self, text: str) -> str:
        """The signed note of ``text``, which must end in a newline."""
        if not text.endswith("\n"):
            raise KeyIntegrityError("the text of a note ends in a newline")
        signature = _key_id(self.name, self._public) + self._private.sign(text.encode())
        return f"{text}\n{_MARK}{self.name} {base64.b64encode(signature).decode()}\n"


class NoteVerifier:
    """Opens notes that one of the given keys has signed."""

    def __init__(self, verifier_keys: Iterable[str]) -> None:
        self._keys: dict[tuple[str, bytes], Ed25519PublicKey] = {}
        for text in verifier_keys:
            name, key_id, public = _parse_verifier_key(text)
            self._keys[name, key_id] = Ed25519PublicKey.from_public_bytes(public)

    def open(self, note: str) -> str:
        """The text of a note with at least one good signature of a known key and no bad one.

        Raises:
            KeyIntegrityError: malformed, no known signature, a bad or a repeated one.
        """
        text, seen = self._split(note)
        good = 0
        for (name, key_id), signature in seen.items():
            key = self._keys.get((name, key_id))
            if key is None:
                continue
            try:
                key.verify(signature, text.encode())
            except InvalidSignature:
                raise KeyIntegrityError(f"the signature of {name!r} on a note is wrong") from None
            good += 1
        if not good:
            raise KeyIntegrityError("a note carries no signature of a known key")
        return text

    @staticmethod
    def _split(note: str) -> tuple[str, dict[tuple[str, bytes], bytes]]:
        text, separator, signatures = note.rpartition(_SEPARATOR)
        if not separator or len(note) > _MAX_NOTE or not signatures.endswith("\n"):
            raise KeyIntegrityError("a signed note is malformed")
        seen: dict[tuple[str, bytes], bytes] = {}
        for line in signatures[:-1].split("\n"):
            name, _, encoded = line.removeprefix(_MARK).partition(" ")
            try:
                raw = base64.b64decode(encoded, validate=True)
            except ValueError:
                raise KeyIntegrityError("a signed note is malformed") from None
            if not line.startswith(_MARK) or not name or len(raw) < 5 or (name, raw[:4]) in seen:
                raise KeyIntegrityError("a signed note is malformed")
            seen[name, raw[:4]] = raw[4:]
        return text + "\n", seen


def _parse_verifier_key(text: str) -> tuple[str, bytes, bytes]:
    try:
        name, key_id, encoded = text.strip().split("+", 2)
        raw = base64.b64decode(encoded, validate=True)
    except ValueError:
        raise KeyIntegrityError("a verifier key is malformed") from None
    expected = _key_id(name, raw[1:])
    if raw[:1] != _ED25519 or len(raw) != 33 or key_id != expected.hex():
        raise KeyIntegrityError("a verifier key is malformed")
    return name, expected, raw[1:]
