"""All AEAD, HKDF and commitments of the lake. Formats: docs/formats.md, sections "Contexts" and "Sealed blob".

A sealed blob is ``0x01 | alg | salt[16] | commitment[32] | nonce[12] | ciphertext | tag[16]``.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from enum import IntEnum

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from keys.errors import KeyIntegrityError

KEY_BYTES = 32
FORMAT = 0x01
AES256GCM_HKDF_SHA256 = 0x01
_HEADER = bytes((FORMAT, AES256GCM_HKDF_SHA256))
_SALT = slice(2, 18)
_COMMITMENT = slice(18, 50)
_NONCE = slice(50, 62)
_BODY = 62
_SIZES = [size.to_bytes(4, "big") for size in range(256)]
OVERHEAD = _BODY + 16
"""Bytes that sealing adds."""


class Kind(IntEnum):
    """What a context is for; part of every context, so that no blob of one kind opens as another."""

    BUCKET_KEY = 1
    KEK = 2
    DEK = 3
    AAD_PREFIX = 4
    CONTROL_SECRET = 5
    DOCUMENT = 6
    DERIVED = 7
    BACKUP = 8
    SPOOL = 9


def context(kind: Kind, *fields: str | int | bytes) -> bytes:
    """The canonical, injective encoding of what a key or a file is bound to.

    ``"tlake" 00 | 01 | u8 kind | u8 n | n x (u32be length | bytes)``; text as UTF-8, integers as decimal ASCII.
    """
    return context_head(kind, len(fields)) + context_fields(*fields)


def context_head(kind: Kind, count: int) -> bytes:
    """How a context of so many fields begins: for who makes many contexts that begin alike."""
    return b"tlake\x00\x01" + bytes((kind, count))


def context_fields(*fields: str | int | bytes) -> bytes:
    """Some fields as they stand in a context."""
    parts: list[bytes] = []
    for field in fields:
        raw = field if isinstance(field, bytes) else str(field).encode()
        size = len(raw)
        parts += (_SIZES[size] if size < len(_SIZES) else size.to_bytes(4, "big"), raw)
    return b"".join(parts)


def new_key() -> bytes:
    """32 fresh random bytes from the operating system, which are safe across fork."""
    return os.urandom(KEY_BYTES)


def _derive(key: bytes, salt: bytes, bound_to: bytes) -> tuple[bytes, bytes]:
    """Encryption key and commitment for one blob, HKDF-SHA256 (RFC 5869) with the context as info."""
    if len(key) != KEY_BYTES:
        raise KeyIntegrityError(f"a key must have {KEY_BYTES} bytes")
    okm = HKDF(algorithm=SHA256(), length=2 * KEY_BYTES, salt=salt, info=bound_to).derive(key)
    return okm[:KEY_BYTES], okm[KEY_BYTES:]


def seal(key: bytes, plaintext: bytes, bound_to: bytes) -> bytes:
    """Encrypt ``plaintext`` so that it opens only under ``key`` and the same context.

    Safe however often one key is used: a fresh 16-byte salt derives a fresh AES key for every blob, so that neither
    the nonce budget of AES-GCM nor a repeated nonce is a question. The commitment (32 bytes of the same HKDF output)
    makes the blob open under one key only, which AES-GCM by itself does not promise.
    """
    salt, nonce = os.urandom(16), os.urandom(12)
    encryption_key, commitment = _derive(key, salt, bound_to)
    return _HEADER + salt + commitment + nonce + AESGCM(encryption_key).encrypt(nonce, plaintext, bound_to)


def unseal(key: bytes, blob: bytes, bound_to: bytes) -> bytes:
    """Open a blob made by :func:`seal`.

    Raises:
        KeyIntegrityError: another key, another context, or a changed blob. The commitment is compared, in constant
            time, before anything is decrypted.
    """
    if len(blob) < OVERHEAD or blob[:2] != _HEADER:
        raise KeyIntegrityError("a sealed blob has an unknown format")
    encryption_key, commitment = _derive(key, blob[_SALT], bound_to)
    if not hmac.compare_digest(commitment, blob[_COMMITMENT]):
        raise KeyIntegrityError("a sealed blob does not open: other key, other context, or changed")
    try:
        return AESGCM(encryption_key).decrypt(blob[_NONCE], blob[_BODY:], bound_to)
    except InvalidTag:
        raise KeyIntegrityError("a sealed blob does not open: other key, other context, or changed") from None


def aad_prefix(*identity: str | int) -> bytes:
    """The external AAD prefix of a data file (Parquet Modular Encryption, section 4.4), always 32 bytes.

    ``identity`` is lake, dataset, sensitivity, subject, month and file id.

    Hashed to a fixed length: with a variable one, bytes can be shifted between the prefix and the file's own unique
    part, and a file is accepted under another identity.
    """
    return hashlib.sha256(context(Kind.AAD_PREFIX, *identity)).digest()


def mac(key: bytes, message: bytes) -> bytes:
    """HMAC-SHA256."""
    return hmac.new(key, message, hashlib.sha256).digest()


def same(left: bytes, right: bytes) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(left, right)
