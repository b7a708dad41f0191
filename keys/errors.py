"""Errors of the key side. Messages name key ids, versions and files; never key bytes, passphrases or provider texts.

They have the same attributes as the lake's errors (``code``, ``exit_code``, ``hint``), which may not be imported here.
"""

from __future__ import annotations


class KeysError(Exception):
    """Base of everything that the key side raises on purpose."""

    code = "keys"
    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details: dict[str, str | int] = {}

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class SecretFileError(KeysError):
    """A key file, passphrase file or key store file may not be used as it lies there."""

    code = "secret_file"
    exit_code = 2


class KeyStoreLockedError(KeysError):
    """The key store does not open. A wrong secret and a damaged file look the same on purpose."""

    code = "key_store_locked"


class KeyStoreMissingError(KeysError):
    """There is no key store where one should be."""

    code = "key_store_missing"
    exit_code = 4


class KeyIntegrityError(KeysError):
    """A wrapped key, a sealed document or a signature is not what was made: changed, moved or from elsewhere."""

    code = "key_integrity"
    exit_code = 4


class KeyStateError(KeysError):
    """The state of a key or of an employee's keys forbids this: disabled, destroyed or tombstoned."""

    code = "key_state"


class ReceiptRefusedError(KeysError):
    """No key without a fresh, unused and verified audit receipt that names the partition."""

    code = "receipt_refused"
    exit_code = 4
