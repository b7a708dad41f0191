"""What was recorded and has not landed yet: encrypted batches in a folder, bounded, in order, each sent under one id.

Events are appended to one open batch, each call one sealed frame that survives the process at once and the machine
after :meth:`Spool.sync`. A closed batch is one sealed file that never changes, so that sending it again is the same
batch. What has landed, was refused for good or is destroyed is first written down as done, then removed.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import sys
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keys import envelope
from keys.envelope import OVERHEAD
from keys.errors import KeyIntegrityError
from lake.collector.folder import Folder, replace_file, sealing_context
from lake.collector.state import State, decode
from lake.errors import UsageError

MIB = 1024 * 1024
SMALLEST = MIB
LARGEST_FRAME = 8 * MIB
_NAME = re.compile(r"(\d{12})-([0-9a-f]{32})(?:-(\d+))?\.(open|batch)")
_PREFIX = 8
"""Before each frame: its length, and how many events are in it; u32be each."""


@dataclass(frozen=True, slots=True)
class Batch:
    """A closed batch as it is sent. Its ``repr`` shows no event.

    Attributes:
        header: of docs/formats.md, "A batch", but for ``content``.
        body: NDJSON, gzip.
        rows: events in it.
    """

    number: int
    lease: str
    rows: int
    header: Mapping[str, Any] = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(slots=True)
class _Open:
    """The batch that is being filled."""

    number: int
    lease: str
    header: dict[str, Any]
    file: Path
    descriptor: int
    length: int = 0
    frames: int = 0
    lines: list[str] = field(default_factory=list)
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class _Stored:
    number: int
    lease: str
    rows: int
    file: Path
    size: int


class Spool:
    """One folder of batches; may be shared by threads.

    Args:
        most: bytes on disk; what comes when it is full is not taken.

    Raises:
        IntegrityError: the key is not the one that the spool was made with.
        LeaseHeldError: another collector uses it.
    """

    def __init__(self, path: Path, key: bytes, *, most: int = 64 * MIB) -> None:
        if most < SMALLEST:
            raise UsageError(f"a spool has at least {SMALLEST} bytes")
        self._most = most
        self._lock = threading.RLock()
        self._folder = Folder(path, key)
        try:
            saved = self._folder.load_state()
            self.state = State() if saved is None else decode(saved)
            self._open: _Open | None = None
            self._dirty = saved is None
            self._stored: dict[int, _Stored] = {}
            self._recover()
        except BaseException:
            self._folder.close()
            raise

    def append(
        self,
        lease: str,
        header: Mapping[str, Any],
        rows: Sequence[Mapping[str, Any]],
        *,
        marks: Mapping[str, Any] | None = None,
        keys: int = 0,
    ) -> bool:
        """Take some events and cursors, all or none; they are one step however the process ends.

        Args:
            lease: 32 hexadecimal digits; a batch has events of one lease only.
            header: what every batch of that lease says of itself.
            keys: how many of the events are numbered key events.

        Returns:
            False if there is no room: nothing was taken, and the caller counts it.
        """
        content = {"rows": list(rows), "marks": dict(marks or {}), "keys": keys}
        plain = _json(content)
        with self._lock:
            # An event is three times in the balance: in the open batch, and compressed in the closed one.
            if self.size + 2 * len(plain) + 4096 > self._most or len(plain) > LARGEST_FRAME:
                return False
            if self._open is not None and self._open.lease != lease:
                self.close_batch()
            opened = self._open or self._begin(lease, dict(header))
            if not self._write(opened, plain, len(rows)):
                return False
            sys.audit("lake.step", "spool.appended")
            self._count(opened, content)
            return True

    def count(self, reason: str, events: int = 1) -> None:
        """Note that events were left out; the next batch's header says so."""
        with self._lock:
            self.state.untold[reason] += events
            self.state.totals[reason] += events
            self._dirty = True

    def mark(self, marks: Mapping[str, Any]) -> None:
        """Set cursors with which no event came."""
        with self._lock:
            self.state.marks.update(marks)
            self._dirty = True

    def unmark(self, prefix: str) -> None:
        """Forget the cursors whose names begin so."""
        with self._lock:
            self.state.marks = {name: mark for name, mark in self.state.marks.items() if not name.startswith(prefix)}
            self._dirty = True

    def tally(self, name: str, amount: int) -> None:
        """Add to a total that no header tells."""
        with self._lock:
            self.state.totals[name] += amount
            self._dirty = True

    @property
    def size(self) -> int:
        """Bytes on disk of batches."""
        with self._lock:
            return sum(one.size for one in self._stored.values()) + (self._open.length if self._open else 0)

    @property
    def most(self) -> int:
        """Bytes that it may have."""
        return self._most

    @property
    def waiting(self) -> int:
        """Events that have not been sent."""
        with self._lock:
            return sum(one.rows for one in self._stored.values()) + (len(self._open.lines) if self._open else 0)

    @property
    def filling(self) -> tuple[int, int]:
        """Events and bytes of them in the open batch."""
        with self._lock:
            return (len(self._open.lines), self._open.bytes) if self._open else (0, 0)

    def change(self) -> None:
        """Say that the state was changed, so that it is saved."""
        with self._lock:
            self._dirty = True

    def rename(self) -> None:
        """Give later batches ids that no copy of this spool has."""
        with self._lock:
            self.state.spool = State().spool
            self._dirty = True

    def sync(self) -> None:
        """Make everything taken so far outlast the machine's end."""
        with self._lock:
            if self._open is not None:
                os.fdatasync(self._open.descriptor)
                self.state.at = (self._open.number, self._open.frames)
            if self._dirty:
                self._save()

    def close_batch(self) -> None:
        """Close the open batch, so that it can be sent."""
        with self._lock:
            opened = self._open
            if opened is None:
                return
            if opened.lines:
                self._store(opened)
            os.close(opened.descriptor)
            self._open = None
            opened.file.unlink(missing_ok=True)
            sys.audit("lake.step", "spool.closed")

    def first(self) -> Batch | None:
        """The oldest closed batch; None if there is none."""
        with self._lock:
            while self._stored:
                stored = self._stored[min(self._stored)]
                try:
                    header, body, _ = self._read(stored)
                except KeyIntegrityError:
                    self._lose(stored)
                    continue
                return Batch(stored.number, stored.lease, stored.rows, header, body)
            return None

    def finish(self, numbers: Sequence[int], totals: Mapping[str, int]) -> None:
        """Be done with batches, and count what became of them."""
        with self._lock:
            there = [number for number in numbers if number in self._stored]
            self.state.done += there
            self.state.totals.update(totals)
            self._save()
            sys.audit("lake.step", "spool.done")
            for number in there:
                self._stored.pop(number).file.unlink(missing_ok=True)
            self.state.done = []
            self._dirty = True
            self._forget_keys()

    def destroy(self, reason: str, lease: str | None = None) -> int:
        """Destroy what was recorded under a lease, or under every one; gives how many events that were."""
        with self._lock:
            if self._open is not None and lease in {None, self._open.lease}:
                self.close_batch()
            gone = [one for one in self._stored.values() if lease in {None, one.lease}]
            leases = {one.lease for one in gone} | ({lease} if lease else set(self._folder.leases_with_keys()))
            rows = sum(one.rows for one in gone)
            self.state.done += [one.number for one in gone]
            if rows:
                self.state.totals[reason] += rows
                self.state.untold[reason] += rows
            self._save()
            sys.audit("lake.step", "spool.doomed")
            for name in sorted(leases):
                self._folder.destroy_lease_key(name)
            sys.audit("lake.step", "spool.destroyed")
            for one in gone:
                self._stored.pop(one.number).file.unlink(missing_ok=True)
            self.state.done = []
            self._dirty = True
            return rows

    def close(self) -> None:
        """Close the open batch, save everything and let others have the folder."""
        with self._lock:
            self.close_batch()
            self.sync()
            self._folder.close()

    def _begin(self, lease: str, header: dict[str, Any]) -> _Open:
        self._folder.make_lease_key(lease)
        self.state.number += 1
        number = self.state.number
        header["batch"] = f"{self.state.spool}-{number}"
        file = self._folder.batches / f"{number:012d}-{lease}.open"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        opened = _Open(number, lease, header, file, os.open(file, flags, 0o600))
        self._open = opened
        sys.audit("lake.step", "spool.opened")
        self._write(opened, _json(header), 0)
        self._dirty = True
        return opened

    def _write(self, opened: _Open, plain: bytes, rows: int) -> bool:
        """Add a frame; what a full disk left of it is cut off again."""
        key = self._folder.make_lease_key(opened.lease)
        blob = envelope.seal(key, plain, sealing_context("frame", opened.number, opened.frames, rows))
        frame = len(blob).to_bytes(4, "big") + rows.to_bytes(4, "big") + blob
        try:
            written = os.write(opened.descriptor, frame)
        except OSError:
            written = 0
        if written < len(frame):
            os.ftruncate(opened.descriptor, opened.length)
            return False
        opened.length += len(frame)
        opened.frames += 1
        return True

    def _count(self, opened: _Open, content: Mapping[str, Any]) -> None:
        for row in content["rows"]:
            line = json.dumps(row, ensure_ascii=False, separators=(",", ":"))
            opened.lines.append(line)
            opened.bytes += len(line)
        state = self.state
        state.at = (opened.number, opened.frames)
        state.events += len(content["rows"])
        state.keys += content["keys"]
        state.totals["recorded"] += len(content["rows"])
        state.marks.update(content["marks"])
        self._dirty = True

    def _store(self, opened: _Open) -> None:
        """Write the closed batch, with the state as it is after it."""
        rows = len(opened.lines)
        times = sorted(json.loads(line)["ts"] for line in opened.lines)
        told, self.state.untold = self.state.untold, Counter()
        header = {
            **opened.header,
            "captured": [times[0], times[-1]],
            "seq": [self.state.events - rows + 1, self.state.events],
            "filter": {"rules": "", "dropped": dict(told)},
            "types": sorted({json.loads(line)["type"] for line in opened.lines}),
        }
        self.state.revision += 1
        body = gzip.compress("".join(f"{line}\n" for line in opened.lines).encode(), mtime=0)
        head = _json({"header": header, "state": self.state.encode().decode()})
        key = self._folder.make_lease_key(opened.lease)
        plain = len(head).to_bytes(4, "big") + head + body
        blob = envelope.seal(key, plain, sealing_context("batch", opened.number, rows))
        file = self._folder.batches / f"{opened.number:012d}-{opened.lease}-{rows}.batch"
        replace_file(file, blob)
        sys.audit("lake.step", "spool.stored")
        self._stored[opened.number] = _Stored(opened.number, opened.lease, rows, file, len(blob))

    def _read(self, stored: _Stored) -> tuple[dict[str, Any], bytes, bytes]:
        """Header, body and the state after a closed batch."""
        key = self._folder.lease_key(stored.lease)
        if key is None:
            raise KeyIntegrityError("the key of a batch was destroyed")
        context = sealing_context("batch", stored.number, stored.rows)
        plain = envelope.unseal(key, stored.file.read_bytes(), context)
        cut = 4 + int.from_bytes(plain[:4], "big")
        head = json.loads(plain[4:cut])
        return head["header"], plain[cut:], head["state"].encode()

    def _save(self) -> None:
        self.state.revision += 1
        self._folder.save_state(self.state.encode())
        self._dirty = False
        sys.audit("lake.step", "spool.saved")

    def _lose(self, stored: _Stored) -> None:
        """A file that does not open, for it was changed or its key is gone."""
        self.state.untold["spool.damaged"] += stored.rows
        self.finish([stored.number], {"spool.damaged": stored.rows})

    def _forget_keys(self) -> None:
        """Destroy the keys of leases that have nothing here any more, but for the newest."""
        used = {one.lease for one in self._stored.values()} | {one["id"] for one in self.state.leases}
        if self._open is not None:
            used.add(self._open.lease)
        for lease in set(self._folder.leases_with_keys()) - used:
            self._folder.destroy_lease_key(lease)

    def _recover(self) -> None:
        """Take up what an earlier process left, whenever it ended."""
        opens: list[tuple[int, str, Path]] = []
        for file in sorted(self._folder.batches.iterdir()):
            match = _NAME.fullmatch(file.name)
            if match is None or int(match[1]) in self.state.done:
                file.unlink()
                continue
            number, lease = int(match[1]), match[2]
            if match[4] == "open":
                opens.append((number, lease, file))
            else:
                self._stored[number] = _Stored(number, lease, int(match[3] or 0), file, file.stat().st_size)
        self._adopt_newest()
        self.state.done = []
        for number, lease, file in opens:
            if number not in self._stored:
                self._replay(number, lease, file)
            file.unlink(missing_ok=True)
        self.state.number = max([self.state.number, *self._stored, *(number for number, _, _ in opens)])
        self._save()
        self._forget_keys()

    def _adopt_newest(self) -> None:
        """The state in the newest batch, if that was closed after the last saving."""
        if not self._stored:
            return
        try:
            _, _, content = self._read(self._stored[max(self._stored)])
        except KeyIntegrityError:
            return
        newest = decode(content)
        if newest.revision > self.state.revision:
            self.state = newest

    def _replay(self, number: int, lease: str, file: Path) -> None:
        """Close a batch that was open when its process ended; what stands after a torn frame is cut off."""
        content, counted = file.read_bytes(), self.state.at
        key = self._folder.lease_key(lease)
        opened: _Open | None = None
        place, index = 0, 0
        while place + _PREFIX <= len(content):
            length, rows = (int.from_bytes(content[place + at : place + at + 4], "big") for at in (0, 4))
            end = place + _PREFIX + length
            if end > len(content) or length < OVERHEAD:
                break
            try:
                blob, context = content[place + _PREFIX : end], sealing_context("frame", number, index, rows)
                frame = json.loads(envelope.unseal(key, blob, context)) if key is not None else None
            except KeyIntegrityError:
                frame = None
            if frame is None or (index and opened is None):
                self._count_damaged(rows)
            elif index == 0:
                opened = _Open(number, lease, frame, file, os.open(file, os.O_RDWR | os.O_CLOEXEC))
            elif opened is not None:
                opened.frames = index + 1
                self._recount(opened, frame, known=counted[0] == number and index < counted[1])
            place, index = end, index + 1
        if place < len(content):
            # Half a frame: nobody was told that it was taken.
            self.state.totals["spool.torn"] += 1
        if opened is not None:
            self._open = opened
            self.close_batch()

    def _count_damaged(self, rows: int) -> None:
        if rows:
            self.state.untold["spool.damaged"] += rows
            self.state.totals["spool.damaged"] += rows

    def _recount(self, opened: _Open, frame: Mapping[str, Any], *, known: bool) -> None:
        if not known:
            self._count(opened, frame)
            return
        before = self.state.events, self.state.keys, self.state.totals["recorded"], dict(self.state.marks)
        self._count(opened, frame)
        self.state.events, self.state.keys, self.state.totals["recorded"], self.state.marks = before


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
