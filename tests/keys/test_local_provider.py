"""The local key store: what opens it, and what a damaged, foreign or half-made one is worth."""

from __future__ import annotations

import json
import struct
from dataclasses import replace

import pytest

from keys.errors import KeyIntegrityError, KeysError, KeyStateError, KeyStoreLockedError, SecretFileError
from keys.providers import KeyToWrap, WrappedKey, local, local_file
from keys.providers.local import DEVICE, STORE, LocalProvider
from keys.unlock import KEY_FILE, PASSPHRASE, KdfParameters, UnlockSecret
from tests.keys.local_store import BOUND, overwrite, unwrap, wrap

LAKE = "lake-one"


def test_what_was_wrapped_opens_after_reopening(folder, secret):
    """A blob opens in another process's provider, under its own name, version and context only."""
    first = LocalProvider(folder, secret)
    first.create(["other"])
    blob = wrap(first, 1, b"the key")
    again = LocalProvider(folder, secret)
    assert again.lake == LAKE
    assert unwrap(again, 1, blob) == b"the key"
    for name, bound_to in (("other", BOUND), ("root", b"bound to that")):
        with pytest.raises(KeyIntegrityError):
            unwrap(again, 1, blob, name, bound_to)
    for name, version in (("none", 1), ("root", 2), ("root", 0)):
        with pytest.raises(KeyStateError):
            unwrap(again, version, blob, name)


def test_a_key_store_is_made_once(folder, secret):
    """A second attempt changes nothing."""
    before = (folder / STORE).read_bytes()
    with pytest.raises(SecretFileError):
        local.initialise(folder, secret, "lake-two")
    assert (folder / STORE).read_bytes() == before
    assert LocalProvider(folder, secret).lake == LAKE


def test_creating_an_existing_key_creates_none(folder, secret):
    """One name that exists, and none of the names is made, in memory or on disk."""
    provider = LocalProvider(folder, secret)
    with pytest.raises(KeyStateError):
        provider.create(["fresh", "root"])
    for each in (provider, LocalProvider(folder, secret)):
        with pytest.raises(KeyStateError):
            each.describe("fresh")


def test_a_wrong_key_file_and_a_damaged_file_look_the_same(folder, secret):
    """Whoever guesses cannot tell a wrong secret from a damaged file."""
    messages = set()
    with pytest.raises(KeyStoreLockedError) as caught:
        LocalProvider(folder, UnlockSecret(KEY_FILE, secret.secret[::-1]))
    messages.add(str(caught.value))
    content = (folder / STORE).read_bytes()
    for damaged in (content[:-1], content[:-1] + bytes((content[-1] ^ 1,)), b"", b"no key store"):
        overwrite(folder / STORE, damaged)
        with pytest.raises(KeyStoreLockedError) as caught:
            LocalProvider(folder, secret)
        messages.add(str(caught.value))
    assert messages == {local_file.LOCKED}


def test_every_byte_of_the_file_counts(folder, secret):
    """A file with any one byte changed is refused with an error of the keys, never another one."""
    content = (folder / STORE).read_bytes()
    for position in range(len(content)):
        for change in (0x01, 0x20, 0x80):
            changed = bytearray(content)
            changed[position] ^= change
            with pytest.raises(KeysError):
                _open(bytes(changed), folder, secret)


def test_every_truncation_is_refused(folder, secret):
    """A file cut anywhere, or with more behind it, is refused."""
    content = (folder / STORE).read_bytes()
    for changed in (*(content[:size] for size in range(len(content))), content + b"\x00"):
        with pytest.raises(KeysError):
            _open(changed, folder, secret)


def _open(content, folder, secret):
    overwrite(folder / STORE, content)
    return LocalProvider(folder, secret)


@pytest.mark.parametrize(
    "fields",
    [
        {"generation": float("inf")},
        {"salt": ""},
        {"salt": "00" * 7},
        {"kdf": {"kind": PASSPHRASE, "memory_kib": "many", "iterations": 3, "lanes": 2}},
        {"kdf": {"kind": PASSPHRASE, "memory_kib": 2**40, "iterations": 3, "lanes": 2}},
        {"kdf": {"kind": ["key-file"]}},
        {"kdf": {"kind": KEY_FILE, "more": 1}},
        {"kdf": None},
        {"device": None},
        {"lake": None, "salt": 7},
    ],
)
@pytest.mark.parametrize("kind", [KEY_FILE, PASSPHRASE])
def test_forged_headers_are_refused(folder, secret, fields, kind):
    """A header that somebody has written by hand gives the typed error before any costly derivation."""
    content = (folder / STORE).read_bytes()
    (length,) = struct.unpack(">I", content[8:12])
    header = json.loads(content[12 : 12 + length]) | fields
    text = json.dumps(header).encode()
    overwrite(folder / STORE, content[:8] + struct.pack(">I", len(text)) + text + content[12 + length :])
    with pytest.raises(KeyStoreLockedError):
        LocalProvider(folder, UnlockSecret(kind, secret.secret))


def test_another_device_secret_does_not_open(folder, secret):
    """The store file and the operator's secret are not enough."""
    overwrite(folder / DEVICE, bytes(32))
    with pytest.raises(KeyStoreLockedError):
        LocalProvider(folder, secret)
    (folder / DEVICE).unlink()
    with pytest.raises(KeyStoreLockedError):
        LocalProvider(folder, secret)


def test_a_store_open_to_others_is_refused(folder, secret):
    """Rights of others on the store or the device secret stop everything."""
    for name in (STORE, DEVICE):
        (folder / name).chmod(0o644)
        with pytest.raises(SecretFileError):
            LocalProvider(folder, secret)
        (folder / name).chmod(0o600)
    LocalProvider(folder, secret)


def test_a_failed_write_changes_nothing(folder, secret, monkeypatch):
    """When the new file cannot be written, the provider goes on with what is on disk."""
    provider = LocalProvider(folder, secret)

    def full(path, content, *, replace):
        raise SecretFileError("no space")

    monkeypatch.setattr(local, "write_secret_file", full)
    for change in (lambda: provider.new_version("root", 1), lambda: provider.create(["fresh"])):
        with pytest.raises(SecretFileError):
            change()
    monkeypatch.undo()
    assert provider.describe("root").current == 1
    assert LocalProvider(folder, secret).describe("root").current == 1
    assert provider.new_version("root", 1) == 2


def test_a_batch_succeeds_as_a_whole_or_not_at_all(folder, secret):
    """Many keys come back in order; one blob that does not open, and none of them does."""
    provider = LocalProvider(folder, secret)
    items = [KeyToWrap(b"key %d" % number, b"place %d" % number) for number in range(20)]
    wrapped = [
        WrappedKey(1, blob, item.bound_to) for blob, item in zip(provider.wrap("root", 1, items), items, strict=True)
    ]
    assert provider.unwrap("root", wrapped) == [item.key for item in items]
    assert provider.unwrap("root", wrapped[::-1]) == [item.key for item in items][::-1]
    assert provider.wrap("root", 1, []) == provider.unwrap("root", []) == provider.rewrap("root", 1, []) == []
    provider.new_version("root", 1)
    for bad, error in (
        (replace(wrapped[7], bound_to=b"place 8"), KeyIntegrityError),
        (replace(wrapped[7], blob=wrapped[8].blob), KeyIntegrityError),
        (replace(wrapped[7], version=2), KeyIntegrityError),
        (replace(wrapped[7], version=3), KeyStateError),
    ):
        batch = [*wrapped[:7], bad, *wrapped[8:]]
        with pytest.raises(error):
            provider.unwrap("root", batch)
        with pytest.raises(error):
            provider.rewrap("root", 2, batch)


def test_a_passphrase_opens_with_the_default_cost(tmp_path, leaks):
    """A store made with a passphrase opens with it and with no other, and shows the passphrase nowhere."""
    secret = UnlockSecret(PASSPHRASE, b"correct horse battery staple")
    local.initialise(tmp_path, secret, LAKE)
    assert LocalProvider(tmp_path, secret).lake == LAKE
    assert local_file.parse((tmp_path / STORE).read_bytes()).header.parameters == KdfParameters(PASSPHRASE)
    with pytest.raises(KeyStoreLockedError) as caught:
        LocalProvider(tmp_path, UnlockSecret(PASSPHRASE, b"correct horse battery stable"))
    assert str(caught.value) == local_file.LOCKED
    assert not any(leaks(path.read_bytes().decode("latin-1"), secret.secret) for path in tmp_path.iterdir())


def test_an_attempt_cut_off_before_the_store_can_be_repeated(tmp_path, secret):
    """A device secret alone is the rest of an attempt and does not stand in the way."""
    (tmp_path / DEVICE).write_bytes(b"rest")
    local.initialise(tmp_path, secret, LAKE)
    assert LocalProvider(tmp_path, secret).lake == LAKE


def test_no_folder_is_a_typed_error(tmp_path, secret):
    """Neither a missing folder nor an empty one is a key store."""
    for folder in (tmp_path / "none", tmp_path):
        with pytest.raises(KeysError):
            LocalProvider(folder, secret)


def test_a_provider_shows_no_key(folder, secret, leaks):
    """Neither its representation nor that of a parsed file has key bytes."""
    provider = LocalProvider(folder, secret)
    known = [provider._keys["root"][1][1], provider._sealing_key, (folder / DEVICE).read_bytes(), secret.secret]
    file = local_file.parse((folder / STORE).read_bytes())
    assert not leaks(repr(provider) + str(provider) + repr(file) + repr(provider.describe("root")), *known)
    assert not any(leaks((folder / STORE).read_bytes().decode("latin-1"), key) for key in known)
