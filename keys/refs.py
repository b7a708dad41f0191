"""Names, versions and states of keys. No bytes of keys: everything here may be logged, except employees' pseudonyms."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class KeyState(StrEnum):
    """States of a key version, after NIST SP 800-57 part 1 rev. 5 section 7 (its names in brackets)."""

    ENABLED = "enabled"  # [active]
    DECRYPT_ONLY = "decrypt_only"  # [deactivated]
    DISABLED = "disabled"  # [suspended]
    COMPROMISED = "compromised"  # [compromised] opens only for re-encryption
    PENDING_DESTRUCTION = "pending_destruction"
    DESTROYED = "destroyed"  # the row stays without material

    @property
    def wraps(self) -> bool:
        """Whether a key in this state may wrap new keys."""
        return self is KeyState.ENABLED

    @property
    def unwraps(self) -> bool:
        """Whether a key in this state may unwrap for reading."""
        return self in {KeyState.ENABLED, KeyState.DECRYPT_ONLY}


TRANSITIONS: dict[KeyState, frozenset[KeyState]] = {
    KeyState.ENABLED: frozenset({KeyState.DECRYPT_ONLY, KeyState.DISABLED, KeyState.COMPROMISED}),
    KeyState.DECRYPT_ONLY: frozenset(
        {KeyState.DISABLED, KeyState.COMPROMISED, KeyState.PENDING_DESTRUCTION, KeyState.DESTROYED}
    ),
    KeyState.DISABLED: frozenset({KeyState.ENABLED, KeyState.COMPROMISED, KeyState.PENDING_DESTRUCTION}),
    KeyState.COMPROMISED: frozenset({KeyState.PENDING_DESTRUCTION, KeyState.DESTROYED}),
    KeyState.PENDING_DESTRUCTION: frozenset({KeyState.DISABLED, KeyState.DESTROYED}),
    KeyState.DESTROYED: frozenset(),
}


@dataclass(frozen=True, slots=True)
class PartitionRef:
    """The partition that a KEK stands for: one employee (pseudonym), one sensitivity, one month (``YYYY-MM``)."""

    dataset: str
    subject: str
    sensitivity: int
    month: str


@dataclass(frozen=True, slots=True)
class FileBinding:
    """What a DEK's wrap is bound to. A catalog row with any other value does not open the DEK.

    Attributes:
        length: bytes of the stored object; ``sha256`` its digest (32 bytes).
        first_ts, last_ts: capture times in the file, naive UTC.
    """

    partition: PartitionRef
    file_id: str
    object_key: str
    format: str
    format_version: int
    schema_version: int
    length: int
    sha256: bytes
    rows: int
    first_ts: datetime
    last_ts: datetime


@dataclass(frozen=True, slots=True)
class WrappedDek:
    """A DEK as the catalog keeps it: the blob, and the one KEK version that opens it."""

    kek_id: str
    kek_version: int
    blob: bytes


@dataclass(frozen=True, slots=True)
class DekRequest:
    """One file whose DEK is asked for.

    Attributes:
        held: whoever asks has the file's rows in memory: whether the DEK would be given is decided and recorded as
            ever, but it is not opened, and no bytes are given.
    """

    binding: FileBinding
    wrapped: WrappedDek
    held: bool = False


@dataclass(frozen=True, slots=True)
class KeyEvent:
    """Something that happened to a key, for the audit log."""

    action: str
    kind: str
    key_id: str
    version: int


@dataclass(frozen=True, slots=True)
class SubjectRef:
    """An employee's keys: the pseudonym, the dense number of the audit log, the erasable bucket, whether suspended."""

    subject: str
    number: int
    bucket: int
    disabled: bool = False
