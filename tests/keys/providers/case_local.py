"""The local key store as a case of the conformance suite."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from keys.providers import local
from keys.providers.local import LocalProvider
from keys.unlock import KEY_FILE, UnlockSecret
from tests.keys.providers.cases import Case


class LocalCase(Case):
    """A key store file in the test's folder."""

    name = "local"

    def __init__(self, request: pytest.FixtureRequest, folder: Path) -> None:
        self._folder = folder / "keystore"
        self._secret = UnlockSecret(KEY_FILE, os.urandom(32))
        local.initialise(self._folder, self._secret, "lake-of-the-suite")

    def open(self) -> LocalProvider:
        return LocalProvider(self._folder, self._secret)
