"""Conditions as data: what DuckDB asks for, through the tree and into Arrow, filters as DuckDB itself would."""

# ruff: noqa: E501 - one case a line
from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from duckdb._sources.nodes import Binary, Col, In, Lit, Postfix, Unary, Untranslatable
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.clear.sandbox import databases, execute, pushdown
from lake.clear.serving.conditions import ConditionError, expression
from tests.world import ROOT

EPOCH = datetime.fromisoformat("1970-01-01")
KINDS: dict[str, tuple[pa.DataType, str, st.SearchStrategy[Any]]] = {
    "b": (pa.bool_(), "BOOLEAN", st.booleans()),
    "t": (pa.int8(), "TINYINT", st.sampled_from([-128, -1, 0, 1, 127])),
    "i": (pa.int32(), "INTEGER", st.sampled_from([-(1 << 31), -1, 0, 7, (1 << 31) - 1])),
    "l": (pa.int64(), "BIGINT", st.sampled_from([-(1 << 63), -1, 0, 7, (1 << 63) - 1])),
    "s": (pa.string(), "VARCHAR", st.sampled_from(["", "a", "A", "aa", "ü", "😀", "z'z", "\x01", " "])),
    "u": (
        pa.timestamp("us"),
        "TIMESTAMP",
        st.sampled_from([0, 1, -1, 1_789_000_000_000_000, -62_135_596_800_000_000]).map(lambda n: EPOCH + timedelta(microseconds=n)),
    ),
}  # fmt: skip
SCHEMA = pa.schema([(name, kind) for name, (kind, _, _) in KINDS.items()])


def literal(name: str, value: Any) -> str:
    kind = KINDS[name][1]
    text = value.isoformat() if isinstance(value, datetime) else str(value)
    return "'" + text.replace("'", "''") + f"'::{kind}"


@st.composite
def comparisons(draw: st.DrawFn) -> str:
    name = draw(st.sampled_from(list(KINDS)))
    values = KINDS[name][2]
    match draw(st.integers(0, 3)):
        case 0:
            return f"{name} IS {draw(st.sampled_from(['NULL', 'NOT NULL']))}"
        case 1:
            members = draw(st.lists(values, min_size=1, max_size=4))
            return f"{name} {draw(st.sampled_from(['IN', 'NOT IN']))} ({', '.join(literal(name, v) for v in members)})"
        case 2:
            return f"{name} BETWEEN {literal(name, draw(values))} AND {literal(name, draw(values))}"
        case _:
            operator = draw(st.sampled_from(["=", "<>", "<", "<=", ">", ">=", "IS DISTINCT FROM"]))
            return f"{name} {operator} {literal(name, draw(values))}"


CONDITIONS = st.recursive(
    comparisons(),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["AND", "OR"]), inner).map(lambda p: f"({p[0]} {p[1]} {p[2]})"),
        inner.map(lambda one: f"NOT ({one})"),
    ),
    max_leaves=6,
)
ROWS = st.lists(
    st.fixed_dictionaries({name: st.none() | values for name, (_, _, values) in KINDS.items()}), min_size=1, max_size=12
)


class Asked:
    """A table that DuckDB asks for conditions as data; they go through JSON, as they do between processes."""

    def __init__(self, rows: pa.Table) -> None:
        self.rows = rows
        self.trees: list[Any] = []

    def scan(self, columns: Any, condition: pushdown.Condition | None) -> pa.RecordBatchReader:
        names = list(self.rows.schema.names if columns is None else columns)
        tree = None if condition is None else json.loads(json.dumps(condition.tree))
        if tree is not None:
            self.trees.append(tree)
        return ds.dataset(self.rows).scanner(columns=names, filter=expression(tree, self.rows.schema)).to_reader()


@pytest.fixture
def as_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ``install`` does, undone afterwards: this process runs other tests too."""
    monkeypatch.setattr(pushdown.seam, "to_arrow", pushdown.translated)


def filtered(source: Any, condition: str) -> list[str]:
    connection = databases.opened()
    connection.register("t", source)
    rows = connection.sql(f"SELECT * FROM t WHERE {condition}").to_arrow_table().to_pylist()  # noqa: S608 - made here
    connection.close()
    return sorted(map(repr, rows))


@settings(deadline=None, max_examples=80)
@given(rows=ROWS, condition=CONDITIONS)
def check_against_duckdb(rows: list[dict[str, Any]], condition: str) -> None:
    """Rows that are handed over under the condition, and DuckDB's own choice."""
    table = pa.Table.from_pylist(rows, SCHEMA)
    asked = Asked(table)
    assert filtered(execute.SliceTable(SCHEMA, asked.scan), condition) == filtered(table, condition)


@pytest.mark.usefixtures("as_data")
def test_conditions_choose_the_rows_that_duckdb_chooses() -> None:
    """Of every type and form, with NULLs, extremes, empty texts and times."""
    check_against_duckdb()


@pytest.mark.usefixtures("as_data")
def test_what_is_asked_for_is_what_was_written() -> None:
    """Each form comes down as its tree."""
    asked = Asked(pa.Table.from_pylist([{"i": 1, "s": "a"}], SCHEMA))
    table = execute.SliceTable(SCHEMA, asked.scan)
    for condition, tree in (
        ("i = 7", ["=", "i", 7]),
        ("i <> 7", ["<>", "i", 7]),
        ("s >= 'a'", [">=", "s", "a"]),
        ("i IS NULL", ["null", "i"]),
        ("u < TIMESTAMP '1970-01-01 00:00:00.000005'", ["<", "u", {"us": 5}]),
        ("i IN (1, 5, 9)", ["in", "i", [1, 5, 9]]),
        ("i = 1 AND s = 'a'", ["and", ["=", "i", 1], ["=", "s", "a"]]),
    ):
        asked.trees.clear()
        filtered(table, condition)
        assert tree in asked.trees or any(tree in part for part in asked.trees), (condition, asked.trees)


@pytest.mark.parametrize(
    "node",
    [
        Col(("a",)),
        Lit(True, "BOOLEAN"),
        Binary("=", Col(("a", "b")), Lit(1, "INTEGER")),
        Binary("=", Lit(1, "INTEGER"), Col(("a",))),
        Binary("=", Col(("a",)), Col(("b",))),
        Binary("=", Col(("a",)), Lit(1.5, "DOUBLE")),
        Binary("=", Col(("a",)), Lit(1 << 70, "HUGEINT")),
        Binary("=", Col(("a",)), Lit(True, "INTEGER")),
        Binary("=", Col(("a",)), Lit("x" * 1001, "VARCHAR")),
        Binary("=", Col(("a",)), Lit(b"x", "BLOB")),
        Binary("=", Col(("a",)), Lit(0, "TIMESTAMP WITH TIME ZONE")),
        Binary("LIKE", Col(("a",)), Lit("x%", "VARCHAR")),
        Unary("-", Col(("a",))),
        Postfix("IS TRUE", Col(("a",))),
        In(Col(("a",)), ()),
        In(Col(("a",)), tuple(Lit(n, "INTEGER") for n in range(1001))),
    ],
    ids=repr,
)
def test_what_has_no_form_is_left_to_duckdb(node: Any) -> None:
    """Fractions, other types, long texts and lists, columns against columns, anything unknown; alone and within."""
    for whole in (node, Unary("NOT", node), Binary("AND", Postfix("IS NULL", Col(("a",))), node)):
        with pytest.raises(Untranslatable):
            pushdown.translated(whole, None)


def test_chains_are_flat_however_long() -> None:
    """Hundreds of comparisons in a row are no deeper than two; thousands are left to DuckDB, and so is what is deep."""
    node: Any = Binary("=", Col(("a",)), Lit(0, "BIGINT"))
    for number in range(1, pushdown.MOST_OPERANDS):
        node = Binary("OR", node, Binary("=", Col(("a",)), Lit(number, "BIGINT")))
    tree = pushdown.translated(node, None).tree
    assert tree[0] == "or"
    assert [part[2] for part in tree[1:]] == list(range(pushdown.MOST_OPERANDS))
    found = ds.dataset(pa.table({"a": [-1, 3, 499, 500]})).to_table(
        filter=expression(tree, pa.schema([("a", pa.int64())]))
    )
    assert found["a"].to_pylist() == [3, 499]
    with pytest.raises(Untranslatable):
        pushdown.translated(Binary("OR", node, Binary("=", Col(("a",)), Lit(-5, "BIGINT"))), None)
    deep: Any = Postfix("IS NULL", Col(("a",)))
    for _ in range(5000):
        deep = Unary("NOT", deep)
    with pytest.raises(Untranslatable):
        pushdown.translated(deep, None)


def test_installing_changes_what_duckdb_calls() -> None:
    """In a process of its own, as it is for good there."""
    import os
    import subprocess
    import sys

    script = "from lake.clear.sandbox import pushdown; pushdown.install(); assert pushdown.seam.to_arrow is pushdown.translated"
    subprocess.run([sys.executable, "-c", script], check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})


def test_no_condition_is_none_and_constants_are_of_the_columns_type() -> None:
    """Only a column's own type passes, to its last value."""
    assert expression(None, SCHEMA) is None
    for name in KINDS:
        for value in (
            1.5,
            None,
            [],
            {},
            {"us": "1"},
            {"us": 1.0},
            {"us": True},
            {"us": 1, "x": 2},
            {"us": 1 << 63},
            1 << 63,
            "\ud800",
        ):
            with pytest.raises(ConditionError):
                expression(["=", name, value], SCHEMA)
    for name, value in (("t", 128), ("i", 1 << 31), ("b", 1), ("t", True), ("s", 1), ("u", 1), ("l", "1")):
        with pytest.raises(ConditionError):
            expression(["=", name, value], SCHEMA)
    other = pa.schema(
        [("f", pa.float64()), ("d", pa.decimal128(9)), ("z", pa.timestamp("us", "UTC")), ("x", pa.list_(pa.int8()))]
    )
    for name in other.names:
        with pytest.raises(ConditionError):
            expression(["=", name, {"us": 1} if name == "z" else 1], other)
        assert expression(["null", name], other) is not None


def test_the_engine_is_the_one_whose_seam_this_is() -> None:
    """Another DuckDB could call something else: then conditions are not handed over, and this test says so first."""
    assert duckdb.__version__.startswith("2.")
    assert vars(pushdown.seam)["to_arrow"] is not None
