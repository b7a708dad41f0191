"""``lake synth``: what it writes, the lake's own readers take."""

from __future__ import annotations

from pathlib import Path

import pytest

from lake.clear.landing.readers.source import ReadOptions, open_source
from lake.rules.contract import parse_contract
from tests.cli.conftest import Shell
from tests.world import ROOT

DESKTOP = ROOT / "examples" / "contracts" / "desktop.yaml"


def numbers(rows: str = "400", employees: str = "5", seed: str = "7") -> list[str]:
    """Options of a small run."""
    return ["--rows", rows, "--employees", employees, "--seed", seed]


@pytest.mark.parametrize("form", ["arrow", "parquet", "ndjson"])
def test_each_form_is_read_back(shell: Shell, tmp_path: Path, form: str) -> None:
    """Every row comes back, of as many people, and the same numbers give the same bytes."""
    path, again = tmp_path / f"rows.{form}", tmp_path / f"again.{form}"
    ran = shell.bare("synth", *numbers(), "--format", form, "--output", str(path), "--json")
    assert (ran.code, ran.document["rows"]) == (0, 400)
    contract = parse_contract(DESKTOP.read_text("utf-8"), "desktop")
    batches = list(open_source(path, None, contract, ReadOptions()))
    assert sum(batch.num_rows for batch in batches) == 400
    assert len({name for batch in batches for name in batch["employee"].to_pylist()}) == 5
    assert shell.bare("synth", *numbers(), "--format", form, "--output", str(again)).code == 0
    assert path.read_bytes() == again.read_bytes()


def test_it_writes_to_stdout(shell: Shell) -> None:
    """With - the rows are all that is there."""
    ran = shell.bare("synth", *numbers(), "--format", "ndjson", "--output", "-")
    assert (ran.code, len(ran.out.splitlines())) == (0, 400)


def test_numbers_and_places_that_make_no_sense_are_usage_errors(shell: Shell, tmp_path: Path) -> None:
    """Nothing is written for them."""
    path = str(tmp_path / "rows.arrow")
    for given in (numbers(rows="0"), numbers(employees="0"), numbers(seed="-1"), numbers(employees="100000")):
        assert shell.bare("synth", *given, "--output", path).code == 2
    assert not Path(path).exists()
    assert shell.bare("synth", *numbers(), "--output", "/nonexistent/rows.arrow").code == 2
