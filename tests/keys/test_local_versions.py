"""Versions of the local provider's keys: states, crashes, races, and what a destroyed key's old copies are worth."""

from __future__ import annotations

import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from keys.errors import KeyStateError, KeyStoreLockedError
from keys.providers import KeyToWrap, WrappedKey, local, local_file
from keys.providers.local import DEVICE, NEXT_DEVICE, STORE, LocalProvider
from keys.refs import KeyState
from tests.keys.local_store import overwrite, unwrap, wrap

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
from contextlib import suppress
from pathlib import Path
from keys.errors import KeyStateError
from keys.providers import KeyToWrap
from keys.providers.local import LocalProvider
from keys.unlock import KEY_FILE, UnlockSecret

provider = LocalProvider(Path(sys.argv[1]), UnlockSecret(KEY_FILE, sys.argv[2].encode()))
for after in range(1, 31):
    version = provider.new_version("root", after)
    assert version > after
    with suppress(KeyStateError):  # the other process is further on
        (blob,) = provider.wrap("root", version, [KeyToWrap(b"of %d" % version, b"bound to this")])
        print(version, blob.hex(), flush=True)
"""


def test_states_decide_what_a_version_does(folder, secret):
    """A former version unwraps and does not wrap; a destroyed one does neither and keeps no bytes."""
    provider = LocalProvider(folder, secret)
    blob = wrap(provider, 1, b"the key")
    assert provider.new_version("root", 1) == 2
    assert dict(provider.describe("root").versions) == {1: KeyState.DECRYPT_ONLY, 2: KeyState.ENABLED}
    assert unwrap(provider, 1, blob) == b"the key"
    with pytest.raises(KeyStateError, match="decrypt_only"):
        wrap(provider, 1, b"the key")
    provider.trim("root", 2)
    for each in (provider, LocalProvider(folder, secret)):
        assert each.describe("root").versions[1] is KeyState.DESTROYED
        assert each._keys["root"][1][1] == b""
        with pytest.raises(KeyStateError, match="destroyed"):
            unwrap(each, 1, blob)
        with pytest.raises(KeyStateError, match="destroyed"):
            wrap(each, 1, b"the key")


@pytest.mark.parametrize("state", [state for state in KeyState if not state.unwraps])
def test_a_suspended_version_does_nothing(folder, secret, state):
    """Disabled, compromised and doomed versions neither wrap nor unwrap."""
    provider = LocalProvider(folder, secret)
    blob = wrap(provider, 1, b"the key")
    provider._keys["root"][1] = (state, provider._keys["root"][1][1])
    with pytest.raises(KeyStateError):
        wrap(provider, 1, b"the key")
    with pytest.raises(KeyStateError):
        unwrap(provider, 1, blob)


def test_the_current_version_is_never_trimmed(folder, secret):
    """Trimming above the current version is refused and destroys nothing."""
    provider = LocalProvider(folder, secret)
    provider.new_version("root", 1)
    with pytest.raises(KeyStateError):
        provider.trim("root", 3)
    provider.trim("root", 1)
    assert provider.describe("root").versions[1] is KeyState.DECRYPT_ONLY
    assert wrap(LocalProvider(folder, secret), 2, b"x")


def test_an_old_copy_stays_closed_after_a_trim(folder, secret, tmp_path):
    """The store file of before, with the right key file, does not open: alone, in place, or with the new device."""
    provider = LocalProvider(folder, secret)
    blob = wrap(provider, 1, b"the key")
    provider.new_version("root", 1)
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
        unwrap(LocalProvider(folder, secret), 1, blob)


@pytest.mark.parametrize("step", ["keystore.next-device-written", "keystore.replaced", "keystore.device-replaced"])
def test_a_kill_during_a_trim_leaves_a_store_that_opens(folder, secret, child, step):
    """After kill -9 the store opens, the version is whole or destroyed, and trimming again ends the same."""
    provider = LocalProvider(folder, secret)
    blob = wrap(provider, 1, b"the key")
    provider.new_version("root", 1)
    newer = wrap(provider, 2, b"newer")
    old, old_device = (folder / STORE).read_bytes(), (folder / DEVICE).read_bytes()
    process = child(TRIMMING, folder, secret.secret.decode(), step)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL, errors
    again = LocalProvider(folder, secret)
    destroyed = step != "keystore.next-device-written"
    if destroyed:
        with pytest.raises(KeyStateError):
            unwrap(again, 1, blob)
    else:
        assert unwrap(again, 1, blob) == b"the key"
    for _ in range(2):
        again.trim("root", 2)
        assert again.describe("root").versions[1] is KeyState.DESTROYED
        assert unwrap(LocalProvider(folder, secret), 2, newer) == b"newer"
    assert sorted(path.name for path in folder.iterdir()) == sorted([DEVICE, STORE, local.LOCK])
    assert (folder / DEVICE).read_bytes() != old_device
    overwrite(folder / STORE, old)
    with pytest.raises(KeyStoreLockedError):
        LocalProvider(folder, secret)


def test_a_version_is_made_once(folder, secret):
    """The same call made again gives the version that there is; one that skips versions is refused."""
    provider = LocalProvider(folder, secret)
    for _ in range(3):
        assert provider.new_version("root", 1) == 2
    assert provider.new_version("root", 2) == 3
    assert provider.new_version("root", 1) == 3
    for after in (4, 100):
        with pytest.raises(KeyStateError):
            provider.new_version("root", after)
    with pytest.raises(KeyStateError):
        provider.new_version("none", 1)
    assert sorted(LocalProvider(folder, secret).describe("root").versions) == [1, 2, 3]


def test_two_processes_rotate_without_losing_a_version(folder, secret, child):
    """Two processes that make the same versions at once make each one once: what either wrapped opens afterwards."""
    processes = [child(ROTATING, folder, secret.secret.decode()) for _ in range(2)]
    outputs = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], [errors for _, errors in outputs]
    provider = LocalProvider(folder, secret)
    assert provider.describe("root").current == 31
    assert len({key for _, key in provider._keys["root"].values()}) == 31
    for output, _ in outputs:
        wrapped = [line.split() for line in output.splitlines()]
        assert wrapped
        for version, blob in wrapped:
            assert unwrap(provider, int(version), bytes.fromhex(blob)) == b"of " + version.encode()


def test_threads_of_one_provider_rotate_without_losing_a_version(folder, secret):
    """Threads that share a provider and make the same versions make each one once."""
    provider = LocalProvider(folder, secret)
    with ThreadPoolExecutor(4) as threads:
        made = list(threads.map(lambda _: [provider.new_version("root", after) for after in range(1, 13)], range(4)))
    assert all(version > after for versions in made for after, version in enumerate(versions, 1))
    assert sorted(LocalProvider(folder, secret).describe("root").versions) == list(range(1, 14))


def test_what_is_wrapped_again_needs_its_old_version_no_more(folder, secret):
    """The same keys and contexts under another version, which open when the former one is destroyed."""
    provider = LocalProvider(folder, secret)
    items = [KeyToWrap(b"key %d" % number, b"place %d" % number) for number in range(3)]
    old = [
        WrappedKey(1, blob, item.bound_to) for blob, item in zip(provider.wrap("root", 1, items), items, strict=True)
    ]
    provider.new_version("root", 1)
    new = [
        WrappedKey(2, blob, item.bound_to) for blob, item in zip(provider.rewrap("root", 2, old), items, strict=True)
    ]
    with pytest.raises(KeyStateError, match="decrypt_only"):
        provider.rewrap("root", 1, old)
    provider.trim("root", 2)
    assert LocalProvider(folder, secret).unwrap("root", new) == [item.key for item in items]
    with pytest.raises(KeyStateError, match="destroyed"):
        provider.unwrap("root", [*new, old[0]])


def test_a_thread_never_goes_by_keys_that_another_is_still_reading(folder, secret, monkeypatch):
    """Another process has made a version: while one thread reads it in, a second one waits and finds it too."""
    provider, other = LocalProvider(folder, secret), LocalProvider(folder, secret)
    other.new_version("root", 1)
    blob = wrap(other, 2, b"the key")
    reading, go_on = threading.Event(), threading.Event()
    whole = local.open_keys

    def slow(*arguments):
        reading.set()
        assert go_on.wait(30)
        return whole(*arguments)

    monkeypatch.setattr(local, "open_keys", slow)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(unwrap, provider, 2, blob)
        assert reading.wait(30)
        second = pool.submit(unwrap, provider, 2, blob)
        with pytest.raises(TimeoutError):
            second.result(timeout=0.2)
        go_on.set()
        assert first.result() == second.result() == b"the key"
