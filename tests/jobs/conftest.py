"""Lakes for the tests of the jobs: one known lake is made once, and each test works on a copy."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.jobs.small_files import FEW, make_small
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
def small_template(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The known lake in many small files; only to be copied or read."""
    return make_small(tmp_path_factory.mktemp("small"))


@pytest.fixture
def small(small_template: World, tmp_path: Path) -> World:
    """A copy of it."""
    return copy(small_template, tmp_path)


@pytest.fixture(scope="session")
def few_template(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Rows of two people in small files of three batches; only to be copied."""
    return make_small(tmp_path_factory.mktemp("few"), FEW, count=3, renewed=2)


@pytest.fixture
def few(few_template: World, tmp_path: Path) -> World:
    """A copy of it: a lake for what is tried at every step."""
    return copy(few_template, tmp_path)
