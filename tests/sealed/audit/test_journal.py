"""The journal's records: what is whole, what is cut off, and what hides behind damage."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lake.sealed.audit.journal import encode_commit, heads_within, read_commits

ORIGIN = "lake.example/audit"
FIRST = encode_commit([b"one", b"two"], f"{ORIGIN}\n2\n")
SECOND = encode_commit([b"three"], f"{ORIGIN}\n3\n")


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=5))
def test_a_commit_reads_back(entries: list[bytes]) -> None:
    """A commit gives back its entries and its note."""
    data = encode_commit(entries, "note")
    (commit,) = read_commits(data)
    assert (list(commit.entries), commit.note, commit.end) == (entries, "note", len(data))


def test_every_truncation_keeps_the_commits_before() -> None:
    """A journal cut at any byte gives the commits that are whole, and nothing else."""
    data = FIRST + SECOND
    for length in range(len(data)):
        ends = [commit.end for commit in read_commits(data[:length])]
        assert ends == ([len(FIRST)] if length >= len(FIRST) else [])


def test_every_changed_byte_stops_reading() -> None:
    """A commit with any byte changed is not given out."""
    data = FIRST + SECOND
    for position in range(len(data)):
        altered = bytearray(data)
        altered[position] ^= 0x40
        assert [commit.end for commit in read_commits(bytes(altered))] == (
            [] if position < len(FIRST) else [len(FIRST)]
        )


def test_heads_are_found_behind_damage() -> None:
    """A whole head behind damaged records is found, a damaged one is not."""
    damaged = b"\xff" * 20 + SECOND
    assert list(heads_within(damaged, ORIGIN)) == [f"{ORIGIN}\n3\n"]
    assert list(heads_within(damaged[:-1], ORIGIN)) == []
    assert list(heads_within(b"", ORIGIN)) == []
