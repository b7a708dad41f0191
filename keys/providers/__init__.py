"""Where the top of the key hierarchy lives: one interface, one file per provider.

A provider holds named, versioned keys that never leave it. It wraps and unwraps bucket keys and control secrets, a few
thousand at most, in batches; the number of its calls does not depend on the number of employees.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from keys.refs import KeyState


@dataclass(frozen=True, slots=True)
class ProviderKey:
    """A named key of a provider and the states of its versions.

    Attributes:
        current: the one version that wraps.
        gone_after: of versions pending destruction, the moment (UTC) after which nobody can call them back.
    """

    name: str
    current: int
    versions: Mapping[int, KeyState]
    gone_after: Mapping[int, datetime] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class KeyToWrap:
    """A key on its way into a wrap; ``bound_to`` is a context (keys.envelope), authenticated and not stored."""

    key: bytes = field(repr=False)
    bound_to: bytes


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """What :meth:`KeyProvider.wrap` made under ``version``, with the context that it was made with."""

    version: int
    blob: bytes
    bound_to: bytes


class KeyProvider(Protocol):
    """Named, versioned keys that never leave the provider.

    Every call may raise a ``ProviderError`` (try again later: nothing was changed, or the same call made again finishes
    it), ``KeyStateError`` (there is no such key or version, or its state forbids this) or ``KeyIntegrityError`` (a
    blob or a context is not what was wrapped). A batch succeeds as a whole or not at all.
    """

    kind: str

    def create(self, names: Collection[str]) -> None:
        """Make keys with version 1. KeyStateError if one of them exists."""

    def describe(self, name: str) -> ProviderKey:
        """The key's versions; KeyStateError if there is no such key. Never makes one."""

    def wrap(self, name: str, version: int, items: Sequence[KeyToWrap]) -> list[bytes]:
        """Wrap under one version, which must be enabled; in the order given. Never makes a key that is missing."""

    def unwrap(self, name: str, items: Sequence[WrappedKey]) -> list[bytes]:
        """Open what :meth:`wrap` made; in the order given."""

    def rewrap(self, name: str, version: int, items: Sequence[WrappedKey]) -> list[bytes]:
        """Wrap the same keys, with the same contexts, under another version; inside the provider where it can."""

    def new_version(self, name: str, after: int) -> int:
        """Make version ``after + 1`` the current one, unless it is made already; the former ones only unwrap then.

        Returns:
            The current version.
        """

    def trim(self, name: str, below: int) -> None:
        """Destroy every version lower than ``below`` for good. The current version cannot be trimmed."""

    def close(self) -> None:
        """Give connections back."""
