"""Blobs of providers whose own ciphertext does not commit to the key inside. Format: docs/formats.md, "Provider blob".

A key service could answer an unwrap with any 32 bytes. So each blob carries, in clear, a commitment to the key and the
context: an answer that is not the key that was wrapped is refused before it is used.
"""

from __future__ import annotations

from keys import envelope
from keys.envelope import Kind
from keys.errors import KeyIntegrityError, ProviderAnswerError

FORMAT = 0x02
_COMMITMENT = slice(1, 33)
_BODY = 33


def pack(key: bytes, bound_to: bytes, ciphertext: bytes) -> bytes:
    """``0x02 | commitment[32] | the provider's ciphertext``."""
    return bytes((FORMAT,)) + _commitment(key, bound_to) + ciphertext


def ciphertext_of(blob: bytes) -> bytes:
    """The provider's part of a blob.

    Raises:
        KeyIntegrityError: not a blob of this format.
    """
    if len(blob) <= _BODY or blob[0] != FORMAT:
        raise KeyIntegrityError("a wrapped key has an unknown format")
    return blob[_BODY:]


def repack(blob: bytes, ciphertext: bytes) -> bytes:
    """The same key and context with new ciphertext."""
    ciphertext_of(blob)
    return blob[:_BODY] + ciphertext


def checked(key: bytes, blob: bytes, bound_to: bytes) -> bytes:
    """The key that a provider gave for a blob, if it is the one that was wrapped.

    Raises:
        ProviderAnswerError: it is another one.
    """
    if len(key) != envelope.KEY_BYTES or not envelope.same(_commitment(key, bound_to), blob[_COMMITMENT]):
        raise ProviderAnswerError("the key service gave another key than the one that was wrapped")
    return key


def _commitment(key: bytes, bound_to: bytes) -> bytes:
    return envelope.mac(key, envelope.context(Kind.DERIVED, "provider-wrap", bound_to))
