"""Modules of an encrypted Parquet file: length, nonce, ciphertext and tag, bound to their place by AAD.

The one thing in ``keys`` that who reads rows may import: it opens what a DEK opens that was released to them.
Source: Parquet's ``Encryption.md``, AES_GCM_V1; docs/formats.md, "Data file".
"""

from __future__ import annotations

import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_LENGTH, _NONCE, _TAG = 4, 12, 16
_SEALED = _LENGTH + _NONCE
OVERHEAD = _SEALED + _TAG
"""Bytes by which a module is longer than what it holds."""
_length = struct.Struct("<I").unpack_from


class Modules:
    """Opens the modules of one file."""

    def __init__(self, dek: bytes, aad: bytes) -> None:
        """``aad`` is the file's: its prefix and what is unique of it."""
        self._cipher = AESGCM(dek)
        self._aad = aad

    def opened(self, data: bytes | memoryview, at: int, place: bytes) -> tuple[bytes, int]:
        """A module that begins at a position, and where it ends.

        Args:
            place: what it holds and where in the file, as its AAD ends.

        Raises:
            ValueError, struct.error: it is not what was written at this place.
        """
        start, end = at + _SEALED, at + _LENGTH + _length(data, at)[0]
        _check(start, end, len(data))
        try:
            return self._cipher.decrypt(data[at + _LENGTH : start], data[start:end], self._aad + place), end
        except InvalidTag:
            raise ValueError("a module that was not written here") from None

    def open_into(self, data: memoryview, at: int, place: bytes, room: memoryview, to: int) -> tuple[int, int]:
        """The same, written to a position of ``room``; where that ends, and where the module does."""
        start, end = at + _SEALED, at + _LENGTH + _length(data, at)[0]
        _check(start, end, len(data))
        after = to + end - start - _TAG
        try:
            self._cipher.decrypt_into(data[at + _LENGTH : start], data[start:end], self._aad + place, room[to:after])
        except InvalidTag:
            raise ValueError("a module that was not written here") from None
        return after, end


def _check(start: int, end: int, length: int) -> None:
    """Whether a module lies within the data.

    Raises:
        ValueError: it does not.
    """
    if not start + _TAG <= end <= length:
        raise ValueError("a module that ends elsewhere")
