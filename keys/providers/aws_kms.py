"""The AWS KMS provider. Versions of one KMS key cannot be destroyed apart, so every version is a KMS key of its own:
``root`` in version 2 is the key behind the alias ``alias/tlake-root/v2`` (`keys.providers.aws_versions`).

What it can't do: destroy at once. AWS waits for ``deletion_days``, in which an administrator may call the key back;
:class:`ProviderKey` tells until when.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from keys.errors import KeysError, KeyStateError, ProviderAnswerError
from keys.providers import KeyToWrap, ProviderKey, WrappedKey, committed
from keys.providers.aws_calls import AwsKmsConfig, Calls, field
from keys.providers.aws_versions import KmsKeys, Version, in_threads
from keys.providers.states import unwrapping, wrapping
from keys.refs import KeyState

__all__ = ["STATES_SECONDS", "AwsKmsConfig", "AwsKmsProvider"]

STATES_SECONDS = 5.0
"""How long an unwrap may go by states that were read before. AWS itself refuses a key that was disabled since."""


class AwsKmsProvider:
    """Keys in AWS KMS. Its ``repr`` shows the region and the prefix only."""

    kind = "aws-kms"

    def __init__(
        self,
        config: AwsKmsConfig,
        *,
        pause: Callable[[float], object] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Makes no request yet.

        Args:
            pause: waits between attempts, so many seconds.
            clock: seconds, by which states that were read grow old.

        Raises:
            ProviderDeniedError: the configuration cannot be used.
        """
        self._config = config
        self._call = Calls(config, pause)
        self._keys = KmsKeys(config, self._call)
        self._clock = clock
        self._read: dict[str, tuple[float, dict[int, Version]]] = {}

    def __repr__(self) -> str:
        return f"AwsKmsProvider({self._config.region!r}, {self._config.prefix!r})"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("providers are not pickled")

    def create(self, names: Collection[str]) -> None:
        """See KeyProvider. All keys are made before the first gets its alias; what was done is undone on an error."""
        for name in names:
            if self._keys.versions(name):
                raise _exists(name)
        made: dict[str, str] = {}
        try:
            for name in names:
                made[name] = self._keys.make(name, 1)
            sys.audit("lake.step", "aws-kms.keys-made")
            for name in names:
                self._claim(name, made[name])
            self._call.settled(lambda: all(self._keys.versions(name) for name in names))
        except BaseException:
            for name, key in made.items():
                with suppress(KeysError):
                    self._keys.discard(name, 1, key)
            raise

    def _claim(self, name: str, key: str) -> None:
        if not self._keys.claim(name, 1, key):
            raise _exists(name)

    def describe(self, name: str) -> ProviderKey:
        """See KeyProvider."""
        versions = self._versions(name)
        gone_after = {number: each.gone_after for number, each in versions.items() if each.gone_after is not None}
        return ProviderKey(name, max(versions), {number: each.state for number, each in versions.items()}, gone_after)

    def wrap(self, name: str, version: int, items: Sequence[KeyToWrap]) -> list[bytes]:
        """See KeyProvider."""
        target = wrapping(name, self._versions(name), version).arn

        def wrapped(item: KeyToWrap) -> bytes:
            answer = self._call(
                "encrypt", KeyId=target, Plaintext=item.key, EncryptionContext=_encryption_context(item.bound_to)
            )
            _require_key(answer, "KeyId", target)
            return committed.pack(item.key, item.bound_to, field(answer, "CiphertextBlob", bytes))

        return in_threads(wrapped, items)

    def unwrap(self, name: str, items: Sequence[WrappedKey]) -> list[bytes]:
        """See KeyProvider. Goes by states that are at most ``STATES_SECONDS`` old."""
        sources = unwrapping(name, self._versions(name, fresh=False), items)

        def unwrapped(item: WrappedKey) -> bytes:
            answer = self._call(
                "decrypt",
                KeyId=sources[item.version].arn,
                CiphertextBlob=committed.ciphertext_of(item.blob),
                EncryptionContext=_encryption_context(item.bound_to),
            )
            _require_key(answer, "KeyId", sources[item.version].arn)
            return committed.checked(field(answer, "Plaintext", bytes), item.blob, item.bound_to)

        return in_threads(unwrapped, items)

    def rewrap(self, name: str, version: int, items: Sequence[WrappedKey]) -> list[bytes]:
        """See KeyProvider. AWS re-encrypts: the keys do not come here, and the right to decrypt is not needed."""
        versions = self._versions(name)
        target, sources = wrapping(name, versions, version).arn, unwrapping(name, versions, items)

        def rewrapped(item: WrappedKey) -> bytes:
            context = _encryption_context(item.bound_to)
            answer = self._call(
                "re_encrypt",
                CiphertextBlob=committed.ciphertext_of(item.blob),
                SourceKeyId=sources[item.version].arn,
                SourceEncryptionContext=context,
                DestinationKeyId=target,
                DestinationEncryptionContext=context,
            )
            _require_key(answer, "SourceKeyId", sources[item.version].arn)
            _require_key(answer, "KeyId", target)
            return committed.repack(item.blob, field(answer, "CiphertextBlob", bytes))

        return in_threads(rewrapped, items)

    def new_version(self, name: str, after: int) -> int:
        """See KeyProvider. Of two hosts at once one makes it; the other's key is scheduled for deletion."""
        current = max(self._versions(name))
        if after > current:
            raise KeyStateError(f"the key {name!r} has no version {after}")
        if current > after:
            return current
        key = self._keys.make(name, after + 1)
        sys.audit("lake.step", "aws-kms.keys-made")
        if not self._keys.claim(name, after + 1, key):
            self._keys.schedule(key)
        self._call.settled(lambda: after + 1 in self._versions(name))
        return max(self._versions(name))

    def trim(self, name: str, below: int) -> None:
        """See KeyProvider. The versions are pending destruction until AWS has waited ``deletion_days``."""
        versions = self._versions(name)
        if below > max(versions):
            raise KeyStateError(f"the current version of the key {name!r} cannot be trimmed")
        for number, found in sorted(versions.items()):
            if number < below and found.state not in {KeyState.PENDING_DESTRUCTION, KeyState.DESTROYED}:
                self._keys.schedule(found.arn)
                sys.audit("lake.step", "aws-kms.version-scheduled")
        self._read.pop(name, None)

    def sweep(self, now: datetime) -> list[str]:
        """Schedule the deletion of keys of ours that never got an alias, because their maker died or got no answer.

        Looks at every key of the account: for an operator now and then, not for the start of a program.

        Args:
            now: an aware time; younger keys than an hour are left alone.

        Returns:
            Their ids.
        """
        return self._keys.sweep(now)

    def close(self) -> None:
        """See KeyProvider."""
        self._call.close()

    def _versions(self, name: str, *, fresh: bool = True) -> dict[int, Version]:
        """The versions of a key that exists."""
        until, versions = self._read.get(name, (0.0, {}))
        if fresh or not versions or self._clock() >= until:
            until, versions = self._clock() + STATES_SECONDS, self._keys.versions(name)
            if not versions:
                raise KeyStateError(f"there is no key {name!r} in AWS KMS")
            self._read[name] = (until, versions)
        return versions


def _exists(name: str) -> KeyStateError:
    return KeyStateError(f"the key {name!r} exists already")


def _encryption_context(bound_to: bytes) -> dict[str, str]:
    """A digest: AWS writes the encryption context to its logs in clear."""
    return {"tlake:context": hashlib.sha256(bound_to).hexdigest()}


def _require_key(answer: dict[str, Any], name: str, arn: str) -> None:
    if field(answer, name, str) != arn:
        raise ProviderAnswerError("AWS KMS answered for another key than the one that was asked for")
