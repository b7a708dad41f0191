"""What the tests of the readers share: the example contracts, and reading bytes as if they were a file."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from lake.clear.landing.readers.source import ReadOptions, open_source
from lake.rules.contract import Contract, parse_contract

CONTRACTS = Path(__file__).resolve().parents[4] / "examples" / "contracts"

Read = Callable[..., list[pa.RecordBatch]]


def contract(name: str) -> Contract:
    """An example contract."""
    return parse_contract((CONTRACTS / f"{name}.yaml").read_text(encoding="utf-8"), name)


@pytest.fixture(scope="session")
def desktop() -> Contract:
    """examples/contracts/desktop.yaml."""
    return contract("desktop")


@pytest.fixture(scope="session")
def mouse() -> Contract:
    """examples/contracts/mouse.yaml."""
    return contract("mouse")


@pytest.fixture(scope="session")
def keylog() -> Contract:
    """examples/contracts/keylog.yaml."""
    return contract("keylog")


@pytest.fixture(scope="session")
def read() -> Read:
    """Batches of some bytes under a file name, each checked against what a source promises."""

    def reading(
        data: bytes,
        name: str,
        rules: Contract,
        options: ReadOptions | None = None,
        importer: str | None = None,
    ) -> list[pa.RecordBatch]:
        source = open_source(Path(name), importer, rules, options or ReadOptions(), stream=io.BytesIO(data))
        batches = list(source)
        for batch in batches:
            batch.validate(full=True)
            assert batch.schema.names[: len(source.schema)] == source.schema.names
            assert [batch.schema.field(name).type for name in source.schema.names] == source.schema.types
        return batches

    return reading
