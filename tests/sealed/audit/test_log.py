"""The audit log: indices, durability of heads, proofs, publishing, verification and several processes."""

from __future__ import annotations

import base64
import threading
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.errors import AuditUnavailableError, IntegrityError, UsageError
from lake.sealed.audit.checkpoint import open_checkpoint
from lake.sealed.audit.log import AuditLog, verify
from lake.sealed.audit.merkle import leaf_hash, tree_hash
from lake.sealed.audit.proofs import Receipt, verify_consistency, verify_inclusion

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from subprocess import Popen

    from conftest import KeyedNotes

    Opened = Callable[..., AuditLog]
    Child = Callable[..., Popen[str]]

ORIGIN = "lake.example/audit"


def numbered(start: int, stop: int) -> list[bytes]:
    """Entries that say their index."""
    return [b"entry %d" % number for number in range(start, stop)]


def naive_root(size: int) -> bytes:
    """The root of the first `size` numbered entries."""
    return tree_hash(leaf_hash(entry) for entry in numbered(0, size))


def files_of(root: Path) -> list[Path]:
    """Every file of the log that has bytes."""
    return sorted(path for path in root.rglob("*") if path.is_file() and path.stat().st_size)


def test_indices_are_dense_and_entries_come_back(root: Path, opened: Opened) -> None:
    """Groups of any size get consecutive indices, and every entry reads back, before and after reopening."""
    sizes = [1, 254, 1, 1, 600, 0, 3]
    with opened(root) as log:
        for size in sizes:
            start = log.size
            assert log.append(numbered(start, start + size)) == range(start, start + size)
    total = sum(sizes)
    for log in (opened(root), opened(root, writable=False)):
        assert log.size == total
        assert log.root_hash == naive_root(total)
        assert list(log.entries()) == list(enumerate(numbered(0, total)))
        assert [log.entry(index) for index in (0, 255, 256, total - 1)] == [
            b"entry %d" % index for index in (0, 255, 256, total - 1)
        ]
        assert list(log.entries(250, 260)) == list(enumerate(numbered(250, 260), 250))
        log.close()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(["publish", "reopen"]) | st.integers(0, 300), max_size=8))
def test_any_order_of_work_gives_the_same_tree(
    tmp_path_factory: pytest.TempPathFactory, opened: Opened, notes: KeyedNotes, steps: list[str | int]
) -> None:
    """However appends, publishing and reopening alternate, the log is its entries and verifies."""
    root = tmp_path_factory.mktemp("any") / "audit"
    AuditLog.create(root, notes)
    log = opened(root)
    for step in steps:
        if isinstance(step, int):
            log.append(numbered(log.size, log.size + step))
        elif step == "publish":
            log.publish()
        else:
            log.close()
            log = opened(root)
    size = log.size
    assert size == sum(step for step in steps if isinstance(step, int))
    assert list(log.entries()) == list(enumerate(numbered(0, size)))
    log.close()
    report = verify(root, ORIGIN, notes)
    assert (report.size, report.published, report.root) == (size, size, naive_root(size))


def test_entry_sizes(root: Path, opened: Opened) -> None:
    """An entry of 65,535 bytes is recorded; with one byte more, or none at all, nothing of its commit lands."""
    with opened(root) as log:
        assert log.append([b"x" * 65_535]) == range(1)
        for entry in (b"x" * 65_536, b""):
            with pytest.raises(UsageError, match="entry 1 of the commit"):
                log.append([b"fine", entry])
        assert log.size == 1
        assert log.entry(0) == b"x" * 65_535


def test_outside_the_log_is_a_usage_error(root: Path, opened: Opened) -> None:
    """Indices and sizes that the log does not have are refused."""
    with opened(root) as log:
        log.append(numbered(0, 3))
        for ask in (
            lambda: log.entry(3),
            lambda: log.entry(-1),
            lambda: log.receipt(3),
            lambda: log.inclusion_proof(2, 2),
            lambda: log.inclusion_proof(0, 4),
            lambda: log.consistency_proof(4),
            lambda: list(log.entries(0, 4)),
        ):
            with pytest.raises(UsageError):
                ask()


def test_head_is_a_signed_checkpoint(root: Path, opened: Opened, notes: KeyedNotes) -> None:
    """The head is three lines (origin, size, root), signed, for every commit."""
    with opened(root) as log:
        for size in (1, 2, 3):
            log.append(numbered(size - 1, size))
            text = notes.open(log.head())
            assert text == f"{ORIGIN}\n{size}\n{base64.b64encode(naive_root(size)).decode()}\n"


def test_proofs_verify_over_tiles_journal_and_old_sizes(root: Path, opened: Opened) -> None:
    """Inclusion and consistency proofs hold for entries in bundles and in the journal, and for earlier sizes."""
    with opened(root) as log:
        log.append(numbered(0, 700))
        for index, size in ((0, 700), (699, 700), (511, 512), (300, 400), (0, 1), (520, 600)):
            proof = log.inclusion_proof(index, size)
            verify_inclusion(leaf_hash(b"entry %d" % index), index, size, proof, naive_root(size))
        for old, new in pairwise((0, 1, 5, 256, 257, 511, 512, 513, 699, 700)):
            proof = log.consistency_proof(old, new)
            verify_consistency(old, naive_root(old), new, naive_root(new), proof)


def test_receipts_verify_offline(root: Path, opened: Opened, notes: KeyedNotes) -> None:
    """A receipt is a tlog-proof that verifies with the entry alone, and for no other entry."""
    with opened(root) as log:
        log.append(numbered(0, 300))
        text = log.receipt(277)
    assert text.startswith("c2sp.org/tlog-proof@v1\nindex 277\n")
    receipt = Receipt.parse(text)
    assert receipt.to_text() == text
    assert receipt.verify(b"entry 277", ORIGIN, notes).size == 300
    with pytest.raises(IntegrityError):
        receipt.verify(b"entry 278", ORIGIN, notes)
    with pytest.raises(IntegrityError):
        receipt.verify(b"entry 277", "another.example/audit", notes)


@pytest.mark.parametrize("change", ["drop header", "extra", "leading zero", "short hash", "no note"])
def test_malformed_receipts_are_refused(root: Path, opened: Opened, change: str) -> None:
    """Text that is not exactly a tlog-proof of this log is refused."""
    with opened(root) as log:
        log.append(numbered(0, 3))
        text = log.receipt(1)
    lines = text.split("\n")
    altered = {
        "drop header": lines[1:],
        "extra": [lines[0], "extra AAAA", *lines[1:]],
        "leading zero": [lines[0], "index 01", *lines[2:]],
        "short hash": [*lines[:2], "AAAA", *lines[3:]],
        "no note": lines[:4],
    }[change]
    with pytest.raises(IntegrityError):
        Receipt.parse("\n".join(altered))


def test_published_tiles_are_what_the_specification_says(root: Path, opened: Opened, notes: KeyedNotes) -> None:
    """Publishing 600 entries leaves two full tiles, a partial one, the level above and a checkpoint of that size."""
    log = opened(root)
    log.append(numbered(0, 600))
    log.publish()
    names = sorted(path.relative_to(root / "tile").as_posix() for path in files_of(root / "tile"))
    assert names == ["0/000", "0/001", "0/002.p/88", "1/000.p/2", "entries/000", "entries/001", "entries/002.p/88"]
    leaves = [leaf_hash(entry) for entry in numbered(0, 600)]
    assert (root / "tile/0/001").read_bytes() == b"".join(leaves[256:512])
    assert (root / "tile/1/000.p/2").read_bytes() == tree_hash(leaves[:256]) + tree_hash(leaves[256:512])
    checkpoint = open_checkpoint((root / "checkpoint").read_text(), ORIGIN, notes, source="checkpoint")
    assert (checkpoint.size, checkpoint.root) == (600, naive_root(600))
    log.close()


def test_partial_tiles_stay_until_the_full_one_is_there(root: Path, opened: Opened, notes: KeyedNotes) -> None:
    """Earlier partial tiles stay readable and verified, go when the tile is full, and checkpoints stay consistent."""
    log = opened(root)
    heads = []
    for size in (3, 200, 256, 258):
        log.append(numbered(log.size, size))
        log.publish()
        heads.append(open_checkpoint(log.head(), ORIGIN, notes, source="head"))
        if size == 200:
            assert sorted(path.name for path in (root / "tile/0/000.p").iterdir()) == ["200", "3"]
        assert verify(root, ORIGIN, notes).published == size
    assert not (root / "tile/0/000.p").exists()
    assert not (root / "tile/entries/000.p").exists()
    for old, new in pairwise(heads):
        verify_consistency(old.size, old.root, new.size, new.root, log.consistency_proof(old.size, new.size))
    log.close()


def test_closing_publishes_once(root: Path, opened: Opened, notes: KeyedNotes) -> None:
    """Closing publishes what is new, and a closed log appends no more."""
    log = opened(root)
    log.append(numbered(0, 5))
    assert verify(root, ORIGIN, notes).published == 0
    log.close()
    log.close()
    report = verify(root, ORIGIN, notes)
    assert (report.size, report.published, report.heads, report.root) == (5, 5, 2, naive_root(5))
    with pytest.raises(AuditUnavailableError):
        log.append([b"late"])


def test_read_only_sees_other_processes_and_never_writes(root: Path, opened: Opened) -> None:
    """A log without a signer follows another's appends across rotations, and refuses to append or publish."""
    writer, reader = opened(root), opened(root, writable=False)
    for size in (1, 255, 256, 300, 900):
        writer.append(numbered(writer.size, size))
        assert (reader.size, reader.root_hash, reader.head()) == (size, naive_root(size), writer.head())
        assert reader.entry(size - 1) == b"entry %d" % (size - 1)
    for refused in (lambda: reader.append([b"x"]), reader.publish):
        with pytest.raises(AuditUnavailableError):
            refused()
    writer.close()
    reader.close()


def test_creating_twice_and_opening_nothing(root: Path, opened: Opened, notes: KeyedNotes, tmp_path: Path) -> None:
    """A folder holds one log, and opening a folder without one is refused; so is another log's signer."""
    with pytest.raises(UsageError):
        AuditLog.create(root, notes)
    for folder in (tmp_path / "missing", tmp_path):
        with pytest.raises(AuditUnavailableError):
            opened(folder)
    with pytest.raises(UsageError):
        AuditLog.open(root, "another.example/audit", signer=notes, opener=notes)
    with pytest.raises(IntegrityError):
        AuditLog.open(root, "another.example/audit", signer=None, opener=notes)


def test_a_signer_that_fails_records_nothing_and_may_recover(root: Path, notes: KeyedNotes) -> None:
    """Without a valid signature nothing is written; the next append with one succeeds."""

    class Sometimes:
        name = ORIGIN
        answers = True

        def sign(self, text: str) -> str:
            return notes.sign(text) if self.answers else notes.sign(text + "x")

    signer = Sometimes()
    log = AuditLog.open(root, ORIGIN, signer=signer, opener=notes)
    log.append([b"entry 0"])
    before = (root / "journal.wal").read_bytes()
    signer.answers = False
    with pytest.raises(AuditUnavailableError):
        log.append([b"lost"])
    assert (root / "journal.wal").read_bytes() == before
    signer.answers = True
    assert log.append([b"entry 1"]) == range(1, 2)
    log.close()


def test_threads_share_one_object(root: Path, opened: Opened) -> None:
    """Threads that append through one object get unique, dense indices."""
    log = opened(root)
    got: list[tuple[int, bytes]] = []

    def work(name: int) -> None:
        got.extend(
            (index, b"%d-%d" % (name, turn)) for turn in range(40) for index in log.append([b"%d-%d" % (name, turn)])
        )

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == list(log.entries())
    log.close()


def test_processes_append_concurrently(root: Path, opened: Opened, notes: KeyedNotes, child: Child) -> None:
    """Three processes get unique, dense indices across rotations, and every entry is where its writer was told."""
    source = """
import sys
from pathlib import Path
from conftest import open_log
log = open_log(Path(sys.argv[1]))
for turn in range(60):
    entries = [f"{sys.argv[2]}-{turn}-{number}".encode() for number in range(1 + turn % 4)]
    for index, entry in zip(log.append(entries), entries, strict=True):
        print(index, entry.decode())
log.close()
"""
    children = [child(source, root, name) for name in "abc"]
    told: list[list[str]] = []
    for process in children:
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        told += [line.split() for line in out.splitlines()]
    with opened(root) as log:
        stored = list(log.entries())
    assert sorted((int(index), entry.encode()) for index, entry in told) == stored
    assert len(stored) == 3 * 150
    assert verify(root, ORIGIN, notes).size == 450


@pytest.fixture
def closed(root: Path, opened: Opened) -> Path:
    """A closed log of 5 entries in three commits, published twice."""
    log = opened(root)
    log.append(numbered(0, 2))
    log.publish()
    log.append(numbered(2, 3))
    log.append(numbered(3, 5))
    log.close()
    return root


def noticed(root: Path, notes: KeyedNotes) -> bool:
    """Whether verify raises IntegrityError."""
    try:
        verify(root, ORIGIN, notes)
    except IntegrityError:
        return True
    return False


def test_verify_notices_every_changed_byte(closed: Path, notes: KeyedNotes) -> None:
    """Any byte changed in any file of a small log is noticed."""
    assert verify(closed, ORIGIN, notes).size == 5
    for path in files_of(closed):
        data = path.read_bytes()
        for position in range(len(data)):
            for mask in (0x01, 0x80):
                altered = bytearray(data)
                altered[position] ^= mask
                path.write_bytes(altered)
                assert noticed(closed, notes), (path, position)
        path.write_bytes(data)
    assert verify(closed, ORIGIN, notes).size == 5


def test_verify_notices_every_truncation_and_loss(closed: Path, notes: KeyedNotes) -> None:
    """Any file of a small log cut at any byte, lengthened or removed is noticed."""
    for path in files_of(closed):
        data = path.read_bytes()
        for length in range(len(data)):
            path.write_bytes(data[:length])
            assert noticed(closed, notes), (path, length)
        path.write_bytes(data + b"\x00")
        assert noticed(closed, notes), path
        path.unlink()
        # Partial tiles of earlier checkpoints may go; nothing says that they were there.
        assert noticed(closed, notes) != (path.parent.name == "000.p" and path.name == "2"), path
        path.write_bytes(data)
    assert verify(closed, ORIGIN, notes).size == 5


def test_verify_names_file_and_index_in_full_tiles(root: Path, opened: Opened, notes: KeyedNotes) -> None:
    """A byte changed in a full bundle or tile is noticed and located."""
    with opened(root) as log:
        log.append(numbered(0, 520))
    for name, width in (("tile/0/001", 32), ("tile/entries/001", 11)):
        path = root / name
        data = path.read_bytes()
        for position in range(0, len(data), 331):
            altered = bytearray(data)
            altered[position] ^= 0x10
            path.write_bytes(altered)
            with pytest.raises(IntegrityError) as caught:
                verify(root, ORIGIN, notes)
            if width == 32:
                assert f"{name}: does not match the entries from index {256 + position // 32}" in str(caught.value)
        path.write_bytes(data)
        path.unlink()
        with pytest.raises(IntegrityError, match=name):
            verify(root, ORIGIN, notes)
        path.write_bytes(data)


@pytest.mark.parametrize("name", ["tile/0/002", "tile/0/000.p/9", "tile/7/000", "tile/notes.txt", "tile/0/000.p/x"])
def test_verify_refuses_files_it_did_not_check(closed: Path, notes: KeyedNotes, name: str) -> None:
    """A file among the tiles that the log did not write is noticed."""
    (closed / name).parent.mkdir(parents=True, exist_ok=True)
    (closed / name).write_bytes(b"x" * 32)
    assert noticed(closed, notes)


def test_reading_checks_what_it_returns(root: Path, opened: Opened) -> None:
    """An altered entry is not given out, even when the leaf tile was altered to match it."""
    with opened(root) as log:
        log.append(numbered(0, 600))
    bundle, tile = root / "tile/entries/000", root / "tile/0/000"
    forged = numbered(0, 256)
    forged[7] = b"entry X"
    bundle.write_bytes(b"".join(len(entry).to_bytes(2, "big") + entry for entry in forged))
    reader = opened(root, writable=False)
    with pytest.raises(IntegrityError, match="tile/entries/000"):
        reader.entry(7)
    assert reader.entry(300) == b"entry 300"
    reader.close()
    tile.write_bytes(b"".join(leaf_hash(entry) for entry in forged))
    with pytest.raises(IntegrityError):
        opened(root, writable=False)


def test_appending_does_not_slow_with_size(root: Path, opened: Opened, notes: KeyedNotes) -> None:
    """70,000 entries in groups fill a tile of the second level, and opening and appending read only a few files."""
    with opened(root) as log:
        for start in range(0, 70_000, 7_000):
            log.append(numbered(start, start + 7_000))
    assert (root / "tile/1/000").stat().st_size == 8192
    assert (root / "tile/2/000.p/1").stat().st_size == 32
    assert (root / "tile/0/273.p/112").stat().st_size == 112 * 32
    # Leaf tiles under a full tile of the level above are not needed to append.
    for index in range(256):
        (root / f"tile/0/{index:03}").rename(root / f"{index:03}.aside")
    with opened(root) as log:
        assert log.append([b"entry 70000"]) == range(70_000, 70_001)
        assert log.root_hash == naive_root(70_001)
        for index in range(256):
            (root / f"{index:03}.aside").rename(root / f"tile/0/{index:03}")
    assert verify(root, ORIGIN, notes).size == 70_001
