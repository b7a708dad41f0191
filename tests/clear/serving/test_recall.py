"""What a sandbox has said of a query is not asked again for the same asker; rows always come from a sandbox."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pyarrow as pa
import pytest

from lake.clear.sandbox import guard
from lake.clear.serving.pool import Pool
from lake.clear.serving.recall import LONGEST, Recall, RecallingSession
from lake.clear.serving.session import SandboxSession
from lake.errors import QueryCancelledError, QueryRefusedError
from tests.clear.sandbox.corpus import HONEST, tables
from tests.clear.serving.sandboxes import LIMITS, NOTHING_KEPT, Held, numbers

SQL = "SELECT a, b FROM t WHERE a > ?"


class Counted:
    """Gives sessions of a pool, and counts them."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.given = 0

    def __call__(self) -> SandboxSession:
        self.given += 1
        return SandboxSession(self._pool, NOTHING_KEPT, 30)


@contextmanager
def session(take: Any, recall: Recall, asker: str = "ann") -> Iterator[RecallingSession]:
    with closing(RecallingSession(take, recall, asker)) as opened:
        yield opened


def test_the_same_question_takes_no_sandbox(pool: Pool) -> None:
    """Its tree and columns are known; another's are asked for again, and so are those of other columns or values."""
    take, recall = Counted(pool), Recall()
    schemas = {"t": numbers(1).schema}
    said: list[Any] = []
    for _ in range(2):
        with session(take, recall) as one:
            said.append((one.parse(SQL), one.describe(SQL, schemas, [1])))
    assert said[0] == said[1]
    assert take.given == 1
    with session(take, recall, "bob") as one:
        one.parse(SQL)
    assert take.given == 2
    with session(take, recall) as one:
        wider = {"t": schemas["t"].append(pa.field("c", pa.int8()))}
        star = "SELECT * FROM t"
        assert one.describe(star, schemas, ()).names == ["a", "b"]
        assert one.describe(star, wider, ()).names == ["a", "b", "c"]
        assert one.describe("SELECT ? AS x", {}, [1]).types == [pa.int32()]
        assert one.describe("SELECT ? AS x", {}, [True]).types == [pa.bool_()]
    assert take.given == 3


def test_rows_come_from_a_sandbox_each_time(pool: Pool) -> None:
    """A known query is run over what its slices hold now."""
    take, recall = Counted(pool), Recall()
    for rows in (3, 5):
        with session(take, recall) as one:
            statement = one.parse("SELECT count(*) AS n FROM t")
            running = one.run(statement.sql, {"t": Held(numbers(rows))}, (), LIMITS)  # type: ignore[dict-item]
            assert pa.Table.from_batches(running.batches, running.schema).to_pylist() == [{"n": rows}]
    assert take.given == 2


def test_what_fails_is_asked_again(pool: Pool) -> None:
    """A refusal is not remembered."""
    take, recall = Counted(pool), Recall()
    for _ in range(2):
        with session(take, recall) as one, pytest.raises(QueryRefusedError):
            one.parse("SELEC 1")
    assert take.given == 2


def test_a_query_that_is_cancelled_before_it_has_a_sandbox_gets_none(pool: Pool) -> None:
    """The sandbox that was on its way is given back."""
    with session(Counted(pool), Recall()) as one:
        one.cancel()
        with pytest.raises(QueryCancelledError):
            one.parse(SQL)


def test_a_tree_is_not_changed_by_who_reads_it(pool: Pool) -> None:
    """Many threads read the same one."""
    with session(Counted(pool), Recall()) as one:
        columns = {name: table.schema.names for name, table in tables().items()}
        seen = 0
        for sql in HONEST[:40]:
            if "DESCRIBE" in sql:
                continue
            statement = one.parse(sql)
            before = copy.deepcopy(statement)
            guard.admit(statement, columns)
            assert statement == before
            seen += 1
    assert seen > 30


def test_it_is_bounded() -> None:
    """The oldest goes; what is long is not kept."""
    recall, asked = Recall(most=3_000), []

    def ask(number: int, size: int = 300) -> int:
        return recall.answer(number, size, lambda: asked.append(number) or number)

    assert [ask(number) for number in (1, 2, 3, 4, 5, 6, 1, 7, 1, 2)] == [1, 2, 3, 4, 5, 6, 1, 7, 1, 2]
    assert asked == [1, 2, 3, 4, 5, 6, 7, 2]
    asked.clear()
    ask(100, LONGEST + 1)
    ask(100, LONGEST + 1)
    assert asked == [100, 100]
    threads = [threading.Thread(target=lambda: [ask(number) for number in range(50)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert recall._size == sum(cost for cost, _ in recall._known.values()) <= 3_000
