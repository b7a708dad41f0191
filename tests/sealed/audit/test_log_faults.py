"""The audit log under crashes, full disks, lost folders and altered journals."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING

import pytest

from lake.errors import AuditUnavailableError, IntegrityError
from lake.sealed.audit.journal import encode_commit, read_commits
from lake.sealed.audit.log import verify

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from subprocess import Popen

    from conftest import KeyedNotes

    from lake.sealed.audit.log import AuditLog

    Opened = Callable[..., AuditLog]
    Child = Callable[..., Popen[str]]

ORIGIN = "lake.example/audit"
GROUPS = (250, 4, 5, 3, 260, 2)

CRASHING = """
import os, signal, sys
from pathlib import Path
from conftest import open_log

root, step, turn = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
log = open_log(root)
seen = 0

def hook(event, arguments):
    global seen
    if event == "lake.step" and arguments[0] == step:
        seen += 1
        if seen == turn:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(hook)
for size in (250, 4, 5, 3, 260, 2):
    start = log.size
    log.append([b"entry %d" % index for index in range(start, start + size)])
    print("acknowledged", start + size, flush=True)
    log.publish()
print("finished", flush=True)
"""


def numbered(start: int, stop: int) -> list[bytes]:
    """Entries that say their index."""
    return [b"entry %d" % number for number in range(start, stop)]


@pytest.mark.parametrize(
    "crash",
    [
        *(("audit.journal-written", turn) for turn in (1, 3, 5)),
        *(("audit.journal-synced", turn) for turn in (1, 3, 5)),
        *(("audit.tile-written", turn) for turn in (1, 2, 3, 4)),
        *(("audit.journal-rotated", turn) for turn in (1, 2)),
        *(("audit.tiles-published", turn) for turn in (1, 3)),
        *(("audit.checkpoint-published", turn) for turn in (1, 3)),
    ],
)
def test_a_kill_at_any_step_loses_nothing_acknowledged(
    root: Path, opened: Opened, notes: KeyedNotes, child: Child, crash: tuple[str, int]
) -> None:
    """After kill -9 every acknowledged entry is at its index once, and an unacknowledged commit is whole or absent."""
    process = child(CRASHING, root, *crash)
    out, err = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, err
    assert "finished" not in out
    acknowledged = max((int(number) for number in re.findall(r"acknowledged (\d+)", out)), default=0)
    with opened(root) as log:
        assert log.size >= acknowledged
        assert log.size in {sum(GROUPS[:count]) for count in range(len(GROUPS) + 1)}
        assert list(log.entries()) == list(enumerate(numbered(0, log.size)))
        size = log.size
        assert log.append(numbered(size, size + 1)) == range(size, size + 1)
    assert verify(root, ORIGIN, notes).size == size + 1


def test_a_torn_commit_is_cut_off_at_open(root: Path, opened: Opened, notes: KeyedNotes) -> None:
    """The last commit cut at any byte is gone at open, wholly, and the log appends on from there."""
    log = opened(root)
    log.append(numbered(0, 3))
    kept = (root / "journal.wal").stat().st_size
    log.append(numbered(3, 5))
    whole = (root / "journal.wal").read_bytes()
    for length in range(kept, len(whole)):
        (root / "journal.wal").write_bytes(whole[:length])
        if length > kept:
            with pytest.raises(IntegrityError, match=r"journal\.wal"):
                verify(root, ORIGIN, notes)
        with opened(root, writable=False) as reader:
            assert reader.size == 3
        assert (root / "journal.wal").stat().st_size == length
        with opened(root) as again:
            assert again.size == 3
            assert (root / "journal.wal").stat().st_size == kept


def test_damage_before_a_signed_head_is_not_a_torn_commit(root: Path, opened: Opened) -> None:
    """A byte changed in a commit that a later signed head follows refuses to open."""
    log = opened(root)
    log.append(numbered(0, 2))
    log.append(numbered(2, 4))
    data = (root / "journal.wal").read_bytes()
    last = read_commits(data)[-2].end
    for position in range(0, last, 7):
        altered = bytearray(data)
        altered[position] ^= 0x04
        (root / "journal.wal").write_bytes(altered)
        for writable in (True, False):
            with pytest.raises(IntegrityError):
                opened(root, writable=writable)
        assert (root / "journal.wal").read_bytes() == altered


def test_a_forged_tail_is_refused(root: Path, opened: Opened, notes: KeyedNotes) -> None:
    """Entries under an unsigned or a replayed head are never taken in."""
    log = opened(root)
    log.append(numbered(0, 2))
    good = (root / "journal.wal").read_bytes()
    unsigned = log.head().replace("\n2\n", "\n3\n")
    for note in (unsigned, log.head(), "nothing"):
        (root / "journal.wal").write_bytes(good + encode_commit([b"forged"], note))
        with pytest.raises(IntegrityError):
            opened(root)


def test_an_entry_that_holds_an_old_head_is_only_an_entry(root: Path, opened: Opened) -> None:
    """A torn commit whose entry quotes an earlier head record is cut off like any other."""
    log = opened(root)
    log.append(numbered(0, 1))
    quoted = encode_commit([], log.head())
    kept = (root / "journal.wal").stat().st_size
    log.append([quoted, b"more"])
    data = (root / "journal.wal").read_bytes()
    (root / "journal.wal").write_bytes(data[:-1])
    with opened(root) as again:
        assert again.size == 1
    assert (root / "journal.wal").stat().st_size == kept


def test_a_journal_behind_the_checkpoint_refuses_to_open(root: Path, opened: Opened) -> None:
    """A log cut back behind its published checkpoint is not opened, for reading or writing."""
    log = opened(root)
    log.append(numbered(0, 2))
    earlier = (root / "journal.wal").read_bytes()
    log.append(numbered(2, 4))
    log.close()
    (root / "journal.wal").write_bytes(earlier)
    for writable in (True, False):
        with pytest.raises(IntegrityError, match="checkpoint"):
            opened(root, writable=writable)
    (root / "journal.wal").unlink()
    with pytest.raises(IntegrityError, match=r"journal\.wal"):
        opened(root)


def test_a_damaged_last_head_that_was_published_is_not_cut_off(root: Path, opened: Opened) -> None:
    """A byte changed in the last head of a published log refuses to open, and the journal is left as it was."""
    with opened(root) as log:
        log.append(numbered(0, 3))
    path = root / "journal.wal"
    altered = path.read_bytes()[:-2] + b"?\n"
    path.write_bytes(altered)
    for writable in (True, False):
        with pytest.raises(IntegrityError):
            opened(root, writable=writable)
    assert path.read_bytes() == altered


def test_an_open_log_notices_rewritten_history(root: Path, opened: Opened, tmp_path: Path, notes: KeyedNotes) -> None:
    """A log replaced, while open, by another that is validly signed but has other entries is refused."""
    log = opened(root)
    log.append(numbered(0, 3))
    other = tmp_path / "other"
    type(log).create(other, notes)
    with opened(other) as forged:
        forged.append([b"x", b"y", b"z", b"entry 3"])
    (other / "journal.wal").replace(root / "journal.wal")
    for ask in (lambda: log.append([b"more"]), log.head, lambda: log.receipt(0)):
        with pytest.raises(IntegrityError):
            ask()


def test_a_full_disk_makes_the_log_read_only(root: Path, opened: Opened, child: Child) -> None:
    """A write that does not fit is AuditUnavailableError, and stays so until the log is opened anew."""
    source = """
import resource, signal, sys
from pathlib import Path
from conftest import open_log
from lake.errors import AuditUnavailableError

root = Path(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
log = open_log(root)
log.append([b"entry 0"])
limits = resource.getrlimit(resource.RLIMIT_FSIZE)
room = (root / "journal.wal").stat().st_size + 100
resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
for _ in range(2):
    try:
        log.append([b"x" * 500])
    except AuditUnavailableError:
        print("unavailable")
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
print(log.size, log.entry(0).decode())
"""
    out, err = child(source, root).communicate(timeout=60)
    assert out.splitlines() == ["unavailable", "unavailable", "1 entry 0"], err
    with opened(root) as log:
        assert log.append([b"entry 1"]) == range(1, 2)


def test_a_disk_that_fills_while_sealing_keeps_what_was_synced(
    root: Path, opened: Opened, child: Child, notes: KeyedNotes
) -> None:
    """When a full bundle cannot be written the log stops, and the reopened log has each entry once."""
    source = """
import resource, signal, sys
from pathlib import Path
from conftest import open_log
from lake.errors import AuditUnavailableError

root = Path(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
log = open_log(root)
log.append([b"entry %d" % number for number in range(255)])

def hook(event, arguments):
    if event == "lake.step" and arguments[0] == "audit.journal-synced":
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))

sys.addaudithook(hook)
for _ in range(2):
    try:
        log.append([b"entry 255"])
    except AuditUnavailableError:
        print("unavailable")
"""
    out, err = child(source, root).communicate(timeout=60)
    assert out.splitlines() == ["unavailable", "unavailable"], err
    with opened(root) as log:
        assert list(log.entries()) == list(enumerate(numbered(0, 256)))
    assert verify(root, ORIGIN, notes).size == 256


def test_a_failed_sync_is_final(root: Path, opened: Opened, child: Child) -> None:
    """After a sync fails nothing is appended again; reopening shows the commit, whose bytes were written, whole."""
    source = """
import os, sys
from pathlib import Path
from conftest import open_log
from lake.errors import AuditUnavailableError

root = Path(sys.argv[1])
log = open_log(root)
log.append([b"entry 0"])
journal = (root / "journal.wal").stat().st_ino
descriptors = [int(name) for name in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{name}")]
(descriptor,) = [number for number in descriptors if os.fstat(number).st_ino == journal]
reading, writing = os.pipe()

def hook(event, arguments):
    if event == "lake.step" and arguments[0] == "audit.journal-written":
        # A pipe cannot be synced, so the kernel refuses.
        os.dup2(writing, descriptor)

sys.addaudithook(hook)
for _ in range(2):
    try:
        log.append([b"entry 1"])
    except AuditUnavailableError:
        print("unavailable")
print(log.size)
"""
    out, err = child(source, root).communicate(timeout=60)
    assert out.splitlines() == ["unavailable", "unavailable", "1"], err
    with opened(root) as log:
        assert list(log.entries()) == list(enumerate(numbered(0, 2)))


def test_an_unwritable_folder_makes_the_log_read_only(root: Path, opened: Opened, child: Child) -> None:
    """Without permission to write, append and open are AuditUnavailableError; the open log stays so."""
    source = """
import os, sys
from pathlib import Path
from conftest import open_log
from lake.errors import AuditUnavailableError

os.chdir(sys.argv[1])
root = Path()
log = open_log(root)
log.append([b"entry 0"])
os.chmod("lock", 0o444)
os.chmod(".", 0o555)
powerful = os.geteuid() == 0
if powerful:
    os.seteuid(65534)

def attempt(call):
    try:
        call()
    except AuditUnavailableError:
        print("unavailable")

attempt(lambda: log.append([b"x"]))
attempt(lambda: open_log(root))
if powerful:
    os.seteuid(0)
os.chmod("lock", 0o644)
os.chmod(".", 0o755)
attempt(lambda: log.append([b"x"]))
open_log(root).append([b"entry 1"])
"""
    out, err = child(source, root).communicate(timeout=60)
    assert out.splitlines() == ["unavailable"] * 3, err
    with opened(root) as log:
        assert list(log.entries()) == list(enumerate(numbered(0, 2)))


def test_a_lost_folder_makes_the_log_read_only(root: Path, opened: Opened) -> None:
    """When the folder goes, nothing is acknowledged into files that no one will find, even once it is back."""
    log = opened(root)
    log.append(numbered(0, 1))
    aside = root.rename(root.with_name("aside"))
    for ask in (lambda: log.append([b"x"]), lambda: opened(root)):
        with pytest.raises(AuditUnavailableError):
            ask()
    assert log.size == 1
    aside.rename(root)
    with pytest.raises(AuditUnavailableError):
        log.append([b"x"])
    with opened(root) as again:
        assert again.append(numbered(1, 2)) == range(1, 2)
