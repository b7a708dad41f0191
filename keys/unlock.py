"""What opens a local key store: a key file of random bytes, or a passphrase through Argon2id (RFC 9106)."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from keys import envelope
from keys.errors import KeyStoreLockedError, SecretFileError
from keys.secretfiles import read_secret_file, write_secret_file

KEY_FILE = "key-file"
PASSPHRASE = "passphrase"  # noqa: S105 - the name of a kind, not a secret
MIN_PASSPHRASE = 12
MIN_KEY_FILE = 32

ARGON2_MEMORY_KIB = 256 * 1024
ARGON2_ITERATIONS = 3
ARGON2_LANES = 2


@dataclass(frozen=True, slots=True)
class KdfParameters:
    """How the sealing key is derived; stored in clear in the key store's header and authenticated by it."""

    kind: str
    memory_kib: int = ARGON2_MEMORY_KIB
    iterations: int = ARGON2_ITERATIONS
    lanes: int = ARGON2_LANES

    def check(self) -> None:
        """Refuse parameters that are too weak to protect or so large that they would stop the machine."""
        if self.kind not in {KEY_FILE, PASSPHRASE}:
            raise KeyStoreLockedError("the key store names an unknown way to open it")
        numbers = (self.memory_kib, self.iterations, self.lanes)
        if any(type(number) is not int for number in numbers):
            raise KeyStoreLockedError("the key store's Argon2id parameters are not whole numbers")
        if self.kind == PASSPHRASE and not (
            19 * 1024 <= self.memory_kib <= 4 * 1024 * 1024 and 1 <= self.iterations <= 64 and 1 <= self.lanes <= 64
        ):
            raise KeyStoreLockedError("the key store's Argon2id parameters are outside the accepted range")


@dataclass(frozen=True, slots=True, eq=False)
class UnlockSecret:
    """The operator's secret in memory. Neither printed nor compared."""

    kind: str
    secret: bytes = field(repr=False)

    def sealing_key(self, parameters: KdfParameters, salt: bytes, device_secret: bytes) -> bytes:
        """The 32-byte key of the key store file; depends on the device secret, which is replaced at each destruction.

        Raises:
            KeyStoreLockedError: this key store opens with the other kind of secret.
        """
        if parameters.kind != self.kind:
            raise KeyStoreLockedError(
                f"this key store opens with a {parameters.kind}",
                hint=f"use --{parameters.kind}" + ("-file" if parameters.kind == PASSPHRASE else ""),
            )
        parameters.check()
        if self.kind == PASSPHRASE:
            kdf = Argon2id(
                salt=salt,
                length=envelope.KEY_BYTES,
                iterations=parameters.iterations,
                lanes=parameters.lanes,
                memory_cost=parameters.memory_kib,
                secret=device_secret,
            )
            return kdf.derive(self.secret)
        # A key file has full entropy, so one HMAC with the device secret as key is a sound extraction (RFC 5869).
        bound_to = envelope.context(envelope.Kind.DERIVED, "key-store", salt, self.secret)
        return envelope.mac(device_secret, bound_to)


def from_key_file(path: Path) -> UnlockSecret:
    """Read a key file: at least 32 bytes, which only its owner can read."""
    secret = read_secret_file(path)
    if secret.isascii():  # a text, such as the hexadecimal that we make: its line ends are not part of it
        secret = secret.strip()
    if len(secret) < MIN_KEY_FILE:
        raise SecretFileError(f"{path} is too short for a key file", hint=f"at least {MIN_KEY_FILE} random bytes")
    return UnlockSecret(KEY_FILE, secret)


def from_passphrase_file(path: Path) -> UnlockSecret:
    """Read a passphrase from the first line of a file which only its owner can read."""
    secret = read_secret_file(path).split(b"\n", 1)[0].rstrip(b"\r")
    if len(secret) < MIN_PASSPHRASE:
        raise SecretFileError(f"the passphrase in {path} is too short", hint=f"at least {MIN_PASSPHRASE} characters")
    return UnlockSecret(PASSPHRASE, secret)


def create_key_file(path: Path) -> None:
    """Make a key file with 32 fresh random bytes in hexadecimal, mode 0600; never overwrites."""
    write_secret_file(path, os.urandom(32).hex().encode() + b"\n", replace=False)
