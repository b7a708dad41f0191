"""The page of figures and the comparison with an earlier run."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
OURS = ("lake, nothing kept", "lake, kept", "gateway, kept")
SIDES = (*OURS, "plain twin", "plain pyarrow", "pyarrow dataset", "DuckLake encrypted")


def _role(*sides: str) -> dict[str, Any]:
    seconds = {name: {side: 1.0 + at for at, side in enumerate(sides)} for name in ("needle", "export slice")}
    others = [side for side in sides if side not in OURS]
    ratios = {side: {"needle": 2.0, "export slice": 3.0, "geometric mean": 2.4, "worst": 3.0} for side in others}
    return {
        "seconds": seconds,
        "rows": {"needle": 1, "export slice": 3_000_000},
        "ratios": ratios,
        "kept ratios": {side: dict(found) for side, found in ratios.items()},
        "gateway ratios": {side: dict(found) for side, found in ratios.items()},
    }


def _document() -> dict[str, Any]:
    machine = dict.fromkeys(("python", "duckdb", "pyarrow"), "1.0") | {"cpus": 2, "memory_bytes": 2**34}
    scale = {"rows": 1_000, "employees": 2, "threads": 2, "repeat": 3}
    query = {
        "files": 7,
        "everything": _role(*SIDES),
        "filtered": _role(*SIDES[:4]),
        "peak_bytes": dict.fromkeys(SIDES[3:], 2**28),
    }
    ingest = {
        "seconds": {"lake": 2.0, "plain twin": 1.0},
        "rows_per_second": {"lake": 500.0, "plain twin": 1_000.0},
        "slower_than": {"plain twin": 2.0},
        "filter off, slower_than": {"plain twin": 1.5},
    }
    files = {"24": {"seconds": {"count": 0.5}, "ms a file": {"count": 0.25}}}
    wide = {"rows a file": 20, "files": files | {"120": files["24"]}}
    asked = {"one hour": {"before": 0.5, "after": 0.25, "speedup": 2.0}}
    jobs = {"rows": 9_000, "batches": 30, "before": {"files": 1_200}, "after": {"files": 40}, "queries": asked}
    results = {"query": query, "ingest": {"generated": ingest}, "wide": wide, "jobs": jobs}
    return {"machine": machine, "scale": scale, "results": results}


def test_the_page_has_every_side_and_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables of both roles, exports, memory and ingest; a picture with a bar for each side of each question."""
    monkeypatch.syspath_prepend(str(ROOT))
    from bench import page

    page.write(_document(), tmp_path)
    text = (tmp_path / "performance.md").read_text("utf-8")
    assert "| needle | 1.000 | 2.000 | 3.000 | 4.000 | 5.000 | 6.000 | 7.000 |" in text
    assert "| needle | 1.000 | 2.000 | 3.000 | 4.000 |\n" in text
    assert "| lake, kept: worst | 3.00 | 3.00 | 3.00 | 3.00 |" in text
    assert "| export slice | 3.0 | 1.5 | 1.0 | 0.8 |" in text
    assert "| DuckLake encrypted | 256 |" in text
    assert "| plain twin | 1,000 | 2.00 | 1.50 |" in text
    assert "| count | 0.500 | 0.500 | 0.25 | 0.25 |" in text
    assert "in 1,200 files before and 40 after" in text
    assert "| one hour | 0.500 | 0.250 | 2.0 |" in text
    bars = ET.fromstring((tmp_path / "performance.svg").read_text("utf-8")).findall("{*}rect")  # noqa: S314 - our own
    assert len(bars) == 1 + 2 * len(SIDES) + len(SIDES)


def test_only_what_got_worse_beyond_noise_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds are of the machine and are not compared; a ratio that one of the two lacks is nothing to say about."""
    monkeypatch.syspath_prepend(str(ROOT))
    from bench.compare import worse

    before, now = _document()["results"], _document()["results"]
    assert worse(before, now) == []
    now["query"]["everything"]["seconds"]["needle"]["lake"] = 99.0
    now["query"]["everything"]["ratios"]["plain twin"]["needle"] = 2.4
    now["query"]["everything"]["ratios"]["new"] = {"needle": 9.0}
    assert worse(before, now) == []
    now["query"]["everything"]["ratios"]["plain twin"]["needle"] = 2.6
    now["ingest"]["generated"]["slower_than"]["plain twin"] = 4.0
    assert worse(before, now) == [
        "ingest / generated / slower_than / plain twin: 2.00 before, 4.00 now",
        "query / everything / ratios / plain twin / needle: 2.00 before, 2.60 now",
    ]
