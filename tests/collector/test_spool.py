"""The spool: what was taken is sent once and in order, whatever ends the process; nothing lies there in the clear."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from keys.errors import SecretFileError
from lake.collector import files, folder
from lake.collector.files import Stored
from lake.collector.folder import ensure_key
from lake.collector.spool import MIB, Spool
from lake.errors import IntegrityError, LeaseHeldError, UsageError
from tests.collector.spools import KEY, LEASES, MARKER, bytes_of, drain, event, flat, opened, put
from tests.forking import run

STEPS = (
    "spool.keyed",
    "spool.opened",
    "spool.appended",
    "spool.drafted",
    "spool.stored",
    "spool.halved",
    "spool.closed",
    "spool.saved",
    "spool.done",
    "spool.doomed",
    "spool.key_overwritten",
    "spool.destroyed",
)


def test_what_is_taken_is_sent_once_in_order(tmp_path: Path) -> None:
    spool = opened(tmp_path / "s")
    for number in range(20):
        assert put(spool, number)
        if number % 7 == 0:
            spool.close_batch()
    drained = drain(spool)
    assert flat(drained) == list(range(20))
    assert len({batch for batch, _ in drained}) == len(drained)
    assert spool.waiting == 0
    assert spool.size == 0
    assert spool.state.totals == {"recorded": 20, "sent": 20}


def test_a_batch_has_events_of_one_lease_and_says_what_it_is(tmp_path: Path) -> None:
    spool = opened(tmp_path / "s")
    spool.count("context.unlisted", 3)
    put(spool, 1, 2)
    put(spool, 3, lease=LEASES[1])
    spool.close_batch()
    first = spool.first()
    assert first is not None
    assert first.lease == LEASES[0]
    assert first.header["seq"] == [1, 2]
    assert first.header["captured"] == ["2026-11-27T09:00:00.000001+00:00", "2026-11-27T09:00:00.000002+00:00"]
    assert first.header["filter"] == {"rules": "", "dropped": {"context.unlisted": 3}}
    assert first.header["types"] == ["focus"]
    spool.finish([first.name], {})
    second = spool.first()
    assert second is not None
    assert (second.lease, second.header["seq"]) == (LEASES[1], [3, 3])
    assert second.header["filter"]["dropped"] == {}


def test_sending_again_is_the_same_batch(tmp_path: Path) -> None:
    spool = opened(tmp_path / "s")
    put(spool, 1, 2)
    spool.close()
    spool = opened(tmp_path / "s")
    first = spool.first()
    spool.close()
    again = opened(tmp_path / "s").first()
    assert first is not None
    assert again is not None
    assert (first.header, first.body) == (again.header, again.body)


def test_nothing_lies_there_in_the_clear(tmp_path: Path) -> None:
    spool = opened(tmp_path / "s")
    put(spool, 1, 2, marks={"cursor": MARKER})
    put(spool, 3, lease=LEASES[1])
    spool.sync()
    marks = (MARKER.encode(), KEY, b"token", b"laptop-7", b"2026-11")
    assert not [mark for mark in marks if mark in bytes_of(tmp_path)]
    spool.close()
    assert not [mark for mark in marks if mark in bytes_of(tmp_path)]
    for file in tmp_path.rglob("*"):
        assert file.stat().st_mode & 0o077 == 0


def test_full_takes_nothing_more_and_takes_again_when_there_is_room(tmp_path: Path) -> None:
    spool = opened(tmp_path / "s", most=MIB)
    taken = []
    for number in range(10_000):
        if not put(spool, number):
            break
        taken.append(number)
    assert 100 < len(taken) < 10_000
    assert not put(spool, -1)
    assert spool.size < MIB
    assert flat(drain(spool)) == taken
    assert put(spool, -1)


def test_a_disk_that_is_full_takes_nothing_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = opened(tmp_path / "s")
    assert put(spool, 1)
    write = os.write
    monkeypatch.setattr(os, "write", lambda to, content: write(to, content[:20]))
    assert not put(spool, 2)
    monkeypatch.undo()
    assert put(spool, 3)
    spool.close()
    assert flat(drain(opened(tmp_path / "s"))) == [1, 3]


def test_a_disk_that_is_full_when_a_batch_begins_or_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = opened(tmp_path / "s")
    assert put(spool, 1)
    spool.count("context.unlisted", 2)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lake.collector.files.replace_file", full)
    monkeypatch.setattr("lake.collector.folder.replace_file", full)
    assert not put(spool, 2, lease=LEASES[1])
    with pytest.raises(OSError, match="No space"):
        spool.close_batch()
    monkeypatch.undo()
    assert put(spool, 3, lease=LEASES[1])
    first = spool.first()
    assert first is not None
    assert first.header["filter"]["dropped"] == {"context.unlisted": 2}
    monkeypatch.setattr("lake.collector.files.os.write", lambda _, content: len(content) - 1)
    assert not put(spool, 4, lease=LEASES[2])
    monkeypatch.undo()
    assert flat(drain(spool)) == [1, 3]


def test_another_key_opens_nothing_and_destroys_nothing(tmp_path: Path) -> None:
    spool = opened(tmp_path / "s")
    put(spool, 1)
    spool.close()
    before = bytes_of(tmp_path / "s" / "batches")
    with pytest.raises(IntegrityError, match="does not open with this key"):
        Spool(tmp_path / "s", bytes(32))
    assert bytes_of(tmp_path / "s" / "batches") == before
    assert flat(drain(opened(tmp_path / "s"))) == [1]


def test_one_process_at_a_time(tmp_path: Path) -> None:
    spool = opened(tmp_path / "s")
    with pytest.raises(LeaseHeldError):
        opened(tmp_path / "s")
    assert folder.owner(tmp_path / "s") == os.getpid()
    spool.close()
    assert folder.owner(tmp_path / "s") is None
    opened(tmp_path / "s").close()


def test_a_key_file_is_made_for_its_owner_only(tmp_path: Path) -> None:
    key = ensure_key(tmp_path / "k")
    assert len(key) == 32
    assert ensure_key(tmp_path / "k") == key
    (tmp_path / "k").chmod(0o644)
    with pytest.raises(SecretFileError):
        ensure_key(tmp_path / "k")
    (tmp_path / "short").write_bytes(b"x")
    (tmp_path / "short").chmod(0o600)
    with pytest.raises(UsageError):
        ensure_key(tmp_path / "short")
    (tmp_path / "open").mkdir(mode=0o755)
    with pytest.raises(UsageError, match="open to others"):
        opened(tmp_path / "open")


@pytest.mark.parametrize("cut", [1, 9, 40, 200])
def test_half_a_frame_is_cut_off(tmp_path: Path, cut: int) -> None:
    crashed(tmp_path, "put(spool, 1); put(spool, 2); os._exit(9)", code=9)
    (file,) = (tmp_path / "s" / "batches").glob("*.open")
    os.truncate(file, file.stat().st_size - cut)
    spool = opened(tmp_path / "s")
    assert flat(drain(spool)) == [1]
    assert spool.state.totals["spool.torn"] == 1


def test_a_changed_byte_loses_its_frame_and_is_counted(tmp_path: Path) -> None:
    crashed(tmp_path, "put(spool, 1); put(spool, 2); put(spool, 3); os._exit(9)", code=9)
    (file,) = (tmp_path / "s" / "batches").glob("*.open")
    content = bytearray(file.read_bytes())
    at, frames = 0, []
    while at < len(content):
        frames.append(at)
        at += 8 + int.from_bytes(content[at : at + 4], "big")
    content[frames[2] + 100] ^= 1
    file.write_bytes(content)
    spool = opened(tmp_path / "s")
    assert flat(drain(spool)) == [1, 3]
    assert spool.state.totals["spool.damaged"] == 1


def test_a_changed_batch_is_counted_and_does_not_hold_up_the_rest(tmp_path: Path) -> None:
    spool = opened(tmp_path / "s")
    for number in (1, 2):
        put(spool, number)
        spool.close_batch()
    file = min((tmp_path / "s" / "batches").glob("*.batch"))
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert flat(drain(spool)) == [2]
    assert spool.state.totals["spool.damaged"] == 1


def test_frames_and_batches_stand_where_they_were_written(tmp_path: Path) -> None:
    """A batch that somebody has put in the place of another does not open."""
    spool = opened(tmp_path / "s")
    for number in (1, 2):
        put(spool, number)
        spool.close_batch()
    spool.close()
    first, second = sorted((tmp_path / "s" / "batches").glob("*.batch"))
    second.write_bytes(first.read_bytes())
    assert flat(drain(opened(tmp_path / "s"))) == [1]


def test_what_is_destroyed_opens_no_more(tmp_path: Path) -> None:
    spool = opened(tmp_path / "s")
    put(spool, 1, 2)
    spool.close_batch()
    put(spool, 3, lease=LEASES[1])
    saved = {file: file.read_bytes() for file in (tmp_path / "s" / "batches").iterdir()}
    assert spool.destroy("paused", LEASES[0]) == 2
    assert flat(drain(spool)) == [3]
    put(spool, 4, lease=LEASES[1])
    assert spool.destroy("paused") == 1
    assert spool.state.totals["paused"] == 3
    assert list((tmp_path / "s" / "leases").iterdir()) == []
    spool.close()
    # Copies of the files are worth nothing without the keys.
    for file, content in saved.items():
        file.write_bytes(content)
    assert flat(drain(opened(tmp_path / "s"))) == []


def test_numbers_and_cursors_go_on_after_a_crash(tmp_path: Path) -> None:
    crashed(tmp_path, "put(spool, 1, 2, marks={'c': 5}, keys=2); spool.sync(); put(spool, 3, marks={'c': 6}, keys=1)"
            "; os._exit(9)", code=9)  # fmt: skip
    spool = opened(tmp_path / "s")
    state = spool.state
    assert (state.events, state.keys, state.marks, state.totals["recorded"]) == (3, 3, {"c": 6}, 3)
    spool.close()
    again = opened(tmp_path / "s").state
    assert (again.events, again.keys, again.marks, again.totals["recorded"]) == (3, 3, {"c": 6}, 3)


def test_a_batch_in_two_is_the_same_events_in_order(tmp_path: Path) -> None:
    """Under ids of its own each, with times, numbers and types of its events; and what was left out is told once."""
    spool = opened(tmp_path / "s")
    spool.count("context.unlisted", 3)
    put(spool, 1, 2, 3, 4, 5)
    spool.close_batch()
    put(spool, 6)
    whole = spool.first()
    assert whole is not None
    assert spool.split(whole.name)
    left = spool.first()
    assert left is not None
    assert left.header == whole.header | {
        "batch": f"{whole.header['batch']}.0",
        "seq": [1, 2],
        "captured": [event(1)["ts"], event(2)["ts"]],
    }
    assert spool.split(left.name)
    spool.close()
    spool = opened(tmp_path / "s")
    first, name = spool.first(), str(whole.header["batch"])
    assert first is not None
    assert not spool.split(first.name)
    assert (first.header["filter"]["dropped"], first.body) == ({"context.unlisted": 3}, spool.first().body)  # type: ignore[union-attr]
    drained = drain(spool)
    assert [some for _, some in drained] == [[1], [2], [3, 4, 5], [6]]
    assert [batch for batch, _ in drained][:3] == [f"{name}.00", f"{name}.01", f"{name}.1"]
    assert (spool.size, list((tmp_path / "s" / "batches").iterdir())) == (0, [])


def test_what_a_batch_that_never_lands_would_have_told_is_told_by_the_next(tmp_path: Path) -> None:
    """Refused or destroyed: the lake still hears what was left out, and how many events went with it."""
    spool = opened(tmp_path / "s")
    for number, lease in enumerate(LEASES):
        spool.count("field.password", 8)
        put(spool, number, lease=lease)
        spool.close_batch()
    batch = spool.first()
    assert batch is not None
    spool.give_up(batch, "refused.malformed_input")
    spool.destroy("paused", LEASES[1])
    spool.close()
    spool = opened(tmp_path / "s")
    batch = spool.first()
    assert batch is not None
    spool.finish([batch.name], {})
    put(spool, 9)
    spool.close_batch()
    told = [batch.header["filter"]["dropped"], spool.first().header["filter"]["dropped"]]  # type: ignore[union-attr]
    assert told == [{"field.password": 8}, {"refused.malformed_input": 1, "field.password": 16, "paused": 1}]


@pytest.mark.parametrize("full", [1, 2])
def test_a_full_disk_leaves_a_batch_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: int) -> None:
    """And it is there once: no half of it is taken up later."""
    spool = opened(tmp_path / "s")
    put(spool, 1, 2)
    spool.close_batch()
    store, left = files.store, [full]

    def failing(*arguments: Any, **options: Any) -> Stored:
        left[0] -= 1
        if left[0] == 0:
            raise OSError(errno.ENOSPC, "full")
        return store(*arguments, **options)

    monkeypatch.setattr(files, "store", failing)
    with pytest.raises(OSError, match="full"):
        spool.split("1")
    monkeypatch.undo()
    assert drain(spool) == [(f"{spool.state.spool}-1", [1, 2])]
    spool.close()
    assert opened(tmp_path / "s").waiting == 0


@contextmanager
def killing(step: str, at: int) -> Iterator[None]:
    """In a process of its own: die at a step, the at-th time that it comes."""
    left = [at]

    def watch(name: str, arguments: tuple[Any, ...]) -> None:
        if name == "lake.step" and arguments and arguments[0] == step:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), 9)

    sys.addaudithook(watch)
    yield


CRASHING = """
import os, sys
from pathlib import Path
from tests.collector.spools import *
from tests.collector.test_spool import killing, lived
spool = opened(Path(sys.argv[1]) / "s")
said = os.open(Path(sys.argv[1]) / "said", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
"""


def lived(spool: Spool, said: int) -> None:
    """A collector's life: takes, closes, sends and destroys; writes down what it was told."""
    for number in range(1, 13):
        lease = LEASES[number // 5]
        if put(spool, number, lease=lease, marks={"c": number}, keys=1):
            os.write(said, f"taken {number}\n".encode())
        if number % 3 == 0:
            spool.sync()
        if number % 4 == 0:
            spool.close_batch()
            batch = spool.first()
            assert batch is not None
            if batch.rows > 1 and spool.split(batch.name):
                batch = spool.first()
                assert batch is not None
            os.write(said, f"sent {batch.header['batch']} {batch.rows}\n".encode())
            spool.finish([batch.name], {"sent": batch.rows})
        if number == 10:
            os.write(said, b"destroying\n")
            spool.destroy("paused", LEASES[2])
            os.write(said, b"destroyed\n")


def crashed(tmp_path: Path, body: str, *, code: int) -> None:
    """Run something on the spool in a process that ends badly."""
    done = run(CRASHING + body, tmp_path)
    assert done.returncode == code, done.stderr


@pytest.mark.parametrize("at", [1, 2, 4])
@pytest.mark.parametrize("step", STEPS)
def test_killed_anywhere_nothing_taken_is_lost_or_doubled(tmp_path: Path, step: str, at: int) -> None:
    done = run(CRASHING + f"with killing({step!r}, {at}): lived(spool, said)", tmp_path)
    assert done.returncode in {0, -9}, done.stderr
    said = (tmp_path / "said").read_text().splitlines() if (tmp_path / "said").exists() else []
    taken = [int(line.split()[1]) for line in said if line.startswith("taken")]
    spool = opened(tmp_path / "s")
    state = spool.state
    recorded, cursor = state.totals["recorded"], state.marks.get("c", 0)
    # The one that was being taken when it died may be there or not; cursor, numbers and events agree in any case.
    assert recorded in {len(taken), len(taken) + 1}
    assert state.events == state.keys == recorded == cursor
    left = flat(drain(spool))
    assert left == sorted(set(left))
    gone = state.totals["paused"]
    if "destroyed" in said or gone:
        assert 10 not in left
    assert state.totals["sent"] + gone == recorded
    assert [line for line in said if line.startswith("sent")] or left == list(range(1, recorded + 1))
    spool.close()
