"""What the interface promises of blobs, asked of every provider: order, bindings, changes, and silence about keys."""

from __future__ import annotations

import pickle  # noqa: TID251 - to see that it is refused
from concurrent.futures import ThreadPoolExecutor

import pytest

from keys.errors import KeyIntegrityError, KeysError, KeyStateError
from keys.providers import KeyToWrap, WrappedKey, committed
from tests.keys.providers.conformance import (
    NAME,
    OTHER,
    REFUSED,
    bound,
    forms,
    relabelled,
    silent_about,
    to_wrap,
    wrapped,
)


@pytest.mark.parametrize("position", range(4))
def test_a_batch_comes_back_in_order(case, provider, position):
    """Batches of every size that matters open in another process's provider, each key in its place."""
    count = case.sizes[position]
    made = wrapped(provider, count)
    assert case.open().unwrap(NAME, made.items) == made.keys
    assert case.open().unwrap(NAME, made.items[::-1]) == made.keys[::-1]


def test_wrapping_twice_makes_different_blobs(provider):
    """The same key in the same context never gives the same bytes."""
    [item] = to_wrap(1)
    assert len(set(provider.wrap(NAME, 1, [item, item, item]))) == 3


def test_blobs_do_not_show_their_keys(provider):
    """No key stands in its blob in any form."""
    made = wrapped(provider, 3)
    assert not any(
        form.encode("latin-1") in item.blob for item in made.items for key in made.keys for form in forms(key)
    )


def test_another_context_does_not_open(provider):
    """Neither unwrapping nor rewrapping takes a blob into another context."""
    made = wrapped(provider, 2)
    moved = [WrappedKey(1, made.items[0].blob, made.items[1].bound_to)]
    provider.new_version(NAME, 1)
    with pytest.raises(KeyIntegrityError):
        provider.unwrap(NAME, moved)
    with pytest.raises(KeyIntegrityError):
        provider.rewrap(NAME, 2, moved)


def test_another_version_on_the_label_does_not_open(provider):
    """A blob opens as the version it was made under: not as one that exists, nor as one that does not."""
    [item] = wrapped(provider).items
    with pytest.raises(REFUSED):
        provider.unwrap(NAME, [WrappedKey(2, item.blob, item.bound_to)])
    provider.new_version(NAME, 1)
    for version in (0, 2, 3):
        with pytest.raises(REFUSED):
            provider.unwrap(NAME, [WrappedKey(version, item.blob, item.bound_to)])


def test_another_name_does_not_open(provider):
    """A blob of one key does not open as another's."""
    made = wrapped(provider)
    with pytest.raises(KeyIntegrityError):
        provider.unwrap(OTHER, made.items)


def test_no_byte_of_a_blob_may_change(case, provider):
    """Every changed byte is refused, whether it is the provider's part or the commitment."""
    [item] = wrapped(provider).items
    for position in case.vary(item.blob):
        for bit in (0x01, 0x80):
            changed = bytearray(item.blob)
            changed[position] ^= bit
            with pytest.raises(REFUSED):
                provider.unwrap(NAME, [WrappedKey(1, bytes(changed), item.bound_to)])


def test_no_byte_of_a_blob_may_be_missing_or_added(case, provider):
    """A cut blob, a longer one, none at all and noise are refused."""
    [item] = wrapped(provider).items
    cuts = [item.blob[:length] for length in case.vary(item.blob)]
    for blob in (*cuts, item.blob + b"\x00", item.blob + item.blob, b"\x00" * len(item.blob)):
        with pytest.raises(REFUSED):
            provider.unwrap(NAME, [WrappedKey(1, blob, item.bound_to)])


def test_a_blob_of_another_provider_is_refused(provider):
    """What looks right from outside and was made elsewhere does not open."""
    key = to_wrap(1)[0]
    for ciphertext in (b"vault:v1:AAAA", b"\x00\x00\x00\x01" + b"\x07" * 60, b"\x07" * 60, b"\x01\x01" + b"\x07" * 110):
        with pytest.raises(REFUSED):
            provider.unwrap(NAME, [WrappedKey(1, committed.pack(key.key, key.bound_to, ciphertext), key.bound_to)])


def test_threads_may_share_a_provider(provider):
    """Eight threads get their own keys back."""

    def work(_: int) -> bool:
        made = wrapped(provider, 3)
        return provider.unwrap(NAME, made.items) == made.keys

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(16)))


@pytest.mark.parametrize("bad", [0, 5, 9])
def test_one_bad_item_fails_a_batch_without_a_word_of_the_others(provider, caplog, bad):
    """Nothing is returned, and neither the error nor a log of any level holds a key of the batch."""
    made = wrapped(provider, 10)
    provider.new_version(NAME, 1)
    items = list(made.items)
    items[bad] = WrappedKey(1, items[bad].blob[:-1] + bytes((items[bad].blob[-1] ^ 1,)), items[bad].bound_to)
    for call in (lambda: provider.unwrap(NAME, items), lambda: provider.rewrap(NAME, 2, items)):
        with pytest.raises(KeyIntegrityError), silent_about(made.keys, caplog):
            call()


def test_nothing_is_said_of_keys_when_all_goes_well(provider, caplog):
    """A whole life of a batch writes no key to any log."""
    keys = to_wrap(4)
    with silent_about([key.key for key in keys], caplog):
        blobs = provider.wrap(NAME, 1, keys)
        items = [WrappedKey(1, blob, key.bound_to) for key, blob in zip(keys, blobs, strict=True)]
        provider.new_version(NAME, 1)
        again = relabelled(items, provider.rewrap(NAME, 2, items), 2)
        assert provider.unwrap(NAME, again) == [key.key for key in keys]
        provider.trim(NAME, 2)


def test_refusing_to_wrap_says_nothing_of_the_keys(provider, caplog):
    """A version that does not exist is refused without quoting what was to be wrapped."""
    keys = to_wrap(3)
    with pytest.raises(KeyStateError), silent_about([key.key for key in keys], caplog):
        provider.wrap(NAME, 7, keys)


def test_names_that_cannot_be_are_refused(case, provider):
    """A name is never a path, a query or a pattern of the service."""
    for name in ("", "..", "../root-dss1", "a/b", "a?b", "a b", "*", "root-dss1/rotate", "ä", "a\n", "a%2Fb"):
        with pytest.raises(KeysError):
            provider.describe(name)
        with pytest.raises(KeysError):
            provider.wrap(name, 1, [KeyToWrap(bytes(range(32)), bound(1))])
    assert case.open().describe(NAME).current == 1


def test_a_provider_shows_and_gives_away_nothing(provider):
    """Its repr is short and holds no key; it cannot be pickled."""
    made = wrapped(provider)
    shown = f"{provider!r} {provider}"
    assert len(shown) < 400
    assert not any(form in shown for key in made.keys for form in forms(key))
    with pytest.raises(TypeError):
        pickle.dumps(provider)


def test_kinds_differ(case, provider):
    """The kind is written to the key store, so that no provider is taken for another."""
    assert provider.kind == case.name
