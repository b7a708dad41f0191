"""Synthetic telemetry."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from lake.clear.arrow_schema import incoming_schema
from lake.clear.landing.synth import MIXTURE, SCHEMA, canaries, synthesise
from lake.errors import UsageError
from lake.rules.contract import Contract, parse_contract

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"


@pytest.fixture(scope="module")
def desktop() -> Contract:
    """examples/contracts/desktop.yaml."""
    return parse_contract((EXAMPLES / "contracts" / "desktop.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def table() -> pa.Table:
    """100,000 rows of 300 employees."""
    return synthesise(300, 100_000, 5).read_all()


def test_the_columns_are_the_example_contracts(desktop: Contract) -> None:
    """What is made can land under examples/contracts/desktop.yaml."""
    incoming = incoming_schema(desktop)
    assert incoming.remove(incoming.get_field_index("sensitivity")).equals(SCHEMA)
    assert set(desktop.events) == set(MIXTURE)


def test_every_row_keeps_the_contract(desktop: Contract, table: pa.Table) -> None:
    """Each type carries its required fields and no field of another type."""
    for name, event in desktop.events.items():
        rows = table.filter(pc.equal(table["type"], name))
        assert rows.num_rows > 0
        for field in event.required:
            assert rows[field].null_count == 0
        for field in set(desktop.fields) - set(event.fields):
            assert rows[field].null_count == rows.num_rows


def test_all_sensitivities_occur(desktop: Contract, table: pa.Table) -> None:
    """Rows of each of the four ratings are among the output."""
    types = pc.unique(table["type"]).to_pylist()
    assert {desktop.events[name].sensitivity for name in types} == {1, 2, 3, 4}


def test_the_mixture_is_as_said(table: pa.Table) -> None:
    """The share of each type is near the stated one."""
    for name, share in MIXTURE.items():
        count = pc.sum(pc.equal(table["type"], name)).as_py()
        assert count == pytest.approx(share * table.num_rows, rel=0.25)


def test_the_same_numbers_make_the_same_rows() -> None:
    """The output depends on the arguments, not on the size of batches; another seed makes other rows."""
    first = synthesise(30, 70_000, 9).read_all()
    assert synthesise(30, 70_000, 9, batch_rows=999).read_all().equals(first)
    assert not synthesise(30, 70_000, 10).read_all().equals(first)


def test_batches_have_the_size_asked_for() -> None:
    """All but the last have the given number of rows."""
    sizes = [batch.num_rows for batch in synthesise(3, 70_100, 1, batch_rows=7000)]
    assert sizes == [7000] * 10 + [100]


def test_each_employee_goes_forward_in_time(table: pa.Table) -> None:
    """Rows of an employee stand together, numbered from 0, in the order of time and within the 90 days."""
    people, moments = table["employee"].to_pylist(), table["ts"].cast(pa.int64()).to_pylist()
    order = table["seq"].to_pylist()
    for row in range(1, table.num_rows):
        if people[row] == people[row - 1]:
            assert moments[row] >= moments[row - 1]
            assert order[row] == order[row - 1] + 1
        else:
            assert order[row] == 0
    assert len(set(people)) == 300
    span = pc.min_max(table["ts"])
    assert span["min"].as_py().isoformat() >= "2026-07-01"
    assert span["max"].as_py().isoformat() < "2026-09-29"


def test_activity_follows_people_hours_and_days(table: pa.Table) -> None:
    """A few people do much, nights and Sundays are quiet."""
    counts = sorted((entry["counts"] for entry in pc.value_counts(table["employee"]).to_pylist()), reverse=True)
    assert counts[0] > 5 * counts[150]
    assert pc.mean(pc.equal(pc.hour(table["ts"]), 3)).as_py() < 0.001
    assert pc.mean(pc.equal(pc.day_of_week(table["ts"]), 6)).as_py() < 0.03


def test_texts_are_mostly_distinct(table: pa.Table) -> None:
    """The grammar with its numbers seldom says the same twice."""
    for name in ("prompt_text", "transcript_text", "note_text", "window_title"):
        assert pc.count_distinct(table[name]).as_py() > 0.9 * pc.count(table[name]).as_py()


@pytest.mark.parametrize(("employees", "rows", "seed"), [(50, 20_000, 3), (5_000, 20_000, 4)])
def test_canaries_occur(employees: int, rows: int, seed: int) -> None:
    """Every canary is long enough to be no accident and is somewhere in the output."""
    made = synthesise(employees, rows, seed).read_all()
    text = "\n".join(
        value for name in made.column_names for value in pc.unique(made[name]).cast(pa.string()).to_pylist() if value
    )
    found = canaries(employees, seed)
    assert set(found) == {"employees", "apps", "hosts", "titles", "texts"}
    for values in found.values():
        assert values
        assert all(len(value) >= 6 and value in text for value in values)


@pytest.mark.parametrize("numbers", [(0, 1, 1), (1, 0, 1), (1, 1, -1), (100_000, 1, 1)])
def test_impossible_numbers_are_refused(numbers: tuple[int, int, int]) -> None:
    """Nothing is made of no employees, no rows or a negative seed."""
    with pytest.raises(UsageError):
        synthesise(*numbers)


def test_memory_stays_as_it_is() -> None:
    """Many batches need no more memory at a time than few."""
    peaks = []
    for rows in (200_000, 800_000):
        largest = 0
        for batch in synthesise(100, rows, 1, batch_rows=20_000):
            largest = max(largest, pa.total_allocated_bytes(), batch.nbytes)
        peaks.append(largest)
    assert peaks[1] < 1.5 * peaks[0]
