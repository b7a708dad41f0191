"""Blocks of CSV read together give what the strict parser gives, row by row."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.clear.landing.readers import csv_rows
from lake.clear.landing.readers.source import ReadOptions, open_source
from lake.errors import LakeError
from lake.rules.contract import Contract, parse_contract

MOUSE = Path(__file__).resolve().parents[4] / "examples" / "contracts" / "mouse.yaml"
HEADER = "employee,ts,type,x,other\n"
PIECES = [
    "E1", "2026-01-02T03:04:05Z", "mouse_move", "scroll", "5", "5.0", "1e3", "+5", " 5", "0x1", "1_000", "-0", "",
    '"', '""', '"a,b"', '"a\nb"', '"a""b"', ",", ",,", "\n", "\r\n", "\r", "\n\n", "é", "\ufeff",
    "99999999999999999999", "E2,2026-01-02T03:04:05Z,mouse_move,7,z\n", 'E3,2026-01-02T03:04:06Z,scroll,,"q"\n',
]  # fmt: skip


@pytest.fixture(scope="module")
def contract() -> Contract:
    """The mouse contract."""
    return parse_contract(MOUSE.read_text(encoding="utf-8"))


def _outcome(path: Path, contract: Contract, rows: int) -> object:
    try:
        source = open_source(path, "csv", contract, ReadOptions(batch_rows=rows))
        return [row for batch in source for row in batch.to_pylist()]
    except LakeError as error:
        return type(error), str(error)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where each example is written."""
    return tmp_path_factory.mktemp("csv") / "rows.csv"


@settings(deadline=None, max_examples=300)
@given(st.lists(st.sampled_from(PIECES), max_size=40), st.sampled_from([1, 3, 1000]))
def test_blocks_read_together_change_nothing(contract: Contract, path: Path, pieces: list[str], rows: int) -> None:
    """The quick way and the strict one give the same rows or the same complaint, whatever the text."""
    path.write_text(HEADER + "".join(pieces), encoding="utf-8", newline="")
    quick = _outcome(path, contract, rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_rows, "parse_together", lambda *_: None)
        strict = _outcome(path, contract, rows)
    assert quick == strict


def test_plain_rows_take_the_quick_way(contract: Contract, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows without oddities never reach the strict parser."""
    path.write_text(HEADER + PIECES[-2] * 1000, encoding="utf-8", newline="")
    monkeypatch.setattr(csv_rows, "parse_alone", lambda *_: pytest.fail("read row by row"))
    assert len(_outcome(path, contract, 100)) == 1000
