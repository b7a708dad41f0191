"""One pool for the tests of a module that leave it whole."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lake.clear.serving.pool import Pool
from tests.clear.serving.sandboxes import pool_of


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    """A pool of real sandboxes."""
    with pool_of(ready=2) as opened:
        yield opened
