"""Scans of files: the rows are an oracle's, in order, a bounded number ahead, and dictionaries hold no hidden text."""

# ruff: noqa: DTZ001 - capture times are naive UTC
from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys.broker import LandingKey
from lake.clear.landing import encode as encoding
from lake.clear.reading import decode
from lake.clear.reading import scan as scanning
from lake.clear.reading.codes import CODED, all_plain, carried
from lake.clear.reading.plan import SUBJECT_COLUMN, FileToRead, SealedPlan
from lake.clear.reading.scan import Scan
from lake.clear.reading.slice import Slice
from lake.rules.contract import FieldType
from lake.rules.masks import Mask, MaskKind
from lake.rules.row_filter import parse_row_filter
from lake.sealed.objects import Location

STORED = pa.schema([("ts", pa.timestamp("us")), ("type", pa.string()), ("n", pa.int64()), ("s", pa.string())])
UNIFIED = pa.schema(
    [
        *STORED,
        ("later", pa.string()),
        ("sensitivity", pa.int8()),
        ("employee", pa.string()),
        (SUBJECT_COLUMN, pa.int32()),
    ]
)
TEXTS = ("type", "s", "later", "employee")
TYPES = {"n": FieldType.INT64, "s": FieldType.STRING, "type": FieldType.STRING}
GROUP = 7
"""Rows of a row group here."""


@dataclass
class Files:
    """Some files, and all that is in them in order."""

    folder: Path
    files: list[FileToRead] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def location(self) -> Location:
        """Where they are."""
        return Location("local", str(self.folder))

    def add(self, number: int, rows: int) -> None:
        """One more file, with NULLs, and texts of its own and in common."""
        content = [
            {
                "ts": datetime(2026, 7, 1) + timedelta(minutes=row),
                "type": "key" if row % 3 else "click",
                "n": None if row % 5 == 0 else len(self.rows) + row,
                "s": None if row % 4 == 0 else f"text {row % 3} of {number}",
            }
            for row in range(rows)
        ]
        key = LandingKey(f"{number:032x}", os.urandom(32), os.urandom(32), _unused)
        encoded = encoding.encode(pa.Table.from_pylist(content, STORED), key)
        name = f"{key.file_id}.parquet"
        (self.folder / name).write_bytes(encoded.content)
        self.files.append(
            FileToRead(
                file_id=key.file_id,
                object_key=name,
                format=encoded.format,
                format_version=encoded.format_version,
                length=encoded.length,
                rows=rows,
                number=number,
                label=f"p_{number}",
                sensitivity=number % 4 + 1,
                dek=key.dek,
                aad_prefix=key.aad_prefix,
            )
        )
        constants = {"later": None, "sensitivity": number % 4 + 1, "employee": f"p_{number}", SUBJECT_COLUMN: number}
        self.rows += [row | constants for row in content]


def _unused(_binding: object) -> NoReturn:
    raise AssertionError("nothing is wrapped here")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Files]:
    """Files of a part of a row group, of one, and of several."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoding, "ROW_GROUP_ROWS", GROUP)
        patch.setattr(scanning, "BATCH_ROWS", GROUP)
        patch.setattr(scanning, "SHARE_ROWS", 4)
        patch.setattr(scanning, "ROWS_AHEAD", 3 * GROUP)
        found = Files(tmp_path_factory.mktemp("scan"))
        for number, rows in enumerate((1, GROUP, 3 * GROUP + 2, 2, 1, 5 * GROUP)):
            found.add(number, rows)
        yield found


CONDITIONS: list[tuple[pc.Expression | None, Callable[[dict[str, Any]], bool]]] = [
    (None, lambda _: True),
    (pc.field("n") > 20, lambda row: row["n"] is not None and row["n"] > 20),
    (pc.field("s") == "text 1 of 2", lambda row: row["s"] == "text 1 of 2"),
    (pc.field("s").is_null() & (pc.field("type") == "key"), lambda row: row["s"] is None and row["type"] == "key"),
    (pc.field("employee") == "p_2", lambda row: row["employee"] == "p_2"),
    ((pc.field("employee") == "p_5") & (pc.field("n") < 40), lambda row: row["employee"] == "p_5" and _n(row) < 40),
    (pc.field("sensitivity") >= 3, lambda row: row["sensitivity"] >= 3),
    (pc.field("later").is_null(), lambda _: True),
    (pc.field("later") == "x", lambda _: False),
    (~(pc.field("n") > 0), lambda row: row["n"] is not None and not row["n"] > 0),
    (pc.field("ts") < pa.scalar(datetime(2026, 7, 1, 0, 3)), lambda row: row["ts"] < datetime(2026, 7, 1, 0, 3)),
]


def _n(row: dict[str, Any]) -> int:
    return 10**9 if row["n"] is None else int(row["n"])


@given(
    columns=st.lists(st.sampled_from(UNIFIED.names), unique=True),
    condition=st.sampled_from(CONDITIONS),
    coded=st.booleans(),
)
def test_the_rows_are_those_of_the_files_in_order(
    files: Files,
    columns: list[str],
    condition: tuple[pc.Expression | None, Callable[[dict[str, Any]], bool]],
    coded: bool,
) -> None:
    """Any columns under any condition, with texts in place or as dictionaries: what a loop over the rows finds."""
    wanted, holds = condition
    scan = Scan(files.location, carried(UNIFIED, TEXTS) if coded else UNIFIED, columns, wanted)
    expected = [{name: row[name] for name in columns} for row in files.rows if holds(row)]
    found: list[dict[str, Any]] = []
    for file, batch in scan.rows(files.files):
        assert batch.num_rows
        batch.validate(full=True)
        assert batch.schema.names == columns
        assert all(
            (kind == CODED) == (coded and name in TEXTS) for name, kind in zip(columns, batch.schema.types, strict=True)
        )
        if "employee" in columns:
            assert set(all_plain(batch)["employee"].to_pylist()) == {file.label}
        for name in columns:
            if batch.schema.field(name).type == CODED and wanted is not None:
                assert set(batch[name].dictionary.to_pylist()) <= {row[name] for row in expected}
        found += [{}] * batch.num_rows if not columns else batch.to_pylist()
    assert found == expected


def test_a_column_is_decoded_only_where_a_row_is_left(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """First what the condition is about, of every row group; the rest of those alone that it leaves rows of."""
    read: list[tuple[int, tuple[str, ...]]] = []
    whole = decode.RowGroups.read

    def noted(self: decode.RowGroups, group: int, columns: Sequence[str]) -> pa.Table:
        read.append((group, tuple(columns)))
        return whole(self, group, columns)

    monkeypatch.setattr(decode.RowGroups, "read", noted)
    last = files.files[-1]
    scan = Scan(files.location, UNIFIED, ["s", "n"], pc.field("n") == len(files.rows) - 1)
    assert [batch.num_rows for _, batch in scan.rows([last])] == [1]
    assert sorted(read) == [(0, ("n",)), (1, ("n",)), (2, ("n",)), (3, ("n",)), (4, ("n",)), (4, ("s",))]


def test_a_file_that_a_condition_leaves_nothing_of_is_not_opened(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is about the employee and the sensitivity alone is decided without the file."""
    opened: list[str] = []
    whole = decode.Decoding.open

    def noted(self: decode.Decoding, coded: Sequence[str] = ()) -> decode.RowGroups:
        opened.append(self._file.file_id)
        return whole(self, coded)

    monkeypatch.setattr(decode.Decoding, "open", noted)
    condition = (pc.field("employee") == "p_1") | (pc.field("sensitivity") == 4)
    list(Scan(files.location, UNIFIED, ["n"], condition).rows(files.files))
    assert sorted(opened) == [file.file_id for file in files.files if file.label == "p_1" or file.sensitivity == 4]


def test_no_more_is_decoded_ahead_than_was_said(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever takes one batch has a bounded number of rows decoded, however many there are."""
    lock = threading.Lock()
    rows = 0
    whole = decode.RowGroups.read

    def counted(self: decode.RowGroups, group: int, columns: Sequence[str]) -> pa.Table:
        nonlocal rows
        table = whole(self, group, columns)
        with lock:
            rows += table.num_rows
        return table

    monkeypatch.setattr(decode.RowGroups, "read", counted)
    scan = Scan(files.location, UNIFIED, ["n"], None).rows(files.files * 20)
    taken = sum(next(scan)[1].num_rows for _ in range(3))
    scan.close()  # waits for what is being decoded
    assert rows <= taken + scanning.ROWS_AHEAD + GROUP


def test_dictionaries_hold_no_text_of_a_hidden_row(plan: Callable[..., SealedPlan]) -> None:
    """Neither what the policy hides nor, behind a mask, what the reader's condition leaves out is sent along."""
    hidden = Slice(plan(row_filter=parse_row_filter("n < 103", TYPES), coded=frozenset({"s", "employee"})))
    (batch,) = hidden.scan(["s", "employee"], None)
    assert batch["s"].type == CODED
    assert sorted(batch["s"].dictionary.to_pylist()) == ["text 0", "text 1", "text 2"]
    assert batch["employee"].dictionary.to_pylist() == ["p_1"]
    masked = Slice(plan(masks={"n": Mask(MaskKind.ROUND, number=5)}, coded=frozenset({"s"})))
    sent = [
        text for found in masked.scan(["s", "n"], pc.field("n") == 205) for text in found["s"].dictionary.to_pylist()
    ]
    assert sorted(sent) == [f"text {n}" for n in range(5, 10)]


def test_a_masked_text_is_no_dictionary_and_plain_slices_have_none(plan: Callable[..., SealedPlan]) -> None:
    """A mask works on texts; and where texts are asked for in place, they are."""
    part = Slice(plan(masks={"s": Mask(MaskKind.KEEP_LAST, number=1)}, coded=frozenset({"s", "type"})))
    assert part.carried.field("s").type == pa.string()
    assert part.carried.field("type").type == CODED
    for coded in (True, False):
        batches = [batch for _, batch in part.tagged(["s", "type"], None, coded=coded)]
        assert [text for batch in batches for text in batch["s"].to_pylist()] == [str(n) for n in range(10)] * 2
        assert all((batch["type"].type == CODED) is coded for batch in batches)
