"""Slices: permitted rows and columns, masked, with the record of whose rows left."""

# ruff: noqa: DTZ001 - capture times are naive UTC
from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from lake.clear.reading.plan import SealedPlan
from lake.clear.reading.slice import Slice
from lake.errors import IntegrityError, LakeError
from lake.rules.contract import FieldType
from lake.rules.masks import Mask, MaskKind
from lake.rules.row_filter import parse_row_filter

Plans = Callable[..., SealedPlan]
TYPES = {"n": FieldType.INT64, "s": FieldType.STRING, "ts": FieldType.TIMESTAMP}


def test_a_slice_is_its_plan(plan: Plans) -> None:
    """Columns, order and constants are the plan's; it can be scanned again, and the record grows."""
    part = Slice(plan())
    found = part.scan(None, None).read_all()
    assert found.schema.equals(part.schema)
    assert sorted(found["n"].to_pylist()) == [*range(100, 110), *range(200, 210)]
    assert {(one["employee"], one["sensitivity"], one["n"] // 100) for one in found.to_pylist()} == {
        ("p_1", 1, 1),
        ("p_2", 3, 2),
    }
    assert part.touched.numbers == {1: {1}, 3: {2}}
    assert part.touched.rows == {1: 10, 3: 10}
    assert part.scan(["s", "n"], None).read_all().schema.names == ["s", "n"]
    assert part.touched.rows == {1: 20, 3: 20}


def test_a_row_filter_and_a_window_hide_rows_and_their_record(plan: Plans) -> None:
    """Hidden rows neither leave nor count as touched, with or without a condition of the reader."""
    for condition in (None, pc.field("n") >= 0):
        part = Slice(plan(row_filter=parse_row_filter("n < 103 AND s <> 'text 0'", TYPES)))
        assert sorted(part.scan(["n"], condition).read_all()["n"].to_pylist()) == [101, 102]
        assert part.touched.numbers == {1: {1}}
        assert part.touched.rows == {1: 2}
    window = Slice(plan(first=datetime(2026, 7, 3), last=datetime(2026, 7, 4)))
    assert sorted(window.scan(["n"], None).read_all()["n"].to_pylist()) == [102, 103, 202, 203]


def test_a_condition_of_the_reader_meets_masked_values_only(plan: Plans) -> None:
    """A comparison holds of what is shown, and not of what is stored."""
    made = plan(masks={"n": Mask(MaskKind.ROUND, number=100), "s": Mask(MaskKind.NULL)})
    part = Slice(made)
    assert part.scan(["n"], pc.field("n") == 105).read_all().num_rows == 0
    assert set(part.scan(["n"], pc.field("n") == 100).read_all()["n"].to_pylist()) == {100}
    assert part.scan(["n"], pc.field("s") == "text 3").read_all().num_rows == 0
    assert part.scan(["s"], pc.field("s").is_null()).read_all().num_rows == 20
    assert part.touched.rows[3] == 10


def test_a_column_outside_the_slice_is_refused(plan: Plans) -> None:
    """Stored columns that are not shown cannot be asked for."""
    part = Slice(plan(schema=pa.schema([("n", pa.int64())])))
    for name in ("s", "employee", "sensitivity", "zz"):
        with pytest.raises(LakeError):
            part.scan([name], None)
    assert part.scan(None, None).read_all().schema.names == ["n"]


def test_damage_ends_a_scan_with_a_typed_failure(plan: Plans) -> None:
    """A page that does not authenticate is kept as the slice's failure, without the library's words."""
    made = plan()
    path = Path(made.location.root, made.files[1].object_key)
    content = bytearray(path.read_bytes())
    content[40] ^= 1
    path.write_bytes(content)
    part = Slice(made)
    with pytest.raises(Exception, match="not what was written"):
        part.scan(None, None).read_all()
    assert isinstance(part.failure, IntegrityError)
    assert "text" not in str(part.failure)


def test_keys_are_not_shown(plan: Plans) -> None:
    """The representation of a plan and its files has no key."""
    made = plan(mask_key=b"secret-of-the-masks-aaaaaaaaaaaa")
    assert "secret-of-the-masks" not in repr(made)
    assert repr(made.files[0].dek)[2:-1] not in repr(made)
    assert "dek" not in repr(made)
