"""What opens a key store: key files and passphrases, and the strength that is asked of them."""

from __future__ import annotations

import pytest

from keys import unlock
from keys.errors import KeyStoreLockedError, SecretFileError
from keys.secretfiles import write_secret_file
from keys.unlock import KEY_FILE, PASSPHRASE, KdfParameters, UnlockSecret

SMALL = KdfParameters(PASSPHRASE, memory_kib=19 * 1024, iterations=1, lanes=1)
SALT, DEVICE = bytes(16), bytes(range(32))


def written(folder, content):
    """A secret file with this content."""
    path = folder / "secret"
    write_secret_file(path, content, replace=True)
    return path


def test_a_key_file_is_made_once(tmp_path):
    """A new key file has 32 random bytes, mode 0600, is never overwritten, and opens as a key file."""
    path, other = tmp_path / "one.key", tmp_path / "two.key"
    unlock.create_key_file(path)
    unlock.create_key_file(other)
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(bytes.fromhex(path.read_text())) == 32
    assert path.read_text() != other.read_text()
    before = path.read_bytes()
    with pytest.raises(SecretFileError):
        unlock.create_key_file(path)
    assert path.read_bytes() == before
    secret = unlock.from_key_file(path)
    assert (secret.kind, secret.secret) == (KEY_FILE, before.strip())


@pytest.mark.parametrize("content", [b"", b"\n", b"k" * 31, b"  " + b"k" * 31 + b"\n\n"])
def test_short_key_files_are_refused(tmp_path, content):
    """White space does not count towards the 32 bytes."""
    with pytest.raises(SecretFileError, match="too short"):
        unlock.from_key_file(written(tmp_path, content))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"correct horse battery", b"correct horse battery"),
        (b"correct horse battery\r\nsecond line\n", b"correct horse battery"),
        (b" spaces count \n", b" spaces count "),
    ],
)
def test_a_passphrase_is_the_first_line(tmp_path, content, expected):
    """Line ends are not part of a passphrase; spaces are."""
    secret = unlock.from_passphrase_file(written(tmp_path, content))
    assert (secret.kind, secret.secret) == (PASSPHRASE, expected)


@pytest.mark.parametrize("content", [b"", b"zyxwvu", b"zyxwvutsrqp\nand more than enough here\n"])
def test_short_passphrases_are_refused_without_being_shown(tmp_path, content):
    """Fewer than 12 characters are too few, and the message does not repeat them."""
    with pytest.raises(SecretFileError, match="too short") as caught:
        unlock.from_passphrase_file(written(tmp_path, content))
    assert "zyxwvu" not in str(caught.value)


@pytest.mark.parametrize(
    "parameters",
    [
        KdfParameters("other"),
        KdfParameters(PASSPHRASE, memory_kib=19 * 1024 - 1),
        KdfParameters(PASSPHRASE, memory_kib=4 * 1024 * 1024 + 1),
        KdfParameters(PASSPHRASE, iterations=0),
        KdfParameters(PASSPHRASE, iterations=65),
        KdfParameters(PASSPHRASE, lanes=0),
        KdfParameters(PASSPHRASE, lanes=65),
        KdfParameters(PASSPHRASE, memory_kib=-1),
        KdfParameters(PASSPHRASE, memory_kib=20_000.5),  # type: ignore[arg-type]
        KdfParameters(PASSPHRASE, iterations="3"),  # type: ignore[arg-type]
        KdfParameters(PASSPHRASE, lanes=True),
        KdfParameters(PASSPHRASE, lanes=None),  # type: ignore[arg-type]
    ],
)
def test_parameters_out_of_range_are_refused_before_any_work(parameters):
    """Parameters that are too weak, that would stop the machine, or that are no numbers are refused."""
    with pytest.raises(KeyStoreLockedError):
        parameters.check()
    with pytest.raises(KeyStoreLockedError):
        UnlockSecret(PASSPHRASE, b"correct horse battery").sealing_key(parameters, SALT, DEVICE)


@pytest.mark.parametrize("parameters", [SMALL, KdfParameters(KEY_FILE)])
def test_the_sealing_key_depends_on_everything(parameters):
    """Another secret, salt, device secret or derivation gives another key of 32 bytes; the same ones the same key."""
    secret = UnlockSecret(parameters.kind, b"correct horse battery staple")
    other = UnlockSecret(parameters.kind, b"correct horse battery stable")
    keys = [
        secret.sealing_key(parameters, SALT, DEVICE),
        other.sealing_key(parameters, SALT, DEVICE),
        secret.sealing_key(parameters, b"s" * 16, DEVICE),
        secret.sealing_key(parameters, SALT, bytes(32)),
    ]
    assert len(set(keys)) == len(keys)
    assert {len(key) for key in keys} == {32}
    assert secret.sealing_key(parameters, SALT, DEVICE) == keys[0]


def test_the_cost_is_part_of_the_derivation():
    """Argon2id with other parameters gives another key."""
    secret = UnlockSecret(PASSPHRASE, b"correct horse battery")
    dearer = KdfParameters(PASSPHRASE, memory_kib=19 * 1024, iterations=2, lanes=1)
    assert secret.sealing_key(SMALL, SALT, DEVICE) != secret.sealing_key(dearer, SALT, DEVICE)


@pytest.mark.parametrize(("kind", "store"), [(KEY_FILE, SMALL), (PASSPHRASE, KdfParameters(KEY_FILE))])
def test_the_other_kind_of_secret_is_told_apart(kind, store):
    """A key file does not open what a passphrase opens; the message says which option to use."""
    with pytest.raises(KeyStoreLockedError) as caught:
        UnlockSecret(kind, b"correct horse battery staple....").sealing_key(store, SALT, DEVICE)
    assert caught.value.hint.startswith("use --")


def test_the_defaults_are_strong():
    """Passphrases cost at least 64 MiB and three passes unless asked otherwise (RFC 9106, second choice)."""
    defaults = KdfParameters(PASSPHRASE)
    defaults.check()
    assert defaults.memory_kib >= 64 * 1024
    assert defaults.iterations >= 3


def test_a_secret_is_neither_shown_nor_compared(leaks):
    """The representation has the kind only, and two secrets are never equal by value."""
    secret = UnlockSecret(KEY_FILE, b"s" * 40)
    assert not leaks(repr(secret) + str(secret), b"s" * 8)
    assert secret != UnlockSecret(KEY_FILE, b"s" * 40)
