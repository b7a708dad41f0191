"""Lakes for the tests of the gateway: one known lake is made once, and each test works on a copy."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.gateway.keylakes import Answers, answers
from tests.world import World, copy, make


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The known lake; only to be copied or read."""
    return make(tmp_path_factory.mktemp("template"))


@pytest.fixture
def world(template: World, tmp_path: Path) -> World:
    """A copy of the known lake."""
    return copy(template, tmp_path)


@pytest.fixture(scope="session")
def answered(template: World, tmp_path_factory: pytest.TempPathFactory) -> Answers:
    """What the known lake answers, to be compared with."""
    return answers(copy(template, tmp_path_factory.mktemp("answered")))
