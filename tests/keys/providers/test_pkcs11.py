"""The PKCS#11 provider on a software token: objects that stay inside, logins, races, destruction."""

from __future__ import annotations

import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pkcs11
import pytest
from pkcs11 import Attribute, KeyType, MechanismFlag, ObjectClass

from keys.errors import (
    KeyIntegrityError,
    KeyStateError,
    KeyStoreMissingError,
    ProviderError,
    ProviderUnavailableError,
    SecretFileError,
)
from keys.providers import KeyToWrap, WrappedKey
from keys.providers.pkcs11 import Pkcs11Provider
from keys.refs import KeyState
from tests.keys.providers.case_pkcs11 import PIN

KEY = bytes(range(32))
BOUND = b"level 3, bucket 17"
STATES = (KeyState.ENABLED, KeyState.DECRYPT_ONLY, KeyState.DESTROYED)

OPENING = """
import os, signal, sys
from pathlib import Path
from keys.errors import KeysError
from keys.providers.pkcs11 import Pkcs11Config, Pkcs11Provider

module, label, pin_file, prefix = sys.argv[1:5]
config = Pkcs11Config(Path(module), label, Path(pin_file), prefix)

def shown(action):
    try:
        print(action(), flush=True)
    except KeysError as error:
        print(type(error).__name__, error, flush=True)
"""

DESCRIBING = OPENING + "shown(lambda: dict(Pkcs11Provider(config).describe('root').versions))"

ROTATING = (
    OPENING
    + """
provider = Pkcs11Provider(config)
for _ in range(10):
    before = provider.describe("root").current
    print(before, provider.new_version("root", before), flush=True)
"""
)

TRIMMING = (
    OPENING
    + """
def hook(event, arguments):
    if event == "lake.step" and arguments[0] == "pkcs11.version-destroyed":
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(hook)
Pkcs11Provider(config).trim("root", 3)
"""
)

FORKING = (
    OPENING
    + """
provider = Pkcs11Provider(config)
if os.fork() == 0:
    shown(lambda: provider.describe("root"))
    shown(lambda: Pkcs11Provider(config))
    provider.close()
    shown(lambda: Pkcs11Provider(config))
    os._exit(0)
os.wait()
shown(lambda: provider.describe("root").current)
"""
)

PLANTS: list[object] = []
"""What the audit hook of this module does once at the next key that is made."""


def _hook(event, arguments):
    if event == "lake.step" and arguments[0] == "pkcs11.key-made" and PLANTS:
        PLANTS.pop()()


@pytest.fixture(scope="module", autouse=True)
def hooked():
    """Audit hooks cannot be taken away again; this one does nothing while nothing is planted."""
    sys.addaudithook(_hook)


@pytest.fixture
def opened(token):
    """Makes providers on the test's keys."""
    made = []

    def build(**changes):
        made.append(Pkcs11Provider(replace(token, **changes)))
        return made[-1]

    yield build
    for provider in made:
        provider.close()


@pytest.fixture
def provider(opened):
    """A provider with the key ``root``."""
    provider = opened()
    provider.create(["root"])
    return provider


@pytest.fixture
def session(token, provider):
    """Another session of this process, as an administrator's tool would have it."""
    session = pkcs11.lib(str(token.module)).get_token(token_label=token.token_label).open(rw=True)
    yield session
    session.close()


@pytest.fixture
def answered(child, token):
    """What a process of its own prints: the lines."""

    def run(source, **changes):
        config = replace(token, **changes)
        process = child(source, config.module, config.token_label, config.pin_file, config.prefix)
        output, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        return output.splitlines()

    return run


def wrapped(provider, version=1):
    """A key that was just wrapped."""
    (blob,) = provider.wrap("root", version, [KeyToWrap(KEY, BOUND)])
    return WrappedKey(version, blob, BOUND)


def objects(session, token, version):
    """The key objects of a version."""
    label = f"{token.prefix}root/v{version}"
    return list(session.get_objects({Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.LABEL: label}))


def plant(session, token, version, **template):
    """A key object that somebody else made with a version's label."""
    return session.generate_key(
        KeyType.AES,
        256,
        label=f"{token.prefix}root/v{version}",
        store=True,
        capabilities=MechanismFlag.ENCRYPT | MechanismFlag.DECRYPT,
        template={Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False}
        | {Attribute[name]: value for name, value in template.items()},
    )


def test_a_key_cannot_leave_the_token(provider, session, token):
    """Its attributes say so, and its value cannot be read."""
    (key,) = objects(session, token, 1)
    for attribute, value in (
        (Attribute.SENSITIVE, True),
        (Attribute.ALWAYS_SENSITIVE, True),
        (Attribute.EXTRACTABLE, False),
        (Attribute.NEVER_EXTRACTABLE, True),
        (Attribute.PRIVATE, True),
        (Attribute.WRAP, False),
        (Attribute.UNWRAP, False),
        (Attribute.SIGN, False),
    ):
        assert key[attribute] is value, attribute
    with pytest.raises(pkcs11.AttributeSensitive):
        key[Attribute.VALUE]


def test_a_key_that_may_leave_the_token_is_refused(provider, session, token):
    """Whoever planted it knows it."""
    plant(session, token, 2, EXTRACTABLE=True)
    for use in (lambda: provider.describe("root"), lambda: provider.wrap("root", 2, [KeyToWrap(KEY, BOUND)])):
        with pytest.raises(KeyStateError, match="may leave the token"):
            use()


def test_two_wraps_of_one_key_differ(provider):
    """Every wrap has a nonce of its own."""
    blobs = provider.wrap("root", 1, [KeyToWrap(KEY, BOUND)] * 50)
    assert len({blob[33:45] for blob in blobs}) == 50


def test_a_blob_of_any_other_length_is_refused(provider):
    """Cut anywhere, or with more behind it; the token works on afterwards."""
    item = wrapped(provider)
    for blob in (*(item.blob[:size] for size in range(len(item.blob))), item.blob + b"\0"):
        with pytest.raises(KeyIntegrityError):
            provider.unwrap("root", [replace(item, blob=blob)])
    assert provider.unwrap("root", [item]) == [KEY]


def test_destroyed_versions_are_remembered_by_their_numbers(provider, answered):
    """A process that opens the token later knows which versions there were."""
    for version in range(1, 4):
        provider.new_version("root", version)
    item = wrapped(provider, 4)
    provider.trim("root", 3)
    enabled, decrypt_only, destroyed = STATES
    assert provider.describe("root").versions == {1: destroyed, 2: destroyed, 3: decrypt_only, 4: enabled}
    assert answered(DESCRIBING) == [str(dict(provider.describe("root").versions))]
    assert provider.unwrap("root", [item]) == [KEY]


def test_a_version_without_its_decrypt_attribute_is_disabled(provider, session, token):
    """An operator's way to suspend one; PKCS#11 has no other."""
    item = wrapped(provider)
    provider.new_version("root", 1)
    (key,) = objects(session, token, 1)
    key[Attribute.DECRYPT] = False
    assert provider.describe("root").versions == {1: KeyState.DISABLED, 2: KeyState.ENABLED}
    with pytest.raises(KeyStateError, match="disabled"):
        provider.unwrap("root", [item])
    provider.trim("root", 2)
    assert not objects(session, token, 1)


def test_a_lost_session_is_opened_again(provider):
    """Once, and with nothing noticed."""
    item = wrapped(provider)
    provider._token._session.close()
    assert provider.unwrap("root", [item]) == [KEY]
    provider._token._session.close()
    assert provider.new_version("root", 1) == 2


def test_being_logged_out_does_not_look_like_no_keys(provider, token):
    """Private objects vanish with the login: a key must not seem to be missing, and be made anew."""
    item = wrapped(provider)
    outside = pkcs11.lib(str(token.module)).get_token(token_label=token.token_label).open()
    assert objects(outside, token, 1)
    # Closing a session that logged in logs the whole process out, even those that go on.
    provider._token._session.close()
    assert not objects(outside, token, 1)
    with pytest.raises(KeyStateError, match="exists already"):
        provider.create(["root"])
    assert provider.unwrap("root", [item]) == [KEY]
    outside.close()


def test_closing_one_provider_leaves_the_others_logged_in(opened):
    """The login belongs to the process."""
    first, second = opened(), opened()
    first.create(["root"])
    item = wrapped(first)
    for _ in range(2):
        first.close()
    assert second.unwrap("root", [item]) == [KEY]


def test_a_wrong_pin_is_denied(answered, provider, tmp_path):
    """Another PIN, none, and what is no text."""
    pin_file = tmp_path / "pin"
    pin_file.touch(mode=0o600)
    for content in (PIN[::-1].encode(), b"", b"\xff\xfe"):
        pin_file.write_bytes(content)
        (line,) = answered(DESCRIBING, pin_file=pin_file)
        assert line.startswith("ProviderDeniedError")
    pin_file.write_text(PIN)
    assert answered(DESCRIBING, pin_file=pin_file) == [str({1: KeyState.ENABLED})]


def test_pin_files_that_others_read_are_refused(answered, token, tmp_path):
    """So are missing ones."""
    pin_file = tmp_path / "pin"
    pin_file.write_text(PIN)
    pin_file.chmod(0o644)
    assert answered(DESCRIBING, pin_file=pin_file)[0].startswith(SecretFileError.__name__)
    assert answered(DESCRIBING, pin_file=tmp_path / "none")[0].startswith(KeyStoreMissingError.__name__)


@pytest.mark.parametrize("changes", [{"token_label": "another"}, {"module": Path("/nowhere.so")}])
def test_no_token_and_no_module_are_unavailable(opened, changes):
    """Something to plug in, or to install."""
    with pytest.raises(ProviderUnavailableError):
        opened(**changes)
    with pytest.raises(ProviderUnavailableError):
        opened(**changes)


def test_a_fork_does_not_share_the_login(answered, provider):
    """The parent's goes on; the child is told, whether it uses the old provider or opens one."""
    lines = answered(FORKING)
    assert [line.split()[0] for line in lines] == ["ProviderUnavailableError"] * 3 + ["1"]


def test_threads_take_turns(provider):
    """Many batches at once, rotations between them: every key comes back."""

    def work(number):
        key = os.urandom(32)
        blob, *_ = provider.wrap("root", 1, [KeyToWrap(key, BOUND)] * 20)
        return provider.unwrap("root", [WrappedKey(1, blob, BOUND)] * 20) == [key] * 20

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(work, range(40)))
        assert set(threads.map(lambda _: provider.new_version("root", 1), range(8))) == {2}


def test_two_processes_rotate_without_losing_a_version(provider, child, token, session):
    """Each number is made once, by one of them, and a process that waited for the other is told its version."""
    arguments = (token.module, token.token_label, token.pin_file, token.prefix)
    processes = [child(ROTATING, *arguments) for _ in range(2)]
    pairs = []
    for process in processes:
        output, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        pairs += [tuple(map(int, line.split())) for line in output.splitlines()]
    assert all(after > before for before, after in pairs)
    current = provider.describe("root").current
    assert 11 <= current <= 21
    assert {after for _, after in pairs} == set(range(2, current + 1))
    assert all(len(objects(session, token, version)) == 1 for version in range(1, current + 1))


def test_a_version_that_another_host_makes_at_once_is_withdrawn(provider, session, token):
    """The one who sees two takes its own back, which nobody has used, and finds the other's afterwards."""
    PLANTS.append(lambda: plant(session, token, 2))
    with pytest.raises(ProviderError, match="another host"):
        provider.new_version("root", 1)
    assert len(objects(session, token, 2)) == 1
    assert provider.new_version("root", 1) == 2
    assert wrapped(provider, 2)


def test_two_keys_of_one_label_are_both_refused(provider, session, token):
    """Nothing tells which of them wrapped what."""
    item = wrapped(provider)
    plant(session, token, 1)
    for use in (lambda: provider.describe("root"), lambda: provider.unwrap("root", [item])):
        with pytest.raises(KeyStateError, match="two keys"):
            use()


def test_keys_are_made_all_or_none(opened, session, token):
    """What was made before the one that failed is taken back."""
    provider = opened(prefix=token.prefix + "more-")
    other = replace(token, prefix=token.prefix + "more-")
    PLANTS.append(lambda: plant(session, other, 1))
    with pytest.raises(ProviderError):
        provider.create(["one", "root"])
    objects(session, other, 1)[0].destroy()
    provider.create(["one", "two"])
    with pytest.raises(KeyStateError):
        provider.create(["three", "two"])
    for name in ("root", "three"):
        with pytest.raises(KeyStateError):
            provider.describe(name)


def test_a_kill_during_a_trim_is_finished_by_the_next(provider, child, token):
    """After kill -9 the rest of the versions are whole, and trimming again destroys them."""
    items = [wrapped(provider)]
    for version in (2, 3):
        provider.new_version("root", version - 1)
        items.append(wrapped(provider, version))
    process = child(TRIMMING, token.module, token.token_label, token.pin_file, token.prefix)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, errors
    enabled, decrypt_only, destroyed = STATES
    assert provider.describe("root").versions == {1: destroyed, 2: decrypt_only, 3: enabled}
    assert provider.unwrap("root", items[1:2]) == [KEY]
    for _ in range(2):
        provider.trim("root", 3)
        assert provider.describe("root").versions == {1: destroyed, 2: destroyed, 3: enabled}
    assert provider.unwrap("root", items[2:]) == [KEY]
    for item in items[:2]:
        with pytest.raises(KeyStateError, match="destroyed"):
            provider.unwrap("root", [item])


def test_neither_the_pin_nor_a_key_is_shown(provider, leaks):
    """Nor kept: the PIN is read when a session is opened."""
    text = repr(provider) + repr(provider._config) + repr(vars(provider._token)) + repr(wrapped(provider))
    assert not leaks(text, PIN.encode(), KEY)
