"""What the state of a version allows, with the same words for every provider that must look itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

from keys.errors import KeyStateError
from keys.providers import WrappedKey
from keys.refs import KeyState


class _HasState(Protocol):
    @property
    def state(self) -> KeyState: ...


Version = TypeVar("Version", bound=_HasState)


def wrapping(name: str, versions: Mapping[int, Version], version: int) -> Version:
    """The version, if it wraps.

    Raises:
        KeyStateError: there is none, or its state forbids it.
    """
    found = _version(name, versions, version)
    if not found.state.wraps:
        raise KeyStateError(f"version {version} of the key {name!r} is {found.state.value} and does not wrap")
    return found


def unwrapping(name: str, versions: Mapping[int, Version], items: Sequence[WrappedKey]) -> dict[int, Version]:
    """The versions that a batch needs, by number; all of them are looked at before the first is used.

    Raises:
        KeyStateError: there is no such version, or its state forbids it.
    """
    needed = {}
    for number in sorted({item.version for item in items}):
        needed[number] = found = _version(name, versions, number)
        if not found.state.unwraps:
            raise KeyStateError(f"version {number} of the key {name!r} is {found.state.value} and does not unwrap")
    return needed


def _version(name: str, versions: Mapping[int, Version], version: int) -> Version:
    if version not in versions:
        raise KeyStateError(f"there is no version {version} of the key {name!r}")
    return versions[version]
