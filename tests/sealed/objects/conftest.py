"""Credentials of the servers of tests, as a host would have them."""

from __future__ import annotations

import pytest

from tests.servers.buckets import ENVIRONMENT


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the environment."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
