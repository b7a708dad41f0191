"""What the conformance suite needs to know of a key provider. Each ``case_*.py`` beside this file defines cases.

A case module may define fixtures too (a server of the session, say): conftest.py makes them known to every test here.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import pytest

from keys.providers import KeyProvider


class Case(ABC):
    """One provider, on keys of its own that no other test has seen: made anew for every test.

    Attributes:
        name: shown in the test's id.
        destroys_now: whether :meth:`KeyProvider.trim` makes a version DESTROYED at once, not PENDING_DESTRUCTION.
        every_byte: whether calls are cheap enough to try all bytes of a blob; else a sample is tried.
        sizes: batch sizes that are tried.
    """

    name: ClassVar[str]
    destroys_now: ClassVar[bool] = True
    every_byte: ClassVar[bool] = True
    sizes: ClassVar[tuple[int, ...]] = (0, 1, 201, 450)

    @abstractmethod
    def __init__(self, request: pytest.FixtureRequest, folder: Path) -> None:
        """Prepare fresh keys (a new prefix, a new file): names used by other tests must not exist here.

        Args:
            request: gives fixtures with ``request.getfixturevalue``.
            folder: an empty folder of this test.
        """

    @classmethod
    def missing(cls) -> str:
        """Why this provider can't be tried on this machine; empty if it can."""
        return ""

    @abstractmethod
    def open(self) -> KeyProvider:
        """The provider on these keys as another process would open it: nothing in memory is shared with others."""

    def vary(self, blob: bytes) -> list[int]:
        """Positions of a blob to be changed: all of them or a sample with the ends and every 7th."""
        if self.every_byte:
            return list(range(len(blob)))
        return sorted({*range(0, len(blob), 7), 0, 1, len(blob) - 2, len(blob) - 1})


def modules() -> list[ModuleType]:
    """The case modules, in the order of their names."""
    here = Path(__file__).parent
    return [importlib.import_module(f"{__package__}.{path.stem}") for path in sorted(here.glob("case_*.py"))]


def all_cases() -> list[type[Case]]:
    """Every case that a case module defines."""
    return [
        value
        for module in modules()
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Case) and value.__module__ == module.__name__
    ]
