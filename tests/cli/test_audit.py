"""``lake audit``: verify without a key, show, blast-radius, subject-report."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tests.cli.conftest import Shell
from tests.world import ADA, BEN

NOON = "2026-09-15T12:00:00"
"""The time of the template's entries."""
READ = "SELECT n FROM events WHERE employee = "


def log_files(shell: Shell) -> list[Path]:
    """Files of the audit log that hold entries, largest first."""
    files = [path for path in (shell.world.root / "audit").rglob("*") if path.is_file() and path.stat().st_size]
    return sorted(files, key=lambda path: path.stat().st_size, reverse=True)


def test_verify_needs_no_key(shell: Shell) -> None:
    """Whoever has the folder can recompute the log."""
    ran = shell.bare("audit", "verify", "--lake", str(shell.world.root), "--json")
    assert ran.code == 0
    assert ran.document["size"] >= 5
    assert len(ran.document["root"]) == 64
    assert "all hold" in shell.bare("audit", "verify", "--lake", str(shell.world.root)).out


def test_verify_notices_a_flipped_byte(shell: Shell) -> None:
    """One bit in a file of the log, and it exits with 4."""
    path = log_files(shell)[0]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    ran = shell.bare("audit", "verify", "--lake", str(shell.world.root), "--json")
    assert (ran.code, ran.document["error"]) == (4, "integrity")


def test_show_filters_by_type_and_user(shell: Shell) -> None:
    """Denials of one user are found among the others, with their SQL only on request."""
    assert shell.query("SELECT n FROM events", user="none").code == 3
    assert shell.query("DELETE FROM events WHERE app = 'literalcanary'", user="stu").code == 2
    rows = shell("audit", "show", "--type", "query.deny", "--json").document
    assert [row["user"] for row in rows] == ["none", "stu"]
    (row,) = shell("audit", "show", "--type", "query.deny", "--user", "stu", "--json").document
    assert "detail" not in row
    ran = shell("audit", "show", "--type", "query.deny", "--user", "stu", "--details")
    assert "literalcanary" in ran.out
    assert shell("audit", "show", "--user", "stranger", "--json").document == []
    assert "(none)" in shell("audit", "show", "--user", "stranger").out


def test_show_gives_the_newest_entries(shell: Shell) -> None:
    """The limit keeps the last ones in order; it is at least 1."""
    rows = shell("audit", "show", "--limit", "2", "--json").document
    assert rows[0]["index"] + 1 == rows[1]["index"]
    assert rows[-1]["type"] == "audit.read"
    for limit in ("0", "-1"):
        assert shell("audit", "show", "--limit", limit).code == 2


@pytest.mark.parametrize(
    ("interval", "found"),
    [
        (["--from", "2026-09-15", "--to", "2026-09-15"], True),
        (["--to", "2026-09-15", "--from", "20260915"], True),
        (["--from", "20260915", "--to", "20260915"], True),
        (["--to", f"{NOON}Z"], True),
        (["--from", f"{NOON}.001Z", "--to", "2026-09-15"], False),
        (["--from", "2026-09-15T14:00:00+02:00", "--to", "2026-09-15"], True),
        (["--to", "2026-09-14"], False),
        (["--from", "2026-09-16"], False),
        (["--to", "9999-12-31"], True),
    ],
)
def test_a_day_counts_whole(shell: Shell, interval: list[str], found: bool) -> None:
    """Intervals are inclusive and in UTC; a day without a time ends with its last moment."""
    rows = shell("audit", "show", "--type", "ingest.batch", *interval, "--json").document
    assert bool(rows) == found


@pytest.mark.parametrize("time", ["yesterday", "2026-13-01", "", "0001-01-01T00:00:00+23:00"])
def test_a_time_that_is_none_is_a_usage_error(shell: Shell, time: str) -> None:
    """The message says what a time looks like."""
    ran = shell("audit", "blast-radius", "--user", "stu", "--to", time)
    assert ran.code == 2
    assert "2026-11-01T09:00:00Z" in ran.err


def test_blast_radius_counts_what_a_user_read(shell: Shell) -> None:
    """Could, unwrapped and did are told apart; a stranger has zeros everywhere."""
    assert shell.query(READ + f"'{ADA}' AND sensitivity = 1").code == 0
    document = shell("audit", "blast-radius", "--user", "vera-canary", "--json").document
    assert document["could"]["employees"] == 4
    assert document["did"]["employee_ids"] == [ADA]
    assert document["unwrapped"]["employee_ids"] == [ADA]
    assert (document["queries"], document["possibly"]["open_intents"]) == (1, [])
    document = shell("audit", "blast-radius", "--user", "stranger", "--json").document
    assert [document[part]["employees"] for part in ("could", "unwrapped", "did", "possibly")] == [0, 0, 0, 0]
    assert (document["queries"], document["denials"], document["did"]["rows_released"]) == (0, 0, 0)
    assert "0 queries, 0 denials" in shell("audit", "blast-radius", "--user", "stranger").out


def test_subject_report_names_no_reader_unless_asked(shell: Shell) -> None:
    """An employee learns what was collected and why it was read; names only with --with-identities."""
    assert shell.query(READ + f"'{BEN}'").code == 0
    ran = shell("audit", "subject-report", "--employee", BEN, "--json")
    assert ran.document["collected"][0]["dataset"] == "events"
    assert [read["purpose"] for read in ran.document["reads"]] == ["incident"]
    assert "vera-canary" not in ran.out
    assert shell("audit", "subject-report", "--employee", ADA, "--json").document["reads"] == []
    assert "vera-canary" in shell("audit", "subject-report", "--employee", BEN, "--with-identities").out


def test_subject_report_of_a_stranger_is_a_usage_error(shell: Shell) -> None:
    """An employee that the lake does not know is not reported as unread."""
    ran = shell("audit", "subject-report", "--employee", "EMP-NOBODY", "--json")
    assert (ran.code, ran.document["error"]) == (2, "usage")


def test_reconcile(shell: Shell) -> None:
    """Exit code 0 while broker and log agree, 4 when they do not; asking is recorded."""
    assert shell.query("SELECT count(*) FROM events").code == 0
    ran = shell("audit", "reconcile")
    assert (ran.code, "agree" in ran.out) == (0, True)
    connection = sqlite3.connect(shell.world.root / "keys" / "keystore.db")
    with connection:
        connection.execute("INSERT INTO releases VALUES (0, 'u:0', 0, 1, 0, 0, 0)")
    connection.close()
    ran = shell("audit", "reconcile", "--json")
    assert (ran.code, len(ran.document["differences"])) == (4, 1)
    rows = shell("audit", "show", "--type", "audit.read", "--json").document
    assert [row["report"] for row in rows if row["report"] == "reconcile"] == ["reconcile", "reconcile"]
