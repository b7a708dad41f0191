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


class OutdatedPlanError(KeyStateError):
    """A key was replaced or destroyed since the plan was made; a new plan names what is there now."""

    code = "key_gone"


class CompromisedKeyError(OutdatedPlanError):
    """A KEK is marked as compromised, and opens for re-encryption only; its files are being put under another."""

    code = "key_compromised"
    exit_code = 5


class EmployeeErasedError(OutdatedPlanError):
    """The keys of an employee have been destroyed; a new plan leaves them out."""

    code = "employee_erased"


class StaleKeyError(KeyStateError):
    """A key was retired between being read and being used; reading again helps."""

    code = "stale_key"
    exit_code = 5


class ReceiptRefusedError(KeysError):
    """No key without a fresh, unused and verified audit receipt that names the partition."""

    code = "receipt_refused"
    exit_code = 4


class ProviderError(KeysError):
    """The key service did not do it; nothing was changed, or the same call made again finishes it."""

    code = "provider"
    exit_code = 5


class ProviderUnavailableError(ProviderError):
    """The key service cannot be reached, or fails."""

    code = "provider_unavailable"


class ProviderTimeoutError(ProviderUnavailableError):
    """The key service did not answer in time."""

    code = "provider_timeout"


class ProviderSealedError(ProviderUnavailableError):
    """The key service is up and sealed: an operator of it must unseal it."""

    code = "provider_sealed"


class ProviderThrottledError(ProviderError):
    """The key service asks for fewer requests, and went on asking after several pauses."""

    code = "provider_throttled"


class ProviderDeniedError(ProviderError):
    """The key service does not let this host do that: its credential is missing, expired or not allowed."""

    code = "provider_denied"


class ProviderAnswerError(ProviderError):
    """The key service answered what it may not answer; nothing of the answer was used."""

    code = "provider_answer"
    exit_code = 4


class RateLimitedError(KeysError):
    """More keys were asked for than a limit of the broker allows in this time."""

    code = "rate_limited"
    exit_code = 5


class KeyOperationError(KeysError):
    """Another operation on keys is under way, or this one may not go on as asked."""

    code = "key_operation"


class BrokerUnavailableError(KeysError):
    """The broker cannot be reached, or did not answer: it may or may not have done what was asked."""

    code = "broker_unavailable"
    exit_code = 5


class BrokerRefusedError(KeysError):
    """The broker does not know this host, or the host's role does not let it do that."""

    code = "broker_refused"
    exit_code = 3


class BrokerMessageError(KeysError):
    """A message between a host and the broker is not one: too long, cut off, or of another form."""

    code = "broker_message"
    exit_code = 4


class BrokerFailedError(KeysError):
    """The broker met an error that should not occur."""

    code = "broker_failed"
