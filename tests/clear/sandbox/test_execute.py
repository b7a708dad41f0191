"""The sandbox: answers over slices alone, with no way out, and errors without values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pytest

from lake.clear.sandbox.execute import SandboxLimits, run
from lake.errors import IntegrityError, LakeError, LimitExceededError, QueryFailedError, QueryRefusedError

LIMITS = SandboxLimits(threads=2, memory=256 << 20)


class Held:
    """A slice over rows in memory, which notes what it was asked."""

    def __init__(self, rows: pa.Table, failure: LakeError | None = None) -> None:
        self.schema = self.carried = rows.schema
        self.failure: LakeError | None = None
        self.asked: list[tuple[Sequence[str] | None, Any]] = []
        self._rows = rows
        self._fails_with = failure

    def scan(self, columns: Sequence[str] | None, condition: pc.Expression | None) -> pa.RecordBatchReader:
        """Rows, or the failure."""
        self.asked.append((columns, condition))
        if self._fails_with is not None:
            self.failure = self._fails_with
            raise self._fails_with
        return ds.dataset(self._rows).scanner(columns=columns, filter=condition).to_reader()


def held() -> Held:
    return Held(pa.table({"a": list(range(100)), "b": [f"value-canary {number}" for number in range(100)]}))


def answer(sql: str, source: Held, parameters: Any = (), limits: SandboxLimits = LIMITS) -> pa.Table:
    running = run(sql, {"t": source}, parameters, limits)
    return pa.Table.from_batches(running.batches, running.schema)


def test_only_what_is_needed_is_asked_of_a_slice() -> None:
    """Projection and comparisons with constants reach the slice, as data."""
    source = held()
    assert answer("SELECT a FROM t WHERE a >= ? ORDER BY a", source, [98])["a"].to_pylist() == [98, 99]
    assert {name for columns, _ in source.asked for name in columns or ()} == {"a"}
    assert any(condition is not None for _, condition in source.asked)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_text('/etc/hostname')",
        "SELECT * FROM '/etc/passwd'",
        "COPY t TO '/tmp/sandbox-test'",
        "ATTACH '/tmp/sandbox-test.db'",
        "INSTALL httpfs",
        "SET memory_limit = '90GB'",
        "SET enable_external_access = true",
        "SELECT * FROM source",
        "SELECT * FROM glob('/*')",
    ],
)
def test_there_is_no_way_out(sql: str) -> None:
    """Even SQL that no guard has looked at reaches no file, no setting, no extension and no Python variable."""
    source = held()
    with pytest.raises(LakeError):
        answer(sql, source)
    assert source.asked == []


def test_a_complaint_about_names_may_speak_while_no_row_was_read() -> None:
    """An unknown column is explained, for the reader may know the names."""
    source = held()
    with pytest.raises(QueryRefusedError, match="zz"):
        answer("SELECT zz FROM t", source)
    assert source.asked == []


@pytest.mark.parametrize("parameters", [(), [1]])
def test_an_error_over_rows_has_no_text(parameters: Any) -> None:
    """Whether a query runs at once or streams, a conversion that fails has the same class and no value."""
    sql = "SELECT CAST(b AS INTEGER) FROM t WHERE a > ?" if parameters else "SELECT CAST(b AS INTEGER) FROM t"
    with pytest.raises(QueryFailedError) as caught:
        answer(sql, held(), parameters)
    assert str(caught.value) == "the query failed: a value could not be converted: use TRY_CAST"
    assert caught.value.details == {"engine": "ConversionException"}
    assert "canary" not in repr(caught.value)


def test_a_failure_of_the_slice_is_the_querys() -> None:
    """What broke below is told as what it is."""
    damage = IntegrityError("a file is not what was written")
    with pytest.raises(IntegrityError) as caught:
        answer("SELECT sum(a) FROM t", Held(pa.table({"a": [1]}), damage))
    assert caught.value is damage


def test_limits_hold() -> None:
    """Time and memory run out in the lake's own words."""
    with pytest.raises(LimitExceededError):
        answer("SELECT sum(x.a + y.a) FROM t x, t y, t z, t u, t v", held(), (), SandboxLimits(2, 0, 0.3))
    with pytest.raises(QueryFailedError, match="out of memory"):
        answer("SELECT list(x.b || y.b || z.b) FROM t x, t y, t z", held(), (), SandboxLimits(2, 20 << 20))


def test_a_result_streams_and_can_be_left() -> None:
    """Batches come as they are made, and closing in between is harmless."""
    running = run("SELECT x.a FROM t x, t y, t z", {"t": held()}, (), LIMITS)
    assert next(running.batches).num_rows > 0
    running.close()
    running.close()


def test_the_engine_draws_nothing_on_stdout() -> None:
    """A long query shows no progress bar: stdout belongs to the result."""
    probe = "SELECT value FROM duckdb_settings() WHERE name = 'enable_progress_bar'"
    running = run(probe, {}, (), SandboxLimits(threads=1, memory=0))
    assert [row for batch in running.batches for row in batch.to_pylist()] == [{"value": "false"}]
