"""The bytes of a local key store file: encode and open. Format: docs/formats.md, "Key store file"."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import struct
from dataclasses import asdict, dataclass, field
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keys.errors import KeyStoreLockedError
from keys.refs import KeyState
from keys.unlock import KdfParameters

MAGIC = b"TLKEYS\x00\x01"
_START = len(MAGIC) + 4
_NONCE, _TAG = 12, 16
SALT_BYTES = 16
LOCKED = "the key store does not open: wrong key file or passphrase, or the file is damaged"

Versions = dict[int, tuple[KeyState, bytes]]
"""State and bytes of every version of one root key."""

RootKeys = dict[str, Versions]


@dataclass(frozen=True, slots=True)
class Header:
    """What stands in clear in the file, authenticated by its encryption."""

    lake: str
    generation: int
    parameters: KdfParameters
    salt: bytes
    device: str

    def encode(self) -> bytes:
        """Magic, length and canonical JSON."""
        fields = {
            "lake": self.lake,
            "generation": self.generation,
            "kdf": asdict(self.parameters),
            "salt": self.salt.hex(),
            "device": self.device,
        }
        text = json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
        return MAGIC + struct.pack(">I", len(text)) + text


@dataclass(frozen=True, slots=True)
class SealedFile:
    """A key store file taken apart, not yet opened."""

    header: Header
    associated: bytes = field(repr=False)
    body: bytes = field(repr=False)


def device_id(secret: bytes) -> str:
    """Names a device secret without giving it away; 32 hexadecimal digits."""
    return hashlib.sha256(b"tlake device\x00" + secret).hexdigest()[:32]


def parse(content: bytes) -> SealedFile:
    """Take a file apart.

    Raises:
        KeyStoreLockedError: it is not a key store file.
    """
    if content[: len(MAGIC)] != MAGIC or len(content) < _START:
        raise KeyStoreLockedError(LOCKED)
    (length,) = struct.unpack(">I", content[len(MAGIC) : _START])
    associated, body = content[: _START + length], content[_START + length :]
    try:
        fields: dict[str, Any] = json.loads(associated[_START:])
        header = Header(
            str(fields["lake"]),
            int(fields["generation"]),
            KdfParameters(**fields["kdf"]),
            bytes.fromhex(fields["salt"]),
            str(fields["device"]),
        )
    except (ValueError, KeyError, TypeError, OverflowError):
        raise KeyStoreLockedError(LOCKED) from None
    if len(body) < _NONCE + _TAG or len(header.salt) != SALT_BYTES:
        raise KeyStoreLockedError(LOCKED)
    return SealedFile(header, associated, body)


def encode(header: Header, keys: RootKeys, sealing_key: bytes) -> bytes:
    """The whole file. The sealing key encrypts one small file per change: far below AES-GCM's limit of messages."""
    body = {
        name: {
            str(number): {"state": state.value, "key": base64.b64encode(key).decode()}
            for number, (state, key) in versions.items()
        }
        for name, versions in keys.items()
    }
    associated, nonce = header.encode(), os.urandom(_NONCE)
    return associated + nonce + AESGCM(sealing_key).encrypt(nonce, json.dumps(body).encode(), associated)


def open_keys(file: SealedFile, sealing_key: bytes) -> RootKeys:
    """The root keys.

    Raises:
        KeyStoreLockedError: wrong key or changed bytes; the two look the same on purpose.
    """
    try:
        text = AESGCM(sealing_key).decrypt(file.body[:_NONCE], file.body[_NONCE:], file.associated)
        body: dict[str, Any] = json.loads(text)
    except (InvalidTag, ValueError):
        raise KeyStoreLockedError(LOCKED) from None
    return {
        name: {int(n): (KeyState(v["state"]), base64.b64decode(v["key"])) for n, v in versions.items()}
        for name, versions in body.items()
    }
