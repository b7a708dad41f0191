"""Slices that this process remembers: the same rows as before, counted again, and nothing in shared memory."""

from __future__ import annotations

import gc
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from lake.clear.reading.plan import SliceKey
from lake.clear.sandbox import execute
from lake.clear.serving.cache import SliceCache
from lake.clear.serving.remembered import RememberedSlice
from lake.errors import LakeError
from tests.clear.serving.sandboxes import LIMITS, SOURCE, Held, descriptors, numbers

ERA = ("policy", 1)


@pytest.fixture
def cache() -> SliceCache:
    """Room for all of it."""
    found = SliceCache(256 << 20, 60)
    found.keep_only(ERA)
    return found


def held(rows: int = 100_000, name: bytes = b"one") -> Held:
    """A source whose scans are kept."""
    return Held(numbers(rows), SliceKey(ERA, name))


def asked(sql: str, source: Held, cache: SliceCache) -> pa.Table:
    """A query over it as an engine in this process runs it."""
    running = execute.run(sql, {"t": RememberedSlice(source, cache)}, (), LIMITS)
    return pa.Table.from_batches(running.batches, running.schema)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM t",
        "SELECT sum(a) FROM t",
        "SELECT b FROM t WHERE a = 77",
        "SELECT b, a FROM t WHERE a BETWEEN 5 AND 700 AND b <> 'value-canary 9'",
        "SELECT count(*) FROM t",
        "SELECT l.b FROM t l JOIN t r ON l.a = r.a + 99998",
    ],
)
def test_the_second_answer_is_the_first_and_reads_nothing(sql: str, cache: SliceCache) -> None:
    """Rows leave the slice the second time as they did the first."""
    source = held()
    gc.collect()
    before = descriptors()
    first = asked(sql, source, cache)
    scans, counted = len(source.asked), source.touched[SOURCE]
    assert scans
    second = asked(sql, source, cache)
    assert sorted(map(repr, first.to_pylist())) == sorted(map(repr, second.to_pylist()))
    assert second.num_rows
    assert len(source.asked) == scans
    assert source.touched[SOURCE] == 2 * counted
    gc.collect()
    assert descriptors() <= before


def test_another_condition_is_another_scan(cache: SliceCache) -> None:
    """Constants that look alike are told apart; a scan with more columns serves one with fewer."""
    source = Held(pa.table({"a": [0.1 + 0.2, 0.3], "b": [1, 2]}), SliceKey(ERA, b"one"))
    table = RememberedSlice(source, cache)
    for value, expected in ((0.3, [2]), (0.1 + 0.2, [1]), (0.3, [2])):
        found = table.scan(["a", "b"], pc.field("a") == value).read_all()
        assert found["b"].to_pylist() == expected
        assert table.scan(["b"], pc.field("a") == value).read_all()["b"].to_pylist() == expected
    assert len(source.asked) == 2


def test_what_is_not_of_this_era_or_breaks_off_is_not_kept(cache: SliceCache) -> None:
    """A scan that was read to its end under the policy in force is kept, and nothing else."""
    # More than is decoded ahead.
    source = Held(pa.table({"a": pa.array(range(3_000_000), pa.int64())}), SliceKey(ERA, b"one"))
    reader = RememberedSlice(source, cache).scan(["a"], None)
    reader.read_next_batch()
    reader.close()
    del reader
    gc.collect()
    asked("SELECT sum(a) FROM t", source, cache)
    assert len(source.asked) == 2
    cache.keep_only(("policy", 2))
    asked("SELECT sum(a) FROM t", source, cache)
    asked("SELECT sum(a) FROM t", source, cache)
    assert len(source.asked) == 4
    assert cache.size == 0


def test_an_error_of_the_slice_is_the_answer(cache: SliceCache) -> None:
    """Typed, after the rows before it; whatever else it was leaves without its text."""

    class Broken(Held):
        def tagged(self, *given: Any, **more: Any) -> Any:
            yield from super().tagged(*given, **more)
            raise ValueError("value-canary")

    source = Broken(numbers(10), SliceKey(ERA, b"one"))
    with pytest.raises(LakeError, match="could not be handed over") as caught:
        asked("SELECT sum(a) FROM t", source, cache)
    assert "canary" not in str(caught.value)
    assert cache.size == 0
