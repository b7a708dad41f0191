"""Blobs that commit to their key: an answer that is not the key that was wrapped is refused before it is used."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable

import pytest

from keys import envelope
from keys.envelope import Kind
from keys.errors import KeyIntegrityError, ProviderAnswerError
from keys.providers import committed

KEY = bytes(range(32))
OTHER = bytes(range(1, 33))
BOUND = b"bound to this"
CIPHERTEXT = b"vault:v1:ciphertext"


@pytest.fixture
def blob() -> bytes:
    """The key's blob."""
    return committed.pack(KEY, BOUND, CIPHERTEXT)


def test_a_blob_has_the_documented_bytes(blob: bytes) -> None:
    """Format, 32 bytes of commitment by HMAC-SHA256 under the key, and the provider's own ciphertext."""
    message = envelope.context(Kind.DERIVED, "provider-wrap", BOUND)
    assert blob == b"\x02" + hmac.new(KEY, message, hashlib.sha256).digest() + CIPHERTEXT
    assert committed.ciphertext_of(blob) == CIPHERTEXT


def test_only_the_key_that_was_wrapped_is_taken(blob: bytes) -> None:
    """The right key passes; any other, longer or shorter one is refused."""
    assert committed.checked(KEY, blob, BOUND) == KEY
    flipped = [KEY[:at] + bytes([KEY[at] ^ 1]) + KEY[at + 1 :] for at in range(32)]
    for answer in (*flipped, OTHER, bytes(32), b"", KEY[:31], KEY + b"\x00", KEY * 2):
        with pytest.raises(ProviderAnswerError):
            committed.checked(answer, blob, BOUND)


def test_a_key_is_bound_to_its_context(blob: bytes) -> None:
    """The right key for another place is refused."""
    for bound_to in (b"", BOUND + b"\x00", b"bound to that"):
        with pytest.raises(ProviderAnswerError):
            committed.checked(KEY, blob, bound_to)


def test_every_bit_of_the_commitment_counts(blob: bytes) -> None:
    """A commitment with any byte changed, or of another blob, takes no key."""
    for at in range(1, 33):
        with pytest.raises(ProviderAnswerError):
            committed.checked(KEY, blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1 :], BOUND)
    with pytest.raises(ProviderAnswerError):
        committed.checked(KEY, committed.pack(OTHER, BOUND, CIPHERTEXT), BOUND)


def test_new_ciphertext_keeps_the_commitment(blob: bytes) -> None:
    """After a re-wrap inside the provider the same key passes, and no other one."""
    again = committed.repack(blob, b"vault:v2:other")
    assert committed.ciphertext_of(again) == b"vault:v2:other"
    assert committed.checked(KEY, again, BOUND) == KEY
    with pytest.raises(ProviderAnswerError):
        committed.checked(OTHER, again, BOUND)


@pytest.mark.parametrize("length", range(34))
def test_a_blob_without_ciphertext_is_refused(blob: bytes, length: int) -> None:
    """A blob cut before or at the end of its commitment has no ciphertext to ask the provider for."""
    for use in (committed.ciphertext_of, lambda each: committed.repack(each, b"x")):
        with pytest.raises(KeyIntegrityError):
            use(blob[:length])
    if length < 33:
        with pytest.raises(ProviderAnswerError):
            committed.checked(KEY, blob[:length], BOUND)


@pytest.mark.parametrize("first", [0x00, 0x01, 0x03, 0xFF])
def test_a_blob_of_another_format_is_refused(blob: bytes, first: int) -> None:
    """A sealed blob of the local provider, or of a later version, is not taken for one of these."""
    for use in (committed.ciphertext_of, lambda each: committed.repack(each, b"x")):
        with pytest.raises(KeyIntegrityError):
            use(bytes([first]) + blob[1:])
    sealed = envelope.seal(KEY, OTHER, BOUND)
    with pytest.raises(KeyIntegrityError):
        committed.ciphertext_of(sealed)


def test_an_error_shows_no_key(blob: bytes, leaks: Callable[..., bool]) -> None:
    """A refusal has neither the right key, nor the answer, nor the commitment."""
    with pytest.raises(ProviderAnswerError) as caught:
        committed.checked(OTHER, blob, BOUND)
    assert not leaks(f"{caught.value} {caught.value!r} {caught.value.__cause__!r}", KEY, OTHER, blob[1:33])
