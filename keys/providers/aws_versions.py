"""Versions of keys in AWS KMS: each a KMS key of its own, found by its alias.

Making an alias is atomic and fails if there is one: of two hosts that make a version at once, one wins. Each key
carries its alias as its description, so that an alias that somebody has moved to another key is noticed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from keys.errors import KeyStateError, ProviderAnswerError, ProviderError
from keys.providers.aws_calls import THREADS, AwsKmsConfig, Calls, field
from keys.providers.aws_errors import EXISTS, NOT_FOUND
from keys.refs import KeyState

UNFINISHED = timedelta(hours=1)
"""A key without an alias that is older than this belongs to nobody who is still at it."""

_PENDING = ("PendingDeletion", "PendingReplicaDeletion")
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Version:
    """A version as AWS describes it; one that is gone has no ARN."""

    state: KeyState
    arn: str = ""
    gone_after: datetime | None = None


class KmsKeys:
    """Makes, finds and deletes the KMS keys behind versions."""

    def __init__(self, config: AwsKmsConfig, call: Calls) -> None:
        self._config = config
        self._call = call

    def versions(self, name: str) -> dict[int, Version]:
        """What AWS says now; empty if there is no such key. AWS drops an alias together with its key.

        Raises:
            KeyStateError: an alias names a key that was not made for it.
        """
        pattern = re.compile(re.escape(f"alias/{self._config.prefix}{name}/v") + r"([1-9][0-9]{0,5})")
        matches = [pattern.fullmatch(field(alias, "AliasName", str)) for alias in self._aliases()]
        numbers = [int(match[1]) for match in matches if match]
        if not numbers:
            return {}
        current = max(numbers)
        present = dict(in_threads(lambda number: (number, self._version(name, number, current)), numbers))
        return {number: present.get(number, Version(KeyState.DESTROYED)) for number in range(1, current + 1)}

    def make(self, name: str, version: int) -> str:
        """The id of a new KMS key, which has no alias yet.

        Raises:
            KeyStateError: AWS does not take such a name.
            ProviderTimeoutError: no answer; not tried again, since the key may have been made (see `sweep`).
        """
        if not _NAME.fullmatch(name):
            raise KeyStateError(f"AWS KMS cannot hold a key named {name!r}")
        answer = self._call(
            "create_key",
            again=False,
            Description=self._alias(name, version),
            KeySpec="SYMMETRIC_DEFAULT",
            KeyUsage="ENCRYPT_DECRYPT",
        )
        return field(field(answer, "KeyMetadata", dict), "KeyId", str)

    def claim(self, name: str, version: int, key: str) -> bool:
        """Give a key its alias; False if another key has it."""
        try:
            self._call("create_alias", AliasName=self._alias(name, version), TargetKeyId=key)
        except KeyStateError as error:
            if error.details.get("aws") != EXISTS:
                raise
            # It may be this key's own: an answer was lost and the call was made again.
            return self._has_alias(key, name, version)
        return True

    def discard(self, name: str, version: int, key: str) -> None:
        """Undo what was done for a version that nobody has used, whether it got its alias or not."""
        if self._has_alias(key, name, version):
            with suppress(KeyStateError):
                self._call("delete_alias", AliasName=self._alias(name, version))
        self.schedule(key)

    def schedule(self, key: str) -> None:
        """Let AWS delete a key; one that is on its way already stays so.

        Raises:
            ProviderError: it did not happen.
        """
        key_id = key.rpartition("/")[2]
        try:
            answer = self._call("schedule_key_deletion", KeyId=key_id, PendingWindowInDays=self._config.deletion_days)
        except KeyStateError:
            found = self._metadata(key_id)
            if found is not None and found.get("KeyState") not in _PENDING:
                raise ProviderError("AWS KMS does not schedule the deletion of a key") from None
            return
        if field(answer, "KeyId", str).rpartition("/")[2] != key_id:
            raise ProviderAnswerError("AWS KMS scheduled the deletion of another key")

    def sweep(self, now: datetime) -> list[str]:
        """Delete keys of ours that never got an alias; see `AwsKmsProvider.sweep`."""
        named = {alias.get("TargetKeyId") for alias in self._aliases()}
        swept = []
        for entry in self._call.pages("list_keys", "Keys"):
            found = self._metadata(field(entry, "KeyId", str))
            if found is None or found.get("KeyState") != "Enabled" or found["KeyId"] in named:
                continue
            ours = str(found.get("Description", "")).startswith(f"alias/{self._config.prefix}")
            if ours and field(found, "CreationDate", datetime) < now - UNFINISHED:
                self.schedule(found["KeyId"])
                swept.append(found["KeyId"])
        return swept

    def _alias(self, name: str, version: int) -> str:
        return f"alias/{self._config.prefix}{name}/v{version}"

    def _aliases(self) -> list[dict[str, Any]]:
        return list(self._call.pages("list_aliases", "Aliases"))

    def _has_alias(self, key: str, name: str, version: int) -> bool:
        found = self._metadata(self._alias(name, version))
        return found is not None and found["KeyId"] == key

    def _version(self, name: str, number: int, current: int) -> Version:
        alias = self._alias(name, number)
        found = self._metadata(alias)
        if found is None:
            return Version(KeyState.DESTROYED)
        if found.get("Description") != alias:
            raise KeyStateError(f"{alias} names a key that was not made for it", hint="somebody has moved the alias")
        if found.get("MultiRegion") or found.get("Origin") != "AWS_KMS" or found.get("KeySpec") != "SYMMETRIC_DEFAULT":
            raise KeyStateError(f"the key of {alias} has copies elsewhere, or is of another kind")
        arn, state = found["Arn"], field(found, "KeyState", str)
        if state == "Enabled":
            return Version(KeyState.ENABLED if number == current else KeyState.DECRYPT_ONLY, arn)
        if state in _PENDING:
            date = found.get("DeletionDate")
            gone_after = date.astimezone(UTC) if isinstance(date, datetime) else None
            return Version(KeyState.PENDING_DESTRUCTION, arn, gone_after)
        return Version(KeyState.DISABLED, arn)

    def _metadata(self, key: str) -> dict[str, Any] | None:
        """What AWS says of a key, with ``KeyId`` and ``Arn``; None if there is no such key."""
        try:
            found: dict[str, Any] = field(self._call("describe_key", KeyId=key), "KeyMetadata", dict)
        except KeyStateError as error:
            if error.details.get("aws") != NOT_FOUND:
                raise
            return None
        field(found, "KeyId", str)
        field(found, "Arn", str)
        return found


def in_threads(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """Results in the order of the items; the first error drops what has not begun."""
    if not items:
        return []
    with ThreadPoolExecutor(min(THREADS, len(items))) as threads:
        return list(threads.map(work, items))
