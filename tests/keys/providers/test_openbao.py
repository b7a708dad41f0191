"""The OpenBao provider against a real server: what its keys are, their states, its backups, crashes."""

from __future__ import annotations

import os
import signal
import subprocess
from dataclasses import replace

import pytest

from keys.errors import KeyStateError, ProviderAnswerError, ProviderSealedError, ProviderUnavailableError
from keys.providers.openbao import BATCH, OpenBaoProvider
from keys.refs import KeyState
from tests import forking
from tests.keys.providers.conformance import NAME, to_wrap, wrapped
from tests.keys.providers.openbao_server import wait_until

CHILD = """
import os, signal, sys
from pathlib import Path
from keys.providers.openbao import OpenBaoConfig, OpenBaoProvider

address, token_file, prefix, ca_file, name, call, number, step = sys.argv[1:]

def hook(event, arguments):
    if event == "lake.step" and arguments[0] == step:
        os.kill(os.getpid(), signal.SIGKILL)

provider = OpenBaoProvider(OpenBaoConfig(address, Path(token_file), prefix=prefix, ca_file=Path(ca_file)))
sys.addaudithook(hook)
print(getattr(provider, call)(name, int(number)))
"""


@pytest.fixture
def provider(openbao_provider):
    """The provider with two keys in version 1."""
    return openbao_provider


def child(config, call, number, step=""):
    """Another process that makes one call, and is killed at a step of it."""
    arguments = [config.address, config.token_file, config.prefix, config.ca_file, NAME, call, number, step]
    return forking.python(CHILD, *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process):
    """Output and return code of a child."""
    out, err = process.communicate(timeout=60)
    assert process.returncode in {0, -signal.SIGKILL}, err
    return out.strip(), process.returncode


def test_keys_are_made_so_that_they_cannot_leave(openbao, openbao_config, provider):
    """Derived, not exportable, no plaintext backup; and the engine no longer makes keys that are missing."""
    data = openbao.call("GET", f"transit/keys/{openbao_config.prefix}{NAME}")["data"]
    assert data["type"] == "aes256-gcm96"
    assert data["derived"] is True
    assert (data["exportable"], data["allow_plaintext_backup"], data["deletion_allowed"]) == (False, False, False)
    assert openbao.call("GET", "transit/config/keys")["data"]["disable_upsert"] is True


@pytest.mark.parametrize("field", ["exportable", "allow_plaintext_backup"])
def test_a_key_that_can_leave_is_not_used(openbao, openbao_config, provider, field):
    """Somebody made the key in a way that lets its material out: it is refused before a key goes into it."""
    openbao.call(
        "POST", f"transit/keys/{openbao_config.prefix}loose", {"type": "aes256-gcm96", "derived": True, field: True}
    )
    with pytest.raises(KeyStateError, match="made otherwise"):
        provider.wrap("loose", 1, to_wrap(1))


def test_a_deleted_key_is_not_made_again(openbao, openbao_config, provider):
    """Even where the server would make a missing key when it is asked to encrypt with it."""
    made = wrapped(provider)
    path = f"transit/keys/{openbao_config.prefix}{NAME}"
    openbao.call("POST", f"{path}/config", {"deletion_allowed": True})
    openbao.call("DELETE", path)
    openbao.call("POST", "transit/config/keys", {"disable_upsert": False})
    try:
        for call in (
            lambda: provider.wrap(NAME, 1, to_wrap(1)),
            lambda: provider.unwrap(NAME, made.items),
            lambda: provider.rewrap(NAME, 1, made.items),
            lambda: provider.new_version(NAME, 1),
            lambda: provider.describe(NAME),
        ):
            with pytest.raises(KeyStateError):
                call()
        with pytest.raises(RuntimeError, match="404"):
            openbao.call("GET", path)
    finally:
        openbao.call("POST", "transit/config/keys", {"disable_upsert": True})


def test_a_soft_deleted_key_is_disabled(openbao, openbao_config, provider):
    """It does nothing, and comes back with everything."""
    made = wrapped(provider)
    provider.new_version(NAME, 1)
    path = f"transit/keys/{openbao_config.prefix}{NAME}"
    openbao.call("DELETE", f"{path}/soft-delete")
    assert dict(provider.describe(NAME).versions) == {1: KeyState.DISABLED, 2: KeyState.DISABLED}
    for call in (
        lambda: provider.wrap(NAME, 2, to_wrap(1)),
        lambda: provider.unwrap(NAME, made.items),
        lambda: provider.rewrap(NAME, 2, made.items),
        lambda: provider.new_version(NAME, 2),
        lambda: provider.trim(NAME, 2),
    ):
        with pytest.raises(KeyStateError):
            call()
    openbao.call("POST", f"{path}/soft-delete-restore")
    assert provider.unwrap(NAME, made.items) == made.keys


def test_a_raised_minimum_disables_and_can_be_lowered(openbao, openbao_config, provider):
    """Below the engine's minimum a version is DISABLED, not DESTROYED: an operator can take it back."""
    made = wrapped(provider)
    provider.new_version(NAME, 1)
    provider.new_version(NAME, 2)
    path = f"transit/keys/{openbao_config.prefix}{NAME}/config"
    openbao.call("POST", path, {"min_decryption_version": 3, "min_encryption_version": 3})
    states = dict(provider.describe(NAME).versions)
    assert states == {1: KeyState.DISABLED, 2: KeyState.DISABLED, 3: KeyState.ENABLED}
    with pytest.raises(KeyStateError):
        provider.unwrap(NAME, made.items)
    provider.trim(NAME, 2)
    states = dict(provider.describe(NAME).versions)
    assert states == {1: KeyState.DESTROYED, 2: KeyState.DISABLED, 3: KeyState.ENABLED}
    openbao.call("POST", path, {"min_decryption_version": 2})
    assert provider.describe(NAME).versions[2] is KeyState.DECRYPT_ONLY
    with pytest.raises(RuntimeError, match="400"):
        openbao.call("POST", path, {"min_decryption_version": 1})


def test_a_snapshot_brings_a_trimmed_version_back(openbao, provider):
    """Why a destruction counts only when the service's own backups have expired."""
    made = wrapped(provider)
    snapshot = openbao.snapshot()
    provider.new_version(NAME, 1)
    provider.trim(NAME, 2)
    with pytest.raises(KeyStateError):
        provider.unwrap(NAME, made.items)
    openbao.restore(snapshot)
    assert provider.describe(NAME).current == 1
    assert provider.unwrap(NAME, made.items) == made.keys


def test_keys_survive_a_killed_server(openbao, provider):
    """After kill -9 and a restart what was wrapped opens and what was trimmed does not."""
    old = wrapped(provider)
    provider.new_version(NAME, 1)
    made = wrapped(provider, version=2)
    provider.trim(NAME, 2)
    openbao.kill()
    quick = OpenBaoProvider(provider._config, pause=lambda _: None)
    with pytest.raises(ProviderUnavailableError):
        quick.unwrap(NAME, made.items)
    openbao.start()
    wait_until(openbao.active)
    for each in (provider, quick):
        assert each.unwrap(NAME, made.items) == made.keys
        with pytest.raises(KeyStateError):
            each.unwrap(NAME, old.items)
    quick.close()


def test_a_sealed_server_is_told_from_a_dead_one(openbao, provider):
    """Sealed by an operator; it unseals itself when it is started again."""
    made = wrapped(provider)
    openbao.call("PUT", "sys/seal")
    wait_until(lambda: openbao.health() == 503)
    with pytest.raises(ProviderSealedError):
        provider.unwrap(NAME, made.items)
    openbao.kill()
    openbao.start()
    wait_until(openbao.active)
    assert provider.unwrap(NAME, made.items) == made.keys


def test_another_mount_and_namespace(openbao, openbao_config):
    """Keys of one namespace are not those of another; an engine that is not there is no missing key."""
    space, mount = f"ns{os.urandom(4).hex()}", "keys-of-the-lake"
    openbao.call("POST", f"sys/namespaces/{space}", {})
    openbao.call("POST", f"{space}/sys/mounts/{mount}", {"type": "transit"})
    inside = OpenBaoProvider(replace(openbao_config, namespace=space, mount=mount))
    inside.create([NAME])
    made = wrapped(inside)
    assert inside.unwrap(NAME, made.items) == made.keys
    inside.close()
    outside = OpenBaoProvider(openbao_config)
    with pytest.raises(KeyStateError):
        outside.describe(NAME)
    outside.close()
    lost = OpenBaoProvider(replace(openbao_config, mount=mount))
    with pytest.raises(ProviderAnswerError, match="no such engine"):
        lost.describe(NAME)
    lost.close()


def test_requests_are_batches_without_contexts(proxied, fault_proxy):
    """Many items go in few requests; of a context only its hash goes out, so that nobody is named to the service."""
    provider = OpenBaoProvider(proxied)
    provider.create([NAME])
    made = wrapped(provider, 450)
    assert provider.unwrap(NAME, made.items) == made.keys
    assert fault_proxy.count("/encrypt/") == fault_proxy.count("/decrypt/") == 450 // BATCH
    assert not any(b"lake-of-the-suite" in seen.body for seen in fault_proxy.seen)
    assert not any("bGFrZS1vZi10aGUtc3VpdGU" in seen.body.decode() for seen in fault_proxy.seen)
    provider.close()


@pytest.mark.parametrize(
    ("call", "number", "step"),
    [("new_version", 1, "openbao.rotated"), ("trim", 2, "openbao.minimum-raised"), ("trim", 2, "openbao.trimmed")],
)
def test_a_call_that_was_killed_is_finished_by_the_same_call(openbao_config, provider, call, number, step):
    """Killed right after each change of the service: made once more, it is as if it had been made once."""
    made = wrapped(provider)
    if call == "trim":
        provider.new_version(NAME, 1)
    assert ended(child(openbao_config, call, number, step))[1] == -signal.SIGKILL
    before = provider.describe(NAME)
    if step == "openbao.minimum-raised":
        assert before.versions[1] is KeyState.DISABLED
    assert ended(child(openbao_config, call, number))[1] == 0
    found = provider.describe(NAME)
    assert found.current == 2
    assert found.versions[1] is (KeyState.DESTROYED if call == "trim" else KeyState.DECRYPT_ONLY)
    if call == "new_version":
        assert provider.unwrap(NAME, made.items) == made.keys


def test_processes_of_a_machine_make_one_version(openbao_config, provider):
    """The engine cannot compare and swap; a lock beside the token keeps processes apart."""
    children = [child(openbao_config, "new_version", 1) for _ in range(4)]
    assert [ended(each) for each in children] == [("2", 0)] * 4
    assert provider.describe(NAME).current == 2
