"""What was recorded and has not landed yet: encrypted batches in a folder, bounded, in order, each sent under one id.

Events are appended to one open batch, each call one sealed frame that survives the process at once and the machine
after :meth:`Spool.sync`. A closed batch is one sealed file that never changes, so that sending it again is the same
batch. What has landed, was refused for good or is destroyed is first written down as done, then removed.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keys.errors import KeyIntegrityError
from keys.secretfiles import sync_folder
from lake.collector import files
from lake.collector.batches import Packed, halve, pack
from lake.collector.files import OpenBatch, Stored
from lake.collector.folder import Folder
from lake.collector.state import State, decode
from lake.errors import UsageError

MIB = 1024 * 1024
SMALLEST = MIB
LARGEST_FRAME = 8 * MIB


@dataclass(frozen=True, slots=True)
class Batch:
    """A closed batch as it is sent. Its ``repr`` shows no event.

    Attributes:
        name: of this spool.
        header: of docs/formats.md, "A batch", but for ``content``.
        body: NDJSON, gzip.
        rows: events in it.
    """

    name: str
    lease: str
    rows: int
    header: Mapping[str, Any] = field(repr=False)
    body: bytes = field(repr=False)


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
            self._open: OpenBatch | None = None
            self._dirty = saved is None
            self._stored: dict[tuple[int, str], Stored] = {}
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
        plain = files.compact(content)
        with self._lock:
            # An event is three times in the balance: in the open batch, and compressed in the closed one.
            if self.size + 2 * len(plain) + 4096 > self._most or len(plain) > LARGEST_FRAME:
                return False
            try:
                if self._open is not None and self._open.lease != lease:
                    self.close_batch()
                opened = self._open or self._begin(lease, dict(header))
                taken = opened.write(self._folder.make_lease_key(lease), plain, len(rows))
            except OSError:  # the disk is full, or worse
                taken = False
            if not taken:
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
            return (len(self._open.lines), self._open.size) if self._open else (0, 0)

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
                return Batch(stored.name, stored.lease, stored.rows, header, body)
            return None

    def finish(self, names: Sequence[str], totals: Mapping[str, int]) -> None:
        """Be done with batches, and count what became of them."""
        with self._lock:
            there = [one for one in self._stored.values() if one.name in set(names)]
            self.state.done += [one.name for one in there]
            self.state.totals.update(totals)
            self._save()
            sys.audit("lake.step", "spool.done")
            self._remove(there)
            self._forget_keys()

    def give_up(self, batch: Batch, reason: str) -> None:
        """Be done with a batch that never lands. What its header told of is told by the next one."""
        with self._lock:
            self.count(reason, batch.rows)
            self.state.untold.update(batch.header["filter"]["dropped"])
            self.finish([batch.name], {})

    def split(self, name: str) -> bool:
        """Put two batches in the place of one; False if it has a single event.

        Raises:
            KeyIntegrityError: it was destroyed or changed.
        """
        with self._lock:
            whole = next((one for one in self._stored.values() if one.name == name), None)
            if whole is None:
                raise KeyIntegrityError("the batch was destroyed")
            header, body, state = self._read(whole)
            if whole.rows == 1:
                return False
            parts = (f"{whole.part}0", f"{whole.part}1")
            ids = [f"{header['batch'].removesuffix('.' + whole.part)}.{part}" for part in parts]
            packed = halve(Packed(header, body, whole.rows), (ids[0], ids[1]))
            key, folder = self._folder.make_lease_key(whole.lease), self._folder.batches
            made: list[Stored] = []
            try:
                for part, half in zip(parts, packed, strict=True):
                    place = whole.number, part
                    made.append(files.store(folder, key, place, lease=whole.lease, packed=half, state=state))
                    sys.audit("lake.step", "spool.halved")
            except OSError:
                for one in made:
                    one.file.unlink(missing_ok=True)
                raise
            self._stored |= {one.place: one for one in made}
            self.finish([name], {})
            # Before another state is saved: beside its parts the whole must not come back after a power failure.
            sync_folder(folder)
            return True

    def destroy(self, reason: str, lease: str | None = None) -> int:
        """Destroy what was recorded under a lease, or under every one; gives how many events that were."""
        with self._lock:
            if self._open is not None and lease in {None, self._open.lease}:
                self.close_batch()
            gone = [one for one in self._stored.values() if lease in {None, one.lease}]
            leases = {one.lease for one in gone} | ({lease} if lease else set(self._folder.leases_with_keys()))
            rows = sum(one.rows for one in gone)
            for one in gone:
                self._untell(one)
            self.state.done += [one.name for one in gone]
            if rows:
                self.state.totals[reason] += rows
                self.state.untold[reason] += rows
            self._save()
            sys.audit("lake.step", "spool.doomed")
            for name in sorted(leases):
                self._folder.destroy_lease_key(name)
            sys.audit("lake.step", "spool.destroyed")
            self._remove(gone)
            return rows

    def close(self) -> None:
        """Close the open batch, save everything and let others have the folder."""
        with self._lock:
            self.close_batch()
            self.sync()
            self._folder.close()

    def _begin(self, lease: str, header: dict[str, Any]) -> OpenBatch:
        key = self._folder.make_lease_key(lease)
        self.state.number += 1
        header["batch"] = f"{self.state.spool}-{self.state.number}"
        opened = files.create_open(self._folder.batches, self.state.number, lease, header)
        self._open = opened
        sys.audit("lake.step", "spool.opened")
        if not opened.write(key, files.compact(header), 0):
            # Nothing that would follow could be sent.
            self._open = None
            os.close(opened.descriptor)
            opened.file.unlink()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._dirty = True
        return opened

    def _count(self, opened: OpenBatch, content: Mapping[str, Any]) -> None:
        for row in content["rows"]:
            opened.add(row)
        state = self.state
        state.at = (opened.number, opened.frames)
        state.events += len(content["rows"])
        state.keys += content["keys"]
        state.totals["recorded"] += len(content["rows"])
        state.marks.update(content["marks"])
        self._dirty = True

    def _store(self, opened: OpenBatch) -> None:
        """Write the closed batch, with the state as it is after it."""
        told, self.state.untold = self.state.untold, Counter()
        packed = pack(opened.header, opened.lines, self.state.events - len(opened.lines) + 1, told)
        self.state.revision += 1
        key, place = self._folder.make_lease_key(opened.lease), (opened.number, "")
        try:
            stored = files.store(
                self._folder.batches, key, place, lease=opened.lease, packed=packed, state=self.state.encode()
            )
        except OSError:
            self.state.untold = told
            raise
        sys.audit("lake.step", "spool.stored")
        self._stored[stored.place] = stored

    def _remove(self, gone: Sequence[Stored]) -> None:
        """Remove the files of batches that the saved state says are done."""
        for one in gone:
            self._stored.pop(one.place).file.unlink(missing_ok=True)
        self.state.done = []
        self._dirty = True

    def _untell(self, stored: Stored) -> None:
        """What the header of a batch that is never sent would have told is told by the next one."""
        try:
            header, _, _ = self._read(stored)
        except KeyIntegrityError:
            return
        self.state.untold.update(header["filter"]["dropped"])

    def _read(self, stored: Stored) -> tuple[dict[str, Any], bytes, bytes]:
        return files.open_batch(self._folder.lease_key(stored.lease), stored)

    def _save(self) -> None:
        self.state.revision += 1
        self._folder.save_state(self.state.encode())
        self._dirty = False
        sys.audit("lake.step", "spool.saved")

    def _lose(self, stored: Stored) -> None:
        """A file that does not open, for it was changed or its key is gone."""
        self.state.untold["spool.damaged"] += stored.rows
        self.finish([stored.name], {"spool.damaged": stored.rows})

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
        closed: list[Stored] = []
        for file in sorted(self._folder.batches.iterdir()):
            one, found = files.stored(file), files.open_named(file)
            if one is not None and one.name not in self.state.done:
                closed.append(one)
            elif found is not None and str(found[0]) not in self.state.done:
                opens.append((*found, file))
            else:
                file.unlink()
        for one in closed:
            if any(one.of(other) for other in closed):
                one.file.unlink()  # the process ended while the whole was being split
            else:
                self._stored[one.place] = one
        sync_folder(self._folder.batches)
        self._adopt_newest()
        self.state.done = []
        numbers = {number for number, _ in self._stored}
        for number, lease, file in opens:
            if number not in numbers:
                self._replay(number, lease, file)
            file.unlink(missing_ok=True)
        self.state.number = max([self.state.number, *numbers, *(number for number, _, _ in opens)])
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
        opened: OpenBatch | None = None
        for frame in files.read_frames(content, key, number):
            if frame.content is None or (frame.index and opened is None):
                self._count_damaged(frame.rows)
            elif opened is None:
                opened = OpenBatch(number, lease, frame.content, file, os.open(file, os.O_RDWR | os.O_CLOEXEC))
            else:
                opened.frames = frame.index + 1
                known = counted[0] == number and frame.index < counted[1]
                self._recount(opened, frame.content, known=known)
        if files.is_torn(content):
            # Nobody was told that it was taken.
            self.state.totals["spool.torn"] += 1
        if opened is not None:
            self._open = opened
            self.close_batch()

    def _count_damaged(self, rows: int) -> None:
        if rows:
            self.state.untold["spool.damaged"] += rows
            self.state.totals["spool.damaged"] += rows

    def _recount(self, opened: OpenBatch, frame: Mapping[str, Any], *, known: bool) -> None:
        if not known:
            self._count(opened, frame)
            return
        before = self.state.events, self.state.keys, self.state.totals["recorded"], dict(self.state.marks)
        self._count(opened, frame)
        self.state.events, self.state.keys, self.state.totals["recorded"], self.state.marks = before
