"""Sealed blobs: they open under one key, one context and unchanged, or not at all."""

# ruff: noqa: S305 - the attack needs the bare block cipher
from __future__ import annotations

import os

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from keys import envelope
from keys.envelope import Kind
from keys.errors import KeyIntegrityError

KEY = bytes(range(32))
BOUND = envelope.context(Kind.DEK, "lake", 3, b"\x00\xff")
fields = st.lists(st.one_of(st.text(alphabet="ab|,:\x00/", max_size=6), st.binary(max_size=4)), max_size=5).map(tuple)


def as_bytes(values):
    """Fields as the encoding sees them."""
    return tuple(value if isinstance(value, bytes) else value.encode() for value in values)


def test_what_was_sealed_opens_and_has_the_stated_size():
    """A blob opens to its plaintext and is longer by OVERHEAD exactly, also when it is empty."""
    for plaintext in (b"", b"x", os.urandom(32), os.urandom(5_000)):
        blob = envelope.seal(KEY, plaintext, BOUND)
        assert len(blob) == len(plaintext) + envelope.OVERHEAD
        assert envelope.unseal(KEY, blob, BOUND) == plaintext


def test_every_bit_of_a_blob_counts():
    """A blob with any one bit flipped does not open."""
    blob = envelope.seal(KEY, os.urandom(32), BOUND)
    for bit in range(len(blob) * 8):
        changed = bytearray(blob)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(KeyIntegrityError):
            envelope.unseal(KEY, bytes(changed), BOUND)


def test_a_blob_cut_or_extended_does_not_open():
    """Every prefix of a blob is refused, and so is a blob with more behind it."""
    blob = envelope.seal(KEY, os.urandom(32), BOUND)
    for changed in (*(blob[:size] for size in range(len(blob))), blob + b"\x00", b"\x00" + blob):
        with pytest.raises(KeyIntegrityError):
            envelope.unseal(KEY, changed, BOUND)


@pytest.mark.parametrize(
    ("key", "bound_to"),
    [
        (bytes(32), BOUND),
        (KEY, envelope.context(Kind.DEK, "lake", 3, b"\x00\xfe")),
        (KEY, envelope.context(Kind.DEK, "lake", 4, b"\x00\xff")),
        (KEY, envelope.context(Kind.KEK, "lake", 3, b"\x00\xff")),
        (KEY, b""),
    ],
)
def test_another_key_context_or_kind_does_not_open(key, bound_to):
    """A blob belongs to its key, its fields and its kind."""
    blob = envelope.seal(KEY, b"secret", BOUND)
    with pytest.raises(KeyIntegrityError):
        envelope.unseal(key, blob, bound_to)


@pytest.mark.parametrize("size", [0, 16, 24, 31, 33, 64])
def test_only_keys_of_32_bytes_are_used(size):
    """A key of another length neither seals nor opens."""
    blob = envelope.seal(KEY, b"secret", BOUND)
    with pytest.raises(KeyIntegrityError):
        envelope.seal(bytes(size), b"secret", BOUND)
    with pytest.raises(KeyIntegrityError):
        envelope.unseal(bytes(size), blob, BOUND)


def test_sealing_twice_gives_nothing_in_common():
    """Salt, commitment, nonce and ciphertext are fresh each time."""
    blobs = [envelope.seal(KEY, b"the same", BOUND) for _ in range(200)]
    for part in (slice(2, 18), slice(18, 50), slice(50, 62), slice(62, None)):
        assert len({blob[part] for blob in blobs}) == len(blobs)


def _multiply(left, right):
    """Product in GHASH's field, NIST SP 800-38D algorithm 1; blocks as integers, first bit highest."""
    product, value = 0, right
    for position in range(127, -1, -1):
        if left >> position & 1:
            product ^= value
        value = value >> 1 ^ (0xE1 << 120 if value & 1 else 0)
    return product


def _inverse(value):
    result, exponent = 1 << 127, (1 << 128) - 2
    while exponent:
        if exponent & 1:
            result = _multiply(result, value)
        value, exponent = _multiply(value, value), exponent >> 1
    return result


def _blocks(data):
    padded = data + bytes(-len(data) % 16)
    return [int.from_bytes(padded[start : start + 16], "big") for start in range(0, len(padded), 16)]


def salamander(keys, nonce, aad):
    """Ciphertext of two blocks with a tag that AES-GCM accepts under both keys, solved from GHASH's linearity."""
    subkeys, masks = [], []
    for key in keys:
        block = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
        subkeys.append(int.from_bytes(block.update(bytes(16)), "big"))
        masks.append(int.from_bytes(block.update(nonce + (1).to_bytes(4, "big")), "big"))
    lengths = (len(aad) * 8) << 64 | 2 * 16 * 8
    first = int.from_bytes(b"a free block ...", "big")
    known, powers = masks[0] ^ masks[1], []
    for subkey in subkeys:
        digest = 0
        for block in (*_blocks(aad), first, 0, lengths):
            digest = _multiply(digest ^ block, subkey)
        known ^= digest
        powers.append(_multiply(subkey, subkey))
    second = _multiply(known, _inverse(powers[0] ^ powers[1]))
    ciphertext = first.to_bytes(16, "big") + second.to_bytes(16, "big")
    digest = 0
    for block in (*_blocks(aad), *_blocks(ciphertext), lengths):
        digest = _multiply(digest ^ block, subkeys[0])
    return ciphertext + (digest ^ masks[0]).to_bytes(16, "big")


def test_a_ciphertext_for_two_keys_opens_under_one_at_most():
    """AES-GCM accepts a crafted ciphertext under two keys; the commitment lets a blob name only one of them."""
    salt, nonce, masters = os.urandom(16), os.urandom(12), (os.urandom(32), os.urandom(32))
    derived = [envelope._derive(master, salt, BOUND) for master in masters]
    crafted = salamander([key for key, _ in derived], nonce, BOUND)
    opened = [AESGCM(key).decrypt(nonce, crafted, BOUND) for key, _ in derived]
    assert opened[0] != opened[1], "the attack itself must work, or this test proves nothing"
    for _, commitment in derived:
        blob = bytes((1, 1)) + salt + commitment + nonce + crafted
        accepted = 0
        for master in masters:
            try:
                envelope.unseal(master, blob, BOUND)
                accepted += 1
            except KeyIntegrityError:
                continue
        assert accepted == 1


@given(fields, fields)
def test_contexts_are_injective(left, right):
    """Different fields give different contexts."""
    same = as_bytes(left) == as_bytes(right)
    assert (envelope.context(Kind.DEK, *left) == envelope.context(Kind.DEK, *right)) == same


def test_contexts_have_no_delimiters_to_confuse():
    """Moving characters over the border of two fields gives another context, and so does another kind."""
    confusable = [("a|b", "c"), ("a", "b|c"), ("a|b|c",), ("a", "b", "c"), ("", "a|b|c"), ("a|b|c", ""), ()]
    contexts = {envelope.context(kind, *each) for each in confusable for kind in Kind}
    assert len(contexts) == len(confusable) * len(Kind)


def test_file_prefixes_have_one_length_and_differ():
    """The AAD prefix of a file is 32 bytes for any identity, and no two identities share it."""
    identities = [
        ("l", "d", 3, "ab", "2026-03", "f"),
        ("l", "d", 3, "a", "b2026-03", "f"),
        ("ld", "", 3, "ab", "", "f"),
    ]
    prefixes = [envelope.aad_prefix(*identity) for identity in (*identities, (), ("x" * 10_000,))]
    assert {len(prefix) for prefix in prefixes} == {32}
    assert len(set(prefixes)) == len(prefixes)
    assert envelope.aad_prefix(*identities[0]) == prefixes[0]


def test_errors_do_not_show_the_key():
    """The message of a refusal has neither the key nor the plaintext."""
    blob = envelope.seal(KEY, b"plain words", BOUND)
    with pytest.raises(KeyIntegrityError) as caught:
        envelope.unseal(KEY, blob[:-1] + bytes(1), BOUND)
    assert caught.value.__cause__ is None
    assert KEY.hex() not in str(caught.value)
    assert "plain words" not in str(caught.value)
