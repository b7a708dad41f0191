"""The local key store: what opens it, what survives a crash, and what a destroyed key's old copies are worth."""

from __future__ import annotations

import json
import signal
import struct
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from keys.errors import KeyIntegrityError, KeysError, KeyStateError, KeyStoreLockedError, SecretFileError
from keys.providers import local, local_file
from keys.providers.local import DEVICE, NEXT_DEVICE, STORE, LocalProvider
from keys.refs import KeyState
from keys.unlock import KEY_FILE, PASSPHRASE, KdfParameters, UnlockSecret

LAKE = "lake-one"
BOUND = b"bound to this"

TRIMMING = """
import os, signal, sys
from pathlib import Path
from keys.providers.local import LocalProvider
from keys.unlock import KEY_FILE, UnlockSecret

def hook(event, arguments):
    if event == "lake.step" and arguments[0] == sys.argv[3]:
        os.kill(os.getpid(), signal.SIGKILL)

provider = LocalProvider(Path(sys.argv[1]), UnlockSecret(KEY_FILE, sys.argv[2].encode()))
sys.addaudithook(hook)
provider.trim("root", 2)
"""

ROTATING = """
import sys
from pathlib import Path
from keys.providers.local import LocalProvider
from keys.unlock import KEY_FILE, UnlockSecret

provider = LocalProvider(Path(sys.argv[1]), UnlockSecret(KEY_FILE, sys.argv[2].encode()))
for _ in range(15):
    print(provider.new_version("root"), flush=True)
"""


def overwrite(path, content):
    """Replace the content of a secret file as an attacker would, rights unchanged."""
    path.write_bytes(content)
    path.chmod(0o600)


def test_what_was_wrapped_opens_after_reopening(folder, secret):
    """A blob opens in another process's provider, under its own name, version and context only."""
    first = LocalProvider(folder, secret)
    first.create(["other"])
    blob = first.wrap("root", 1, b"the key", BOUND)
    again = LocalProvider(folder, secret)
    assert again.lake == LAKE
    assert again.unwrap("root", 1, blob, BOUND) == b"the key"
    for name, bound_to in (("other", BOUND), ("root", b"bound to that")):
        with pytest.raises(KeyIntegrityError):
            again.unwrap(name, 1, blob, bound_to)
    for name, version in (("none", 1), ("root", 2), ("root", 0)):
        with pytest.raises(KeyStateError):
            again.unwrap(name, version, blob, BOUND)


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


def test_states_decide_what_a_version_does(folder, secret):
    """A former version unwraps and does not wrap; a destroyed one does neither and keeps no bytes."""
    provider = LocalProvider(folder, secret)
    blob = provider.wrap("root", 1, b"the key", BOUND)
    assert provider.new_version("root") == 2
    assert dict(provider.describe("root").versions) == {1: KeyState.DECRYPT_ONLY, 2: KeyState.ENABLED}
    assert provider.unwrap("root", 1, blob, BOUND) == b"the key"
    with pytest.raises(KeyStateError, match="decrypt_only"):
        provider.wrap("root", 1, b"the key", BOUND)
    provider.trim("root", 2)
    for each in (provider, LocalProvider(folder, secret)):
        assert each.describe("root").versions[1] is KeyState.DESTROYED
        assert each._keys["root"][1][1] == b""
        with pytest.raises(KeyStateError, match="destroyed"):
            each.unwrap("root", 1, blob, BOUND)
        with pytest.raises(KeyStateError, match="destroyed"):
            each.wrap("root", 1, b"the key", BOUND)


@pytest.mark.parametrize("state", [state for state in KeyState if not state.unwraps])
def test_a_suspended_version_does_nothing(folder, secret, state):
    """Disabled, compromised and doomed versions neither wrap nor unwrap."""
    provider = LocalProvider(folder, secret)
    blob = provider.wrap("root", 1, b"the key", BOUND)
    provider._keys["root"][1] = (state, provider._keys["root"][1][1])
    with pytest.raises(KeyStateError):
        provider.wrap("root", 1, b"the key", BOUND)
    with pytest.raises(KeyStateError):
        provider.unwrap("root", 1, blob, BOUND)


def test_the_current_version_is_never_trimmed(folder, secret):
    """Trimming above the current version is refused and destroys nothing."""
    provider = LocalProvider(folder, secret)
    provider.new_version("root")
    with pytest.raises(KeyStateError):
        provider.trim("root", 3)
    provider.trim("root", 1)
    assert provider.describe("root").versions[1] is KeyState.DECRYPT_ONLY
    assert LocalProvider(folder, secret).wrap("root", 2, b"x", BOUND)


def test_an_old_copy_stays_closed_after_a_trim(folder, secret, tmp_path):
    """The store file of before, with the right key file, does not open: alone, in place, or with the new device."""
    provider = LocalProvider(folder, secret)
    blob = provider.wrap("root", 1, b"the key", BOUND)
    provider.new_version("root")
    old, old_device = (folder / STORE).read_bytes(), (folder / DEVICE).read_bytes()
    provider.trim("root", 2)
    assert (folder / DEVICE).read_bytes() != old_device
    assert not (folder / NEXT_DEVICE).exists()
    current = (folder / STORE).read_bytes()
    overwrite(folder / STORE, old)
    with pytest.raises(KeyStoreLockedError):
        LocalProvider(folder, secret)
    # Claiming the current device in the old header does not help: the key itself is another.
    parsed = local_file.parse(old)
    relabelled = replace(parsed.header, device=local_file.device_id((folder / DEVICE).read_bytes()))
    overwrite(folder / STORE, relabelled.encode() + parsed.body)
    with pytest.raises(KeyStoreLockedError):
        LocalProvider(folder, secret)
    overwrite(folder / STORE, current)
    with pytest.raises(KeyStateError):
        LocalProvider(folder, secret).unwrap("root", 1, blob, BOUND)


@pytest.mark.parametrize("step", ["keystore.next-device-written", "keystore.replaced", "keystore.device-replaced"])
def test_a_kill_during_a_trim_leaves_a_store_that_opens(folder, secret, child, step):
    """After kill -9 the store opens, the version is whole or destroyed, and trimming again ends the same."""
    provider = LocalProvider(folder, secret)
    blob = provider.wrap("root", 1, b"the key", BOUND)
    provider.new_version("root")
    newer = provider.wrap("root", 2, b"newer", BOUND)
    old, old_device = (folder / STORE).read_bytes(), (folder / DEVICE).read_bytes()
    process = child(TRIMMING, folder, secret.secret.decode(), step)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL, errors
    again = LocalProvider(folder, secret)
    destroyed = step != "keystore.next-device-written"
    if destroyed:
        with pytest.raises(KeyStateError):
            again.unwrap("root", 1, blob, BOUND)
    else:
        assert again.unwrap("root", 1, blob, BOUND) == b"the key"
    for _ in range(2):
        again.trim("root", 2)
        assert again.describe("root").versions[1] is KeyState.DESTROYED
        assert LocalProvider(folder, secret).unwrap("root", 2, newer, BOUND) == b"newer"
    assert sorted(path.name for path in folder.iterdir()) == sorted([DEVICE, STORE, local.LOCK])
    assert (folder / DEVICE).read_bytes() != old_device
    overwrite(folder / STORE, old)
    with pytest.raises(KeyStoreLockedError):
        LocalProvider(folder, secret)


def test_a_failed_write_changes_nothing(folder, secret, monkeypatch):
    """When the new file cannot be written, the provider goes on with what is on disk."""
    provider = LocalProvider(folder, secret)

    def full(path, content, *, replace):
        raise SecretFileError("no space")

    monkeypatch.setattr(local, "write_secret_file", full)
    for change in (lambda: provider.new_version("root"), lambda: provider.create(["fresh"])):
        with pytest.raises(SecretFileError):
            change()
    monkeypatch.undo()
    assert provider.describe("root").current == 1
    assert LocalProvider(folder, secret).describe("root").current == 1
    assert provider.new_version("root") == 2


def test_two_processes_rotate_without_losing_a_version(folder, secret, child):
    """Versions that two processes make at once all count, each number once."""
    processes = [child(ROTATING, folder, secret.secret.decode()) for _ in range(2)]
    made = []
    for process in processes:
        output, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        made += [int(line) for line in output.split()]
    assert sorted(made) == list(range(2, 32))
    provider = LocalProvider(folder, secret)
    assert provider.describe("root").current == 31
    assert len({key for _, key in provider._keys["root"].values()}) == 31


def test_threads_of_one_provider_rotate_without_losing_a_version(folder, secret):
    """Threads that share a provider make as many versions as they were told."""
    provider = LocalProvider(folder, secret)
    with ThreadPoolExecutor(4) as threads:
        made = list(threads.map(lambda _: provider.new_version("root"), range(12)))
    assert sorted(made) == list(range(2, 14))


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
