"""Data files that come in ranges: the same rows, in few requests, and every changed byte is noticed."""

# ruff: noqa: DTZ001 - capture times are naive UTC
from __future__ import annotations

import os
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NoReturn

import numpy as np
import pyarrow as pa
import pytest

from keys.broker import LandingKey
from lake.clear.landing.encode import encode
from lake.clear.reading import ranged
from lake.clear.reading.decode import Decoding
from lake.clear.reading.plan import FileToRead
from lake.clear.reading.scan import Scan
from lake.clear.reading.slice import Slice
from lake.errors import IntegrityError, LakeError, UnavailableError
from lake.sealed.objects import Location, Part
from tests.clear.reading.conftest import STORED

REFUSED = (LakeError, OSError, pa.ArrowException, ValueError)


class Objects:
    """Objects in memory that count who asks for what; ``fault`` may have its own answer."""

    def __init__(self) -> None:
        self.content: dict[str, bytes] = {}
        self.asked: list[tuple[str, int, int]] = []
        self.fault: Callable[[Part], Part] = lambda part: part
        self._lock = threading.Lock()

    def part(self, key: str, start: int, length: int) -> Part:
        """As a store gives it."""
        with self._lock:
            self.asked.append((key, start, length))
        if key not in self.content:
            raise IntegrityError(f"the object {key} is missing")
        return self.fault(Part(self.content[key][start : start + length], len(self.content[key])))

    @property
    def location(self) -> Location:
        """For who reads."""
        return Location("memory", "", self.part)


@pytest.fixture
def objects() -> Objects:
    """None yet."""
    return Objects()


def _unused(_binding: object) -> NoReturn:
    raise AssertionError("nothing is wrapped here")


def put(objects: Objects, number: int, rows: int = 10) -> FileToRead:
    """One file whose texts do not compress."""
    texts = np.random.default_rng(number).bytes(rows * 16)
    times = [datetime(2026, 7, 1) + timedelta(seconds=row) for row in range(rows)]
    table = pa.table(
        [times, ["x"] * rows, range(rows), [texts[at * 16 : at * 16 + 16].hex() for at in range(rows)]], schema=STORED
    )
    key = LandingKey(f"{number:032x}", os.urandom(32), os.urandom(32), _unused)
    encoded = encode(table, key)
    name = f"data/{key.file_id}.parquet"
    objects.content[name] = bytes(encoded.content)
    return FileToRead(
        file_id=key.file_id,
        object_key=name,
        format=encoded.format,
        format_version=encoded.format_version,
        length=encoded.length,
        rows=rows,
        number=number,
        label=None,
        sensitivity=1,
        dek=key.dek,
        aad_prefix=key.aad_prefix,
    )


def rows(objects: Objects, files: list[FileToRead], columns: list[str] | None = None) -> pa.Table:
    """Everything in some files."""
    scan = Scan(objects.location, STORED, columns or STORED.names, None)
    return pa.Table.from_batches([batch for _, batch in scan.rows(files)])


def test_a_small_file_is_read_with_one_request(objects: Objects) -> None:
    """Whole, whatever is asked of it."""
    file = put(objects, 1)
    table = rows(objects, [file])
    assert table["n"].to_pylist() == list(range(10))
    assert objects.asked == [(file.object_key, 0, file.length)]


def test_of_a_large_file_only_what_is_asked_for_is_read(objects: Objects) -> None:
    """Its end, its first four bytes, and one column of four."""
    file = put(objects, 1, rows=60_000)
    assert file.length > 4 * ranged.WHOLE
    table = rows(objects, [file], ["type"])
    assert table.num_rows == 60_000
    assert objects.asked[:2] == [
        (file.object_key, file.length - ranged.END, ranged.END),
        (file.object_key, 0, 4),
    ]
    assert len(objects.asked) == 3
    assert sum(length for _, _, length in objects.asked) < file.length / 2


def test_a_long_range_is_read_in_pieces(objects: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are put together in their order."""
    monkeypatch.setattr(ranged, "PIECE", 100_000)
    file = put(objects, 1, rows=80_000)
    opened = ranged.RangedObject(file.object_key, file.length, objects.part)
    assert opened.read(5, 1_234_567) == objects.content[file.object_key][5 : 5 + 1_234_567]
    assert len(objects.asked) == 1 + 13
    assert opened.read(file.length - 3, 100) == objects.content[file.object_key][-3:]


def test_many_files_are_opened_together(objects: Objects) -> None:
    """Their requests wait for each other's company and not for each other's end."""
    files = [put(objects, number) for number in range(8)]
    together = threading.Barrier(8, timeout=30)

    def wait(part: Part) -> Part:
        together.wait()
        return part

    objects.fault = wait
    scan = Scan(objects.location, STORED, ["n"], None)
    assert [found.file_id for found, _ in scan.rows(files)] == [file.file_id for file in files]


def test_a_changed_byte_is_noticed_wherever_it_is(objects: Objects) -> None:
    """Every 7th byte of a file, each in turn, and those of its clear ends one by one."""
    file = put(objects, 1)
    good = objects.content[file.object_key]
    for at in sorted({*range(0, len(good), 7), *range(12), *range(len(good) - 12, len(good))}):
        objects.content[file.object_key] = good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :]
        with pytest.raises(REFUSED):
            rows(objects, [file])
    objects.content[file.object_key] = good
    assert rows(objects, [file]).num_rows == 10


@pytest.mark.parametrize("where", ["head", "column", "footer", "magic"])
def test_a_changed_byte_of_a_large_file_is_noticed(objects: Objects, where: str) -> None:
    """In what is read at once, and in what is read as it is asked for."""
    file = put(objects, 1, rows=60_000)
    at = {"head": 2, "column": file.length // 2, "footer": file.length - 100, "magic": file.length - 1}[where]
    good = objects.content[file.object_key]
    objects.content[file.object_key] = good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :]
    with pytest.raises(REFUSED):
        rows(objects, [file])


def test_an_object_of_another_length_is_damage(objects: Objects) -> None:
    """Longer, shorter, gone; and one that changes under an open reader."""
    file = put(objects, 1, rows=60_000)
    good = objects.content[file.object_key]
    for content in (good + b"x", good[:-1], good[1:], b""):
        objects.content[file.object_key] = content
        with pytest.raises(IntegrityError):
            Decoding(file, objects.location).open()
    objects.content[file.object_key] = good
    opened = Decoding(file, objects.location).open()
    objects.content[file.object_key] = good + b"x"
    with pytest.raises(IntegrityError):
        opened.read(0, STORED.names)
    del objects.content[file.object_key]
    with pytest.raises(IntegrityError, match="missing"):
        Decoding(file, objects.location).open()


def test_fewer_bytes_than_were_asked_for_are_never_taken_for_all(objects: Objects) -> None:
    """An answer that came short is damage, and not the end of the file."""
    file = put(objects, 1, rows=60_000)
    opened = Decoding(file, objects.location).open()
    objects.fault = lambda part: Part(part.content[:-1], part.total)
    with pytest.raises(IntegrityError):
        opened.read(0, STORED.names)


def test_a_store_that_fails_in_the_middle_is_not_damage(
    objects: Objects, plan: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store's error comes through Arrow as it was raised, and out of a slice too."""
    file = put(objects, 1, rows=60_000)
    seen = 0

    def fail(part: Part) -> Part:
        nonlocal seen
        seen += 1
        if seen > 2:
            raise UnavailableError("the store is away", hint="try again")
        return part

    objects.fault = fail
    with pytest.raises(UnavailableError, match="the store is away"):
        rows(objects, [file])
    seen = 0
    found = Slice(plan(location=objects.location, files=(file,)))  # type: ignore[arg-type]
    with pytest.raises(UnavailableError, match="the store is away"):
        list(found.tagged(["n", "s"], None))
    assert isinstance(found.failure, UnavailableError)
