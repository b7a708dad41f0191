"""What is sent of a column besides its values: nothing lies under a NULL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake.clear.reading.nulls import cleared
from lake.clear.reading.plan import SealedPlan
from lake.clear.reading.slice import Slice
from lake.rules.masks import Mask, MaskKind

VALUES: list[tuple[pa.DataType, Any]] = [
    (pa.bool_(), True),
    (pa.int8(), 7),
    (pa.int32(), 7),
    (pa.int64(), 7),
    (pa.float64(), 7.5),
    (pa.timestamp("us"), 7),
    (pa.string(), "seven"),
]


def under(column: pa.Array) -> bytes:
    """All bytes that lie under the NULLs of a column, as it would be sent."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, pa.schema([("c", column.type)])) as writer:
        writer.write_batch(pa.record_batch({"c": column}))
    with pa.ipc.open_stream(sink.getvalue()) as reader:
        sent = reader.read_next_batch()["c"]
    nulls = np.flatnonzero(sent.is_null().to_numpy(zero_copy_only=False))
    _, *data = sent.buffers()
    if pa.types.is_string(sent.type):
        offsets = np.frombuffer(data[0], np.int32)
        return b"".join(data[1].to_pybytes()[offsets[n] : offsets[n + 1]] for n in nulls)
    if pa.types.is_boolean(sent.type):
        return np.unpackbits(np.frombuffer(data[0], np.uint8), bitorder="little")[nulls].tobytes()
    width = sent.type.bit_width // 8
    return b"".join(data[0].to_pybytes()[n * width : (n + 1) * width] for n in nulls)


@given(kind=st.sampled_from(VALUES), valid=st.lists(st.booleans(), min_size=1, max_size=40), start=st.integers(0, 12))
def test_nothing_is_left_under_a_null(kind: tuple[pa.DataType, Any], valid: list[bool], start: int) -> None:
    """Whatever the type and wherever the column begins, the values stay and what NULL hid is gone."""
    full = pa.array([kind[1]] * len(valid), kind[0])
    hidden = pa.Array.from_buffers(kind[0], len(full), [pa.array(valid).buffers()[1], *full.buffers()[1:]])
    column = hidden.slice(min(start, len(hidden)))
    if column.null_count:
        assert any(under(column))
    found = cleared(column)
    found.validate(full=True)
    assert found.equals(column)
    assert not any(under(found))


@pytest.mark.parametrize(
    "mask", [Mask(MaskKind.BUCKET, edges=(105,)), Mask(MaskKind.ROUND, number=10), Mask(MaskKind.NULL)]
)
def test_a_mask_leaves_nothing_under_a_null(plan: Callable[..., SealedPlan], mask: Mask) -> None:
    """Numbers that the mask hides are not sent beside it."""
    part = Slice(plan(masks={"n": mask, "s": Mask(MaskKind.KEEP_LAST, number=2)}))
    for batch in part.scan(["n", "s"], None):
        for column in batch.columns:
            assert not any(under(column))
    assert part.scan(["n"], pc.field("n").is_null()).read_all().num_rows == {
        MaskKind.BUCKET: 5,
        MaskKind.ROUND: 0,
        MaskKind.NULL: 20,
    }.get(mask.kind)
