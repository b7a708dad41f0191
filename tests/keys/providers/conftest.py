"""Makes the fixtures of every case module known, and gives each conformance test its case."""

from __future__ import annotations

from pathlib import Path

import pytest

from keys.providers import KeyProvider
from tests.keys.providers import cases
from tests.keys.providers.cases import Case
from tests.keys.providers.conformance import NAME, OTHER


def pytest_configure(config: pytest.Config) -> None:
    """A case module is a plugin, so that its fixtures are found by name."""
    for module in cases.modules():
        if not config.pluginmanager.is_registered(module):
            config.pluginmanager.register(module, module.__name__)


@pytest.fixture(params=cases.all_cases(), ids=lambda case: case.name)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    """Fresh keys of every provider in turn."""
    kind: type[Case] = request.param
    if missing := kind.missing():
        pytest.skip(missing)
    return kind(request, tmp_path)


@pytest.fixture
def provider(case: Case) -> KeyProvider:
    """A provider of the case, with two keys in version 1."""
    provider = case.open()
    provider.create([NAME, OTHER])
    return provider
