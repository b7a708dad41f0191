"""Queries to train on: every row once over all shards, the same order again, and nothing secret in a copy."""

# ruff: noqa: S106 - made up
from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import lake
from lake.client.dataset import Dataset, LocalSource
from lake.client.order import Shard
from lake.client.remote import RemoteConnection
from lake.errors import UsageError
from tests.client.door import Door
from tests.world import ROOT, World

ORDERED = "SELECT ts, app, coalesce(n, 0) AS n FROM events ORDER BY ts"
DIVIDED = "SELECT ts, app FROM events"


def times(batches: Iterable[pa.RecordBatch]) -> list[Any]:
    """The rows' times, which tell them apart."""
    return [value for batch in batches for value in batch.column("ts").to_pylist()]


@pytest.fixture
def everything(connection: RemoteConnection) -> list[Any]:
    """The times of all rows, in order."""
    return times(connection.sql("SELECT ts FROM events ORDER BY ts").batches())


@pytest.mark.parametrize("sql", [ORDERED, DIVIDED])
@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_every_row_is_in_one_shard(connection: RemoteConnection, everything: list[Any], sql: str, count: int) -> None:
    """By number in an order, or by the files of a query that can be divided."""
    shards = [times(connection.dataset(sql, shard=(index, count)).batches()) for index in range(count)]
    assert sorted(value for shard in shards for value in shard) == everything
    if sql == ORDERED:
        assert max(map(len, shards)) - min(map(len, shards)) <= 1


def test_workers_within_ranks_share_the_rows(connection: RemoteConnection, everything: list[Any]) -> None:
    """Two ranks of three workers each."""
    found = [
        value
        for rank in range(2)
        for worker in range(3)
        for value in times(connection.dataset(ORDERED, shard=(rank, 2)).batches(within=Shard(worker, 3)))
    ]
    assert sorted(found) == everything


def test_each_epoch_runs_the_query(connection: RemoteConnection, everything: list[Any]) -> None:
    """Shuffled by seed and epoch, the same again for the same."""
    dataset = connection.dataset(ORDERED, shuffle=50, seed=3)
    orders = [times(dataset.batches(epoch)) for epoch in (0, 1, 0)]
    assert orders[0] == orders[2] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1]) == everything
    assert times(connection.dataset(ORDERED, shuffle=50, seed=4).batches()) != orders[0]


def test_an_undefined_order_is_not_shared(connection: RemoteConnection) -> None:
    """Shards of it could overlap; whole, it may be read."""
    joined = "SELECT a.ts FROM events a, events b LIMIT 10"
    with pytest.raises(UsageError, match="add an ORDER BY"):
        list(connection.dataset(joined, shard=(0, 2)).batches())
    assert len(times(connection.dataset(joined).batches())) == 10


def test_columns_and_batches_as_asked_for(connection: RemoteConnection) -> None:
    """Some columns, in their order; rows in batches of one size; parameters."""
    sql = "SELECT ts, app, n FROM events WHERE n > ? ORDER BY ts"
    dataset = connection.dataset(sql, [0], columns=["n", "app"])
    batches = list(dataset.batches(rows=10))
    assert {batch.num_rows for batch in batches[:-1]} == {10}
    assert batches[0].schema == dataset.schema()
    assert dataset.schema().names == ["n", "app"]
    assert min(batch.column("n").to_pylist() for batch in batches)[0] > 0
    with pytest.raises(UsageError, match="not exactly one column 'x'"):
        list(connection.dataset(sql, [0], columns=["x"]).batches())


def test_an_embedded_lake_gives_datasets_too(world: World, everything: list[Any]) -> None:
    """In its own process; no copy of it goes to another one."""
    with world.connect() as connection:
        dataset = connection.dataset(ORDERED, shuffle=20)
        assert sorted(times(dataset.batches())) == everything
        assert dataset.schema().names == ["ts", "app", "n"]
        assert (
            sorted(times(dataset.with_shard(0, 2).batches()) + times(dataset.with_shard(1, 2).batches())) == everything
        )
        with pytest.raises(UsageError, match="only in the process that opened it"):
            dataset.source.__reduce__()
        elsewhere = LocalSource(ORDERED, lambda: connection.sql(ORDERED), dataset.schema, process=1)
        with pytest.raises(UsageError, match="num_workers=0"):
            list(Dataset(elsewhere).batches())


def test_a_copy_holds_no_token(door: Door, token_file: Path) -> None:
    """It holds the way to one; a connection with the token itself gives no copies."""
    with lake.connect(door.url, token_file=token_file) as connection:
        dataset = connection.dataset(ORDERED)
        connection.tables()
        assert "token-vera" not in repr(dataset) + repr(dataset.source.__reduce__())
    with lake.connect(door.url, token="token-vera") as connection:
        place = connection.dataset(ORDERED).source.__reduce__()[1][0]
        with pytest.raises(UsageError, match="not handed to other processes"):
            place.tokens.__reduce__()


def test_missing_libraries_are_named(connection: RemoteConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    """With how to get them."""
    monkeypatch.setattr("lake.client.dataset.find_spec", lambda _name: None)
    with pytest.raises(UsageError, match=r"torch is not installed \(pip install torch\)"):
        connection.dataset(ORDERED).to_torch()
    with pytest.raises(UsageError, match="datasets is not installed"):
        connection.dataset(ORDERED).to_datasets()


TRAIN = """
import sys
from torch.utils.data import DataLoader
import lake

if __name__ == "__main__":
    url, file = sys.argv[1:]
    with lake.connect(url, token_file=file) as connection:
        sql = "SELECT ts, app, coalesce(n, 0) AS n, score FROM events ORDER BY ts"
        dataset = connection.dataset(sql, shuffle=40, seed=5).to_torch(16)
        orders = []
        loader = DataLoader(
            dataset, batch_size=None, num_workers=2, persistent_workers=True, multiprocessing_context="spawn"
        )
        for epoch in (0, 1):
            dataset.set_epoch(epoch)
            batches = list(loader)
            assert {(str(b["ts"].dtype), str(b["n"].dtype), str(b["score"].dtype)) for b in batches} == {
                ("torch.int64", "torch.int32", "torch.float64")
            }
            assert all(isinstance(b["app"], list) and len(b["app"]) == len(b["n"]) for b in batches)
            orders.append([value for b in batches for value in b["ts"].tolist()])
        assert len(set(orders[0])) == 144 and sorted(orders[0]) == sorted(orders[1]) and orders[0] != orders[1]
        row = next(iter(connection.dataset(sql, columns=["n", "app"]).to_torch()))
        assert (row["n"].item(), row["app"]) == (-20, "Editor-QX"), row
        print("done")
"""


def run(source: str, folder: Path, *arguments: object) -> str:
    """A program of its own; ``spawn`` needs it as a file."""
    file = folder / "program.py"
    file.write_text(source)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HOME": str(folder / "cache")}
    command = [sys.executable, str(file), *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_torch_trains_with_workers(door: Door, token_file: Path, tmp_path: Path) -> None:
    """Tensors and lists, each row once per epoch over all workers, another order in the next epoch."""
    pytest.importorskip("torch")
    assert run(TRAIN, tmp_path, door.url, token_file) == "done\n"


STREAM = """
import sys
import lake

url, file = sys.argv[1:]
with lake.connect(url, token_file=file) as connection:
    dataset = connection.dataset("SELECT ts, app FROM events ORDER BY ts").to_datasets(shards=3)
    rows = list(dataset)
    assert dataset.num_shards == 3
    assert len({row["ts"] for row in rows}) == len(rows) == 144
    assert set(dataset.features) == {"ts", "app"}
    print("done")
"""


def test_hugging_face_streams_without_a_cache(door: Door, token_file: Path, tmp_path: Path) -> None:
    """Every row once over the shards, and no file is written."""
    pytest.importorskip("datasets")
    assert run(STREAM, tmp_path, door.url, token_file) == "done\n"
    assert not (tmp_path / "cache").exists()
