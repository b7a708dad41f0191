"""Chunks in shared memory, the cache that keeps them, and the scans that make them."""

# ruff: noqa: E501 - one case a line
from __future__ import annotations

import fcntl
import gc
import mmap
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.clear.reading.plan import SliceKey
from lake.clear.sandbox.mapping import mapped
from lake.clear.serving.cache import MOST_DESCRIPTORS, SliceCache
from lake.clear.serving.chunks import FIRST_BYTES, Chunk, Gathered, gathered, pieces
from lake.clear.serving.handover import AHEAD, Handover
from lake.errors import LakeError, LimitExceededError
from tests.clear.serving.sandboxes import NOTHING_KEPT, SOURCE, Held, descriptors, numbers

SCHEMA = pa.schema([("a", pa.int64())])
ERA, OTHER_ERA = ("policy", 1), ("policy", 2)
KEY = SliceKey(ERA, b"one")


def batch(rows: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array(range(rows), pa.int64())], schema=SCHEMA)


def chunk(rows: int = 10) -> Chunk:
    return Chunk(Gathered(SCHEMA, [batch(rows)], {SOURCE: rows}, 0))


def tries(descriptor: int) -> list[int]:
    """What a process that got the descriptor can do with it; the numbers of what worked."""
    size = os.fstat(descriptor).st_size

    def remap() -> None:
        mmap.mmap(descriptor, size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE).close()

    def reopen() -> None:
        with open(f"/proc/self/fd/{descriptor}", "r+b") as file:  # noqa: PTH123 - by descriptor
            file.write(b"x")

    attempts: list[Callable[[], Any]] = [
        lambda: os.write(descriptor, b"x"),
        lambda: os.pwrite(descriptor, b"x", 0),
        lambda: os.ftruncate(descriptor, size + 4096),
        lambda: os.ftruncate(descriptor, 0),
        lambda: os.posix_fallocate(descriptor, 0, size + 4096),
        lambda: fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE),
        remap,
        reopen,
    ]
    worked = []
    for number, attempt in enumerate(attempts):
        try:
            attempt()
        except (OSError, ValueError):
            continue
        worked.append(number)
    return worked


def test_nobody_can_change_what_another_one_reads() -> None:
    """Neither this process nor a child that got the descriptor can write, grow, shrink, map for writing or unseal."""
    held = chunk()
    content = os.pread(held.descriptor, held.size, 0)
    assert tries(held.descriptor) == []
    pid = os.fork()
    if pid == 0:
        os._exit(len(tries(held.descriptor)))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert os.pread(held.descriptor, held.size + 10, 0) == content
    assert not os.get_inheritable(held.descriptor)
    assert os.readlink(f"/proc/self/fd/{held.descriptor}").startswith("/memfd:")  # noqa: PTH115 - not a path


def test_a_mapping_is_for_reading_and_goes_with_the_last_array() -> None:
    """The pages stay while a column refers to them, and no longer; the descriptor is closed at once."""
    held = chunk(1000)
    before = descriptors()
    buffer = mapped(os.dup(held.descriptor), held.size)
    assert descriptors() == before
    assert not buffer.is_mutable
    with pa.ipc.open_stream(buffer) as reader:
        column = reader.read_next_batch()["a"]
    address = buffer.address
    assert f"{address:x}-" in maps()
    del buffer, reader
    gc.collect()
    assert column.to_pylist() == list(range(1000))
    assert "r--s" in next(line for line in maps().splitlines() if line.startswith(f"{address:x}-"))
    del column
    gc.collect()
    assert f"{address:x}-" not in maps()


def maps() -> str:
    with open("/proc/self/maps") as file:  # noqa: PTH123 - of the system
        return file.read()


def test_mapping_nothing_fails_and_closes() -> None:
    """A descriptor that cannot be mapped is closed all the same."""
    before = descriptors()
    read, write = os.pipe()
    with pytest.raises(MemoryError):
        mapped(read, 4096)
    os.close(write)
    assert descriptors() == before


def test_batches_are_gathered_little_at_first() -> None:
    """All rows, in order, each chunk with whose rows it holds; descriptors go with the chunks."""
    before = descriptors()
    made = [part.shared() for part in gathered(SCHEMA, pieces((SOURCE, batch(5000)) for _ in range(200)))]
    assert sum(one.touched[SOURCE] for one in made) == 1_000_000
    assert FIRST_BYTES <= made[0].size < 2 * FIRST_BYTES < made[1].size < made[2].size
    assert descriptors() == before + len(made)
    read = [mapped(os.dup(one.descriptor), one.size) for one in made]
    assert sum(pa.ipc.open_stream(one).read_all().num_rows for one in read) == 1_000_000
    assert list(gathered(SCHEMA, [])) == []
    del made, read
    gc.collect()
    assert descriptors() == before


STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("put"), st.integers(0, 3), st.sampled_from(["", "c"]), st.frozensets(st.sampled_from("abc"), min_size=1), st.integers(1, 4000)
        ),
        st.tuples(st.just("find"), st.integers(0, 3), st.sampled_from(["", "c"]), st.frozensets(st.sampled_from("abc"), min_size=1)),
        st.tuples(st.just("era"), st.integers(0, 1)),
        st.tuples(st.just("wait"), st.integers(1, 40)),
    ),
    max_size=30,
)  # fmt: skip


@settings(deadline=None, max_examples=30)
@given(STEPS)
def test_the_cache_against_a_model(steps: list[Any]) -> None:
    """Only what was put under the very key and condition, of the era, not expired, with the columns; always bounded."""
    now = 0.0
    cache = SliceCache(150_000, 60, lambda: now)
    keys = [SliceKey(era, digest) for era in (ERA, OTHER_ERA) for digest in (b"one", b"two")]
    put: list[tuple[Any, str, frozenset[str], float, tuple[Chunk, ...]]] = []
    era: Any = None
    before = descriptors()
    for step in steps:
        match step:
            case ["put", number, condition, columns, rows]:
                made = (chunk(rows),)
                cache.put(keys[number], condition, sorted(columns), made)
                if keys[number].era == era:
                    put.append((keys[number], condition, columns, now + 60, made))
            case ["find", number, condition, columns]:
                found = cache.find(keys[number], condition, sorted(columns))
                fitting = [
                    one
                    for key, said, names, expires, one in put
                    if (key, said) == (keys[number], condition)
                    and columns <= names
                    and expires > now
                    and key.era == era
                ]
                assert found is None or any(found is one for one in fitting)
            case ["era", number]:
                era = (ERA, OTHER_ERA)[number]
                cache.keep_only(era)
                put = [one for one in put if one[0].era == era]
            case ["wait", seconds]:
                now += seconds
        assert 0 <= cache.size <= cache.most_bytes
    put.clear()
    made = found = fitting = ()  # type: ignore[assignment]
    cache.clear()
    gc.collect()
    assert cache.size == 0
    assert descriptors() == before


def test_what_is_kept_is_found_until_it_expires() -> None:
    """Also by a scan of fewer columns; using it does not make it live longer."""
    now = [0.0]
    cache = SliceCache(1 << 20, 60, lambda: now[0])
    cache.keep_only(ERA)
    held = [chunk()]
    cache.put(KEY, "c", ["a", "b"], held)
    assert cache.find(KEY, "c", ["b"]) == tuple(held)
    assert cache.find(KEY, "c", ["b", "z"]) is None
    assert cache.find(KEY, "d", ["b"]) is None
    assert cache.find(SliceKey(ERA, b"two"), "c", ["b"]) is None
    now[0] = 59.9
    assert cache.find(KEY, "c", ["a"]) is not None
    now[0] = 60
    assert cache.find(KEY, "c", ["a"]) is None
    assert cache.size == 0
    assert (cache.hits, cache.misses) == (2, 4)


def test_old_ones_make_room_and_none_is_too_large() -> None:
    """The one that was used longest ago goes first; a quarter is the most for one; nothing at all is kept in no room."""
    one = chunk(100)
    cache = SliceCache(5 * (one.size + 4096), 60)
    cache.keep_only(ERA)
    for number in range(5):
        cache.put(SliceKey(ERA, bytes([number])), "", ["a"], [one])
    assert cache.find(SliceKey(ERA, b"\0"), "", ["a"])
    cache.put(SliceKey(ERA, b"x"), "", ["a"], [one])
    assert cache.find(SliceKey(ERA, b"\0"), "", ["a"])
    assert cache.find(SliceKey(ERA, b"\1"), "", ["a"]) is None
    cache.put(KEY, "", ["a"], [one] * 6)
    assert cache.find(KEY, "", ["a"]) is None
    none = SliceCache(0, 60)
    none.keep_only(ERA)
    none.put(KEY, "", ["a"], [])
    assert none.find(KEY, "", ["a"]) is None


def test_descriptors_are_bounded_however_small_the_chunks() -> None:
    """Ten thousand little scans do not use up the gateway's table of files."""
    cache = SliceCache(1 << 30, 60)
    cache.keep_only(ERA)
    gc.collect()
    before = descriptors()
    for number in range(3 * MOST_DESCRIPTORS):
        cache.put(SliceKey(ERA, number.to_bytes(4, "big")), "", ["a"], [chunk(1)])
    gc.collect()
    assert descriptors() == before + MOST_DESCRIPTORS
    cache.keep_only(OTHER_ERA)
    gc.collect()
    assert (descriptors(), cache.size) == (before, 0)


class Counted(Held):
    """Counts how far it was read; ``gate`` holds it up after a number of batches."""

    def __init__(
        self, batches: int, gate: int = -1, error: Exception | None = None, key: SliceKey | None = None
    ) -> None:
        super().__init__(pa.Table.from_batches([batch(1)]), key)
        self.batches = batches
        self.read = 0
        self.gate = gate
        self.error = error
        self.entered, self.opened, self.left = threading.Event(), threading.Event(), threading.Event()

    def tagged(self, columns: Sequence[str], condition: Any, **_: Any) -> Iterator[Any]:
        """Batches of the size of a first chunk."""
        try:
            for number in range(self.batches):
                if number == self.gate:
                    self.entered.set()
                    assert self.opened.wait(20)
                self.read += 1
                yield SOURCE, batch(FIRST_BYTES // 8)
            if self.error:
                raise self.error
        finally:
            self.left.set()


def handover(source: Held, cache: SliceCache = NOTHING_KEPT) -> Handover:
    return Handover(source, ["a"], None, "null", cache)


def test_reading_ahead_is_bounded() -> None:
    """Before anything is asked nothing is read; after the first chunk only a few more are decoded."""
    source = Counted(1000)
    scan = handover(source)
    assert source.read == 0
    assert scan.next() is not None
    while scan._ready.qsize() < AHEAD:  # the decoder's own thread fills it
        time.sleep(0)
    # One chunk was taken, two are ready, one waits for room; chunks are of 1, 4, 16 and 32 batches.
    assert source.read <= 1 + 4 + 16 + 32
    scan.close()
    assert source.left.wait(20)
    assert source.read < 1000


def test_closing_lets_a_waiting_reader_go() -> None:
    """While the source is held up; nothing more is decoded once it goes on."""
    source = Counted(100, gate=0)
    scan = handover(source)
    found: list[Any] = []
    reading = threading.Thread(target=lambda: found.append(scan.next()))
    reading.start()
    assert source.entered.wait(20)
    scan.close()
    reading.join(20)
    assert found == [None]
    source.opened.set()
    assert source.left.wait(20)
    assert source.read <= 2


def test_waiting_for_a_slow_source_has_an_end() -> None:
    """A deadline that passes is told as such."""
    source = Counted(1, gate=0)
    scan = handover(source)
    with pytest.raises(TimeoutError):
        scan.next(time.monotonic() + 0.02)
    source.opened.set()
    scan.close()


def test_errors_come_after_what_was_read_and_nothing_of_them_is_kept() -> None:
    """The lake's own as they are, others without their text; such a scan is never found again."""
    for error, words in (
        (LimitExceededError("known"), "known"),
        (ValueError("canary"), "the slice could not be handed over"),
    ):
        cache = SliceCache(64 << 20, 60)
        cache.keep_only(ERA)
        scan = handover(Counted(1, error=error, key=KEY), cache)
        with pytest.raises(LakeError) as caught:
            assert [scan.next() for _ in range(3)] == []
        assert str(caught.value) == words
        assert cache.find(KEY, "null", ["a"]) is None


def test_a_whole_scan_is_kept_and_a_broken_off_one_is_not() -> None:
    """The second time nothing is read, and the rows count as having left all the same."""
    cache = SliceCache(64 << 20, 60)
    cache.keep_only(ERA)
    broken = Counted(100, key=KEY)
    scan = handover(broken, cache)
    scan.next()
    scan.close()
    assert broken.left.wait(20)
    assert cache.find(KEY, "null", ["a"]) is None
    source = Counted(3, key=KEY)
    for turn in range(2):
        scan = handover(source, cache)
        while scan.next() is not None:
            pass
        assert scan.next() is None
        assert source.read == 3
        assert source.touched[SOURCE] == 3 * (turn + 1) * (FIRST_BYTES // 8)


def test_no_rows_and_no_columns() -> None:
    """A scan of nothing ends; one of no column still has its rows."""
    assert handover(Counted(0)).next() is None
    scan = Handover(Held(numbers(7)), [], None, "null", NOTHING_KEPT)
    found = scan.next()
    assert found is not None
    assert pa.ipc.open_stream(mapped(os.dup(found.descriptor), found.size)).read_next_batch().num_rows == 7


def test_a_long_scan_that_is_kept_is_few_parts() -> None:
    """However long, it takes few descriptors; parts of one that is too long to be kept stay small."""
    for most, kept in ((16 << 30, True), (1 << 20, False)):
        cache = SliceCache(most, 60)
        cache.keep_only(ERA)
        source = Held(pa.Table.from_batches([batch(1 << 20)] * 40), KEY, 1 << 18)
        scan = Handover(source, ["a"], None, "null", cache)
        sizes = []
        while (part := scan.next()) is not None:
            sizes.append(part.size)
        assert sum(sizes) >= 320 << 20
        found = cache.find(KEY, "null", ["a"])
        assert (found is not None) == kept
        if found is not None:
            assert len(found) < 30
            assert max(sizes) <= (320 << 20) // 8 + (4 << 20)
        else:
            assert max(sizes) <= 12 << 20
        del found, part
        cache.clear()
