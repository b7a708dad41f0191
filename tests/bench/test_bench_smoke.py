"""The benchmark at a tiny size."""

from __future__ import annotations

import json
import math
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests import forking

ROOT = Path(__file__).resolve().parents[2]
SECTIONS = [
    "ingest",
    "query",
    "startup",
    "memory",
    "micro",
    "keys",
    "gateway",
    "catalog",
    "store",
    "ingest-server",
    "jobs",
    "wide",
]


Made = tuple[subprocess.CompletedProcess[str], dict[str, Any], Path]


def _made(place: Path, rows: int, *options: str) -> Made:
    """One run of the command: how it ended, what it wrote, and where its data were."""
    output = place / "made" / "result.json"
    sizes = ["--rows", str(rows), "--employees", "2", "--repeat", "1", *options]
    ended = forking.run(
        "import sys, bench.__main__ as main; sys.exit(main.main(sys.argv[1:]))",
        *(*sizes, "--folder", place, "--output", output),
        cwd=ROOT,
        env={**os.environ, "LAKE_SHARED_DATA": str(place / "nothing")},
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    return ended, json.loads(output.read_text("utf-8")), place


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The questions alone: the other sections take minutes."""
    return _made(tmp_path_factory.mktemp("bench"), 20_000, "--only", "query", "--no-ducklake")


@pytest.fixture(scope="module")
def all_of_it(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Every section."""
    return _made(tmp_path_factory.mktemp("bench"), 20_000)


def test_the_questions_have_their_figures(run: Any) -> None:
    """Both sides of each have positive seconds, and every section is one that the command knows."""
    query = run[1]["results"]["query"]
    assert len(query["everything"]["seconds"]) >= 9
    assert set(query["filtered"]["seconds"]) < set(query["everything"]["seconds"])
    assert all(figure > 0 and math.isfinite(figure) for figure in _figures(query))


@pytest.mark.soak
def test_every_section_has_its_figures(all_of_it: Any) -> None:
    """All sections are measured: both sides have positive seconds, and ratios are theirs."""
    results = all_of_it[1]["results"]
    assert list(results) == SECTIONS
    found = results["ingest"]["generated"]
    assert found["rows"] == 20_000
    assert found["slower_than"]["plain twin"] == found["seconds"]["lake"] / found["seconds"]["plain twin"]
    assert results["ingest"]["recordings"] is None
    query = results["query"]
    assert len(query["everything"]["seconds"]) >= 9
    assert set(query["filtered"]["seconds"]) < set(query["everything"]["seconds"])
    measured = {name: section for name, section in results.items() if name not in {"keys", "gateway", "jobs"}}
    assert all(figure > 0 and math.isfinite(figure) for figure in _figures(measured))
    # A purge by destroying keys asks no provider for anything.
    assert all(figure >= 0 and math.isfinite(figure) for figure in _figures(results["jobs"]))
    assert results["jobs"]["purge"]["keys destroyed"]["provider calls"] == 0


@pytest.mark.soak
def test_the_figures_of_a_gateway(all_of_it: Any) -> None:
    """Questions, first rows and exports are measured on both sides, with and without kept slices."""
    found = all_of_it[1]["results"]["gateway"]
    for kept in ("keeps none", "keeps slices"):
        assert len(found[kept]["seconds"]) >= 16
        assert found[kept]["ratios"]["geometric mean"] > 0
        assert found[kept]["export"]["share"] > 0
        assert found[kept]["first row ms"]["lake"] > 0


@pytest.mark.soak
def test_the_figures_of_keys(all_of_it: Any) -> None:
    """Rotation, shredding and the keys of a query are measured; what must not depend on size or be asked is not."""
    keys = all_of_it[1]["results"]["keys"]
    assert len({roots["provider_calls"] for roots in keys["roots"].values()}) == 1
    few, many = keys["buckets"].values()
    assert (many["keks"], many["bucket_keys"]) == (10 * few["keks"], 1_024)
    for found in (few, many):
        for clock in (found["wall"], found["processor"]):
            taken = clock["seconds"]
            assert clock["slower_than"]["aes-gcm"] == taken["rotate"] / (
                taken["aes-gcm"] + taken["read"] + taken["write"]
            )
        assert found["peak_bytes"]["rotate"] >= found["peak_bytes"]["idle"] > 0
    small, large = (keys["shred"][str(size["keks"])] for size in (few, many))
    assert small["quiet"]["survivors"] == large["quiet"]["survivors"] > 0
    query = keys["query"]
    assert query["files"] == 10 * query["employees"]
    for part in (query["open_deks"], query["query"]):
        assert 0 < part["cold"]["keys_unwrapped"] <= 256
        assert part["cold"]["unwrap_calls"] == 1
        assert part["warm"]["unwrap_calls"] == part["warm"]["keys_unwrapped"] == 0
    assert all(figure >= 0 and math.isfinite(figure) for figure in _figures(keys))


def test_the_mean_is_that_of_the_ratios(run: Any) -> None:
    """The geometric mean and the worst ratio summarise the single ones."""
    ratios = dict(run[1]["results"]["query"]["everything"]["ratios"]["plain twin"])
    mean, worst = ratios.pop("geometric mean"), ratios.pop("worst")
    assert math.isclose(mean, math.prod(ratios.values()) ** (1 / len(ratios)))
    assert worst == max(ratios.values())


def test_it_tells_the_machine_and_not_whose(run: Any) -> None:
    """The document names processors and versions, and no host, user or path."""
    ended, document, place = run
    assert document["machine"]["cpus"] >= 1
    assert {"python", "duckdb", "pyarrow"} <= set(document["machine"])
    text = json.dumps(document)
    for private in (os.uname().nodename, str(place), str(ROOT), str(Path.home())):
        assert private not in text
    assert "geometric mean" in ended.stdout


def test_it_leaves_nothing_behind(run: Any) -> None:
    """Lakes, keys and plaintext are removed; only the result remains."""
    assert [path.name for path in run[2].iterdir()] == ["made"]


def test_another_answer_voids_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A side that answers otherwise, with one value, one row or one column changed, ends the measurement."""
    monkeypatch.syspath_prepend(str(ROOT))
    from bench.measure import BenchError
    from bench.queries import QUERIES
    from bench.query import LAKE, same_answers

    def asked(rows: dict[str, list[Any]]) -> Any:
        return lambda: pa.table(rows).to_batches()

    right: dict[str, list[Any]] = {"a": [1, 2, 3], "b": ["x", "y", None]}
    same_answers(QUERIES[0], {LAKE: asked(right), "plain": asked({"a": [3, 1, 2], "b": [None, "x", "y"]})})
    wrongs: tuple[dict[str, list[Any]], ...] = (
        {"a": [1, 2, 4], "b": ["x", "y", None]},
        {"a": [1, 2, 3], "b": ["y", "x", None]},
        {"a": [1, 2], "b": ["x", "y"]},
        {"a": [1, 2, 3, 3], "b": ["x", "y", None, None]},
        {"a": [1, 2, 3], "c": ["x", "y", None]},
        {"a": [], "b": []},
    )
    for wrong in wrongs:
        with pytest.raises(BenchError, match="full aggregate"):
            same_answers(QUERIES[0], {LAKE: asked(right), "plain": asked(wrong)})
    with pytest.raises(BenchError, match="finds nothing"):
        same_answers(QUERIES[0], {LAKE: asked({"a": []}), "plain": asked({"a": []})})


def test_another_layout_voids_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plaintext twin has to have the layout of the lake's own files."""
    monkeypatch.syspath_prepend(str(ROOT))
    from bench import plain
    from bench.measure import BenchError

    rows = pa.table({"ts": pa.array([1, 2], pa.timestamp("us")), "type": ["key", "key"]})
    plain.check_layout(rows)
    monkeypatch.setattr(plain, "ROW_GROUP_ROWS", 1)
    with pytest.raises(BenchError, match="layout"):
        plain.check_layout(rows)


def test_an_answer_that_differs_ends_the_command(tmp_path: Path) -> None:
    """The command itself fails, says which question, and writes no result."""
    program = (
        "import sys, bench.query as query, bench.__main__ as main;"
        "query.QUERIES = query.QUERIES[:1];"
        "query.MASKED_VIEW = query.MASKED_VIEW.replace('12', '11');"
        "sys.exit(main.main(sys.argv[1:]))"
    )
    output = tmp_path / "result.json"
    sizes = ["--only", "query", "--no-ducklake", "--rows", "20000", "--employees", "2", "--repeat", "1", "--output"]
    ended = forking.run(program, *sizes, output, cwd=ROOT, text=True)
    assert ended.returncode == 1
    assert "'distinct'" in ended.stderr
    assert not output.exists()


def _figures(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from _figures(inner)
    elif isinstance(value, int | float):
        yield float(value)
