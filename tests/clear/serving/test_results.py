"""What comes back from a sandbox, changed in every way that a taken-over one could think of."""

# ruff: noqa: E501 - one case a line
from __future__ import annotations

import json
import struct
import subprocess
import sys
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from lake.clear.serving.results import MOST_ROWS, ResultError, batch_of, schema_of

KINDS: dict[str, tuple[pa.DataType, list[Any]]] = {
    "i": (pa.int32(), [1, None, 3]),
    "s": (pa.string(), ["one", None, "three"]),
    "L": (pa.large_string(), ["one", None, "three"]),
    "y": (pa.binary(), [b"\xff", None, b""]),
    "l": (pa.list_(pa.string()), [["a", None], None, []]),
    "m": (pa.map_(pa.string(), pa.int64()), [[("k", 1)], None, []]),
    "t": (pa.struct([("a", pa.int8()), ("b", pa.list_(pa.bool_()))]), [{"a": 1, "b": [True]}, None, {"a": None, "b": None}]),
    "d": (pa.decimal128(38, 0), [1, None, 3]),
    "e": (pa.dictionary(pa.uint8(), pa.string()), ["x", None, "y"]),
    "f": (pa.list_(pa.float64(), 2), [[1.0, 2.0], None, [3.0, None]]),
    "n": (pa.null(), [None, None, None]),
    "u": (pa.timestamp("us", "UTC"), [0, None, 1]),
    "o": (pa.opaque(pa.binary(), "bignum", "DuckDB"), [b"1", None, b""]),
}  # fmt: skip


def batch(*names: str) -> pa.RecordBatch:
    chosen = {name: KINDS[name] for name in names or KINDS}
    return pa.RecordBatch.from_arrays(
        [pa.array(values, kind) for kind, values in chosen.values()],
        schema=pa.schema([(name, kind) for name, (kind, _) in chosen.items()]),
    )


def stream(*batches: pa.RecordBatch, schema: pa.Schema | None = None, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema or batches[0].schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        for one in batches:
            writer.write_batch(one)
    return bytes(sink.getvalue().to_pybytes())


def refused(payload: bytes, schema: pa.Schema) -> None:
    with pytest.raises(ResultError) as caught:
        batch_of(pa.py_buffer(payload), schema)
    assert caught.value.__cause__ is None
    assert "three" not in str(caught.value)


def test_honest_batches_pass() -> None:
    """Of every type that the engine gives, with their schema."""
    one = batch()
    schema = schema_of(one.schema.serialize())
    assert schema.equals(one.schema, check_metadata=True)
    assert batch_of(pa.py_buffer(stream(one)), schema).equals(one)


@pytest.mark.parametrize(
    "kind",
    [
        pa.string_view(), pa.binary_view(), pa.list_view(pa.int8()), pa.large_list_view(pa.int8()), pa.run_end_encoded(pa.int32(), pa.int8()),
        pa.binary(0), pa.binary(4), pa.dictionary(pa.int8(), pa.int64()), pa.dictionary(pa.int8(), pa.list_(pa.string())), pa.dense_union([pa.field("a", pa.int8())]),
        pa.list_(pa.string_view()), pa.struct([("a", pa.list_(pa.binary_view()))]), pa.map_(pa.string(), pa.run_end_encoded(pa.int32(), pa.int8())),
        pa.uuid(), pa.json_(), pa.fixed_shape_tensor(pa.int8(), [2]), pa.opaque(pa.string_view(), "x", "y"),
    ],
    ids=str,
)  # fmt: skip
def test_types_that_no_result_has_are_refused(kind: pa.DataType) -> None:
    """Views, runs, and extensions: a few bytes of them can stand for very many."""
    with pytest.raises(ResultError):
        schema_of(pa.schema([("a", pa.int8()), ("x", kind)]).serialize())


def test_schemas_that_are_none_or_say_more() -> None:
    """No bytes, other bytes, a cut one, and metadata that a reader would act on."""
    whole = pa.schema([("a", pa.int8())]).serialize().to_pybytes()
    for payload in (b"", b"x", whole[:-8], whole[8:], stream(batch())[200:], b"\xff" * 100):
        with pytest.raises(ResultError):
            schema_of(pa.py_buffer(payload))
    with pytest.raises(ResultError):
        schema_of(pa.schema([("a", pa.int8())], metadata={"pandas": "{}"}).serialize())


def test_batches_of_another_schema_or_number() -> None:
    """A name, a type, an order, no batch, two batches, another message."""
    one = batch("i", "s")
    for other in (one.rename_columns(["i", "x"]), one.select(["s", "i"]), one.select(["i"]), batch("i", "L"), batch()):
        refused(stream(other), one.schema)
    refused(stream(schema=one.schema), one.schema)
    refused(stream(one, one), one.schema)
    refused(one.schema.serialize().to_pybytes(), one.schema)
    for payload in (b"", b"\0" * 64, stream(one)[8:], stream(one)[:-60]):
        refused(payload, one.schema)


def test_compressed_buffers_are_refused() -> None:
    """They could be small as they come and large as they are read; dictionaries too."""
    zeros = pa.RecordBatch.from_arrays([pa.array([0] * 100_000)], ["a"])
    for codec in ("lz4", "zstd"):
        refused(stream(zeros, compression=codec), zeros.schema)
        refused(stream(batch("e"), compression=codec), batch("e").schema)
    assert batch_of(pa.py_buffer(stream(zeros)), zeros.schema).num_rows == 100_000


def test_small_batches_of_very_many_rows_are_refused() -> None:
    """Rows and items without buffers cost nothing, and would cost whoever shows them."""
    for column in (
        pa.nulls(MOST_ROWS + 1),
        pa.FixedSizeListArray.from_arrays(pa.nulls(50_000_000), 50_000),
        pa.ListArray.from_arrays(pa.array([0, 1 << 24], pa.int32()), pa.nulls(1 << 24)),
        pa.StructArray.from_arrays([pa.LargeListArray.from_arrays(pa.array([0, 1 << 24], pa.int64()), pa.nulls(1 << 24))], ["a"]),
        pa.array([0] * (MOST_ROWS + 1), pa.int8()),
    ):  # fmt: skip
        one = pa.RecordBatch.from_arrays([column], ["a"])
        refused(stream(one), one.schema)
    honest = pa.RecordBatch.from_arrays([pa.nulls(MOST_ROWS)], ["a"])
    assert batch_of(pa.py_buffer(stream(honest)), honest.schema).num_rows == MOST_ROWS


def test_dictionaries_of_long_texts_are_refused() -> None:
    """A text of a megabyte that a hundred thousand rows point to."""
    indices = pa.array([0] * 100_000, pa.uint8())
    for length, passes in ((100, True), (1 << 20, False)):
        one = pa.RecordBatch.from_arrays([pa.DictionaryArray.from_arrays(indices, pa.array(["x" * length]))], ["a"])
        if passes:
            assert batch_of(pa.py_buffer(stream(one)), one.schema).num_rows == 100_000
        else:
            refused(stream(one), one.schema)


@pytest.mark.parametrize("offsets", [[0, 5, 3, 6], [0, 1 << 30, 3, 6], [-4, 0, 3, 6], [0, 3, 6, 1 << 30], [6, 3, 3, 0]])
@pytest.mark.parametrize(
    "values", [["ab", "cd", "ef"], [b"ab", b"cd", b"ef"], [[1, 2], [3, 4], [5, 6]], [[Decimal(1), Decimal(2)]] * 3, [[("k", Decimal(1)), ("l", Decimal(2))]] * 3], ids=repr
)  # fmt: skip
def test_offsets_that_point_elsewhere_are_refused(values: list[Any], offsets: list[int]) -> None:
    """Also those in the middle, which Arrow itself does not look at when it reads; also around decimals."""
    kind = pa.map_(pa.string(), pa.decimal128(9)) if isinstance(values[0][0], tuple) else None
    one = pa.RecordBatch.from_arrays([pa.array(values, kind)], ["a"])
    payload = stream(one)
    old = struct.pack("<4i", 0, 2, 4, 6)
    assert payload.count(old) == 1
    assert batch_of(pa.py_buffer(payload), one.schema).equals(one)
    refused(payload.replace(old, struct.pack("<4i", *offsets)), one.schema)


def test_nulls_and_decimals_in_lists_pass() -> None:
    """Items without buffers, and numbers with more digits than their type says."""
    large = pa.Array.from_buffers(
        pa.decimal128(38), 2, [None, pa.py_buffer(b"\xff" * 15 + b"\x7f" + b"\0" * 15 + b"\x80")]
    )
    lists = pa.ListArray.from_arrays(pa.array([0, 1, 2], pa.int32()), large)
    nulls = pa.ListArray.from_arrays(pa.array([0, 90, 100], pa.int32()), pa.nulls(100))
    both = pa.StructArray.from_arrays([lists, nulls], ["l", "n"])
    one = pa.RecordBatch.from_arrays([large, lists, nulls, both], ["a", "b", "c", "d"])
    assert batch_of(pa.py_buffer(stream(one)), one.schema).equals(one)


def test_texts_and_indices_that_are_none() -> None:
    """Bytes that are not UTF-8, and an index beyond its dictionary."""
    payload = stream(batch("s"))
    refused(payload.replace(b"three", b"th\xff\xfee"), batch("s").schema)
    payload = stream(batch("e"))
    place = payload.rindex(bytes([0, 0, 1]))
    refused(payload[:place] + bytes([0, 0, 200]) + payload[place + 3 :], batch("e").schema)


MUTATE = """
import json, random, sys
import pyarrow as pa
from lake.clear.serving.results import ResultError, batch_of, schema_of
from tests.clear.serving.test_results import KINDS, batch, stream
chance = random.Random(int(sys.argv[1]))
passed = refused = 0
samples = [(stream(batch(name)), batch(name).schema) for name in KINDS] + [(stream(batch()), batch().schema)]
for turn in range(int(sys.argv[2])):
    payload, schema = chance.choice(samples)
    content = bytearray(payload if turn % 5 else schema.serialize())
    for _ in range(chance.choice([1, 1, 2, 8])):
        place = chance.randrange(len(content))
        match chance.randrange(6):
            case 0: content[place] = chance.randrange(256)
            case 1: content[place] ^= 1 << chance.randrange(8)
            case 2: content[place : place + 4] = chance.choice([b"\\xff\\xff\\xff\\xff", b"\\xff\\xff\\xff\\x7f", b"\\0\\0\\0\\x80", b"\\0\\0\\0\\0"])
            case 3: content[place : place + 8] = chance.choice([b"\\xff" * 8, b"\\xff" * 7 + b"\\x7f", b"\\0" * 8, b"\\0" * 5 + b"\\x01\\0\\0"])
            case 4: del content[place : place + chance.randrange(1, 16)]
            case 5: content[place:place] = content[: chance.randrange(1, 16)]
        if not content:
            break
    try:
        if turn % 5:
            found = batch_of(pa.py_buffer(bytes(content)), schema)
            try:
                found.to_pylist()
            except (OverflowError, ValueError):
                pass  # a time that Python does not know
            stream(found)
        else:
            str(schema_of(pa.py_buffer(bytes(content))))
        passed += 1
    except ResultError:
        refused += 1
print(json.dumps([passed, refused]))
"""


def mutated(seed: int, turns: int) -> tuple[int, int]:
    ran = subprocess.run([sys.executable, "-c", MUTATE, str(seed), str(turns)], capture_output=True, text=True, timeout=600, check=False)  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-2000:]
    passed, refused_ones = json.loads(ran.stdout)
    return passed, refused_ones


def test_thousands_of_changed_payloads_crash_nothing() -> None:
    """Each is refused, or can be read to the last value; in a process of its own, so that a crash is seen."""
    passed, refused_ones = mutated(1, 6000)
    assert passed + refused_ones == 6000
    assert refused_ones > 1000


@pytest.mark.soak
def test_hundreds_of_thousands_of_changed_payloads_crash_nothing() -> None:
    """The same, longer and with other seeds."""
    for seed in range(10):
        assert sum(mutated(seed, 50_000)) == 50_000
