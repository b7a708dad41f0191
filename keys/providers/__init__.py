"""Where the top of the key hierarchy lives: one interface, one file per provider."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from keys.refs import KeyState


@dataclass(frozen=True, slots=True)
class ProviderKey:
    """A named key of a provider and the states of its versions."""

    name: str
    current: int
    versions: Mapping[int, KeyState]


class KeyProvider(Protocol):
    """Named, versioned keys that never leave the provider. ``bound_to`` is authenticated, not stored."""

    kind: str

    def create(self, names: Collection[str]) -> None:
        """Make keys with version 1; KeyStateError if one exists (nothing is made then)."""

    def describe(self, name: str) -> ProviderKey:
        """The key's versions; KeyStateError if there is no such key."""

    def wrap(self, name: str, version: int, plaintext: bytes, bound_to: bytes) -> bytes:
        """Wrap under one version, which must be enabled."""

    def unwrap(self, name: str, version: int, blob: bytes, bound_to: bytes) -> bytes:
        """Open what :meth:`wrap` made under that version."""

    def new_version(self, name: str) -> int:
        """Make the next version the current one; the former one only unwraps from then on."""

    def trim(self, name: str, below: int) -> None:
        """Destroy every version lower than ``below`` for good. The current version cannot be trimmed."""
