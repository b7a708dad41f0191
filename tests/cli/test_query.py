"""``lake query``: forms of the result, where it goes, and how a query fails."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.cli.conftest import Shell
from tests.world import POLICY

MANY = "SELECT repeat('x', 150) AS text FROM events a, events b, events c"
"""Three million rows: more than the lake holds back before it releases the first part."""
ODD = """
SELECT 'nan'::DOUBLE AS nan, '-infinity'::DOUBLE AS inf, 1.50::DECIMAL(9, 2) AS exact, 12345678901234567890 AS huge,
       DATE '2026-01-02' AS day, TIMESTAMP '2026-01-02 03:04:05' AS at, TIME '03:04:05' AS clock, 'a"b,''c
d' AS quoted, NULL AS missing, TRUE AS yes, ['é', NULL] AS list, {'day': DATE '2026-01-02', 'x': 'inf'::DOUBLE} AS part,
       'ab'::BLOB AS raw, n, n
FROM events LIMIT 1
"""


def test_json_is_valid_for_every_kind_of_value(shell: Shell) -> None:
    """No NaN, exact numbers, ISO times, nested values; and a column that comes twice keeps both values."""
    document = shell.query(ODD, "--json").document
    (row,) = document["rows"]
    assert document["complete"] is True
    assert (row["nan"], row["inf"], row["exact"], row["huge"]) == (None, None, "1.50", 12345678901234567890)
    assert (row["day"], row["at"], row["clock"]) == ("2026-01-02", "2026-01-02T03:04:05", "03:04:05")
    assert (row["quoted"], row["missing"], row["yes"]) == ("a\"b,'c\nd", None, True)
    assert (row["list"], row["part"], row["raw"]) == (["é", None], {"day": "2026-01-02", "x": None}, "6162")
    assert document["columns"][-2:] == ["n", "n_1"]
    assert row["n"] == row["n_1"]


def test_csv_quotes_what_needs_it(shell: Shell) -> None:
    """Quotes, commas and line ends survive a reader of CSV; NULL is empty, nested values are JSON."""
    header, row = csv.reader(io.StringIO(shell.query(ODD, "--format", "csv").out, newline=""))
    found = dict(zip(header, row, strict=True))
    assert found["quoted"] == "a\"b,'c\nd"
    assert (found["missing"], found["exact"], found["nan"]) == ("", "1.50", "nan")
    assert json.loads(found["part"]) == {"day": "2026-01-02", "x": None}


def test_a_table_is_for_reading(shell: Shell) -> None:
    """Aligned, with a count, and without the power to steer the terminal."""
    ran = shell.query("SELECT app, count(*) AS rows FROM events WHERE app = 'Mail-QX' GROUP BY app")
    lines = ran.out.splitlines()
    assert lines[0].split() == ["app", "rows"]
    assert lines[2].startswith("Mail-QX")
    assert lines[-1] == "(1 rows)"
    assert "\x1b" not in shell.query("SELECT chr(27) || '[2J' AS evil FROM events LIMIT 1").out


def test_a_long_table_is_cut_and_says_so(shell: Shell) -> None:
    """The first thousand rows are shown, and how many more there are."""
    out = shell.query("SELECT a.n FROM events a, events b").out
    assert len(out.splitlines()) == 2 + 1000 + 2
    assert "19,736 more rows" in out


@pytest.mark.parametrize("form", ["table", "csv", "json", "arrow", "parquet"])
def test_an_empty_result_has_its_form(shell: Shell, form: str) -> None:
    """No rows are a result, and exit with 0."""
    ran = shell.query("SELECT app, n FROM events WHERE false", "--format", form)
    assert ran.code == 0
    assert ran.raw
    if form == "json":
        assert (ran.document["columns"], ran.document["rows"]) == (["app", "n"], [])
    if form == "csv":
        assert ran.out == "app,n\n"


def test_arrow_and_parquet_go_to_stdout_and_to_a_file(shell: Shell, tmp_path: Path) -> None:
    """The same rows in both places, and types as the lake has them."""
    sql = "SELECT app, n, ts FROM events ORDER BY ts"
    stream = pa.ipc.open_stream(shell.query(sql, "--format", "arrow").raw).read_all()
    piped = pq.read_table(pa.BufferReader(shell.query(sql, "--format", "parquet").raw))
    path = tmp_path / "rows.parquet"
    ran = shell.query(sql, "--format", "parquet", "--output", str(path))
    assert (ran.code, ran.raw) == (0, b"")
    assert "144 rows" in ran.err
    assert stream.equals(piped)
    assert piped.equals(pq.read_table(path))


def test_a_file_is_its_owners_alone_whatever_lay_there(shell: Shell, tmp_path: Path) -> None:
    """Mode 0600 also in place of a file that others could read; --json tells what was written."""
    path = tmp_path / "rows.csv"
    path.write_text("older")
    path.chmod(0o666)
    ran = shell.query("SELECT n FROM events", "--format", "csv", "--output", str(path), "--json")
    assert (ran.document["rows"], ran.document["format"]) == (144, "csv")
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(path.read_text().splitlines()) == 145


def test_a_failure_leaves_the_older_file_and_nothing_else(shell: Shell, tmp_path: Path) -> None:
    """A result that breaks off is no file; the one that was there stays."""
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "rows.csv").write_text("older")
    sql = "SELECT CASE WHEN n = 5 THEN DATE 'infinity' END AS d FROM events"
    for name in ("rows.csv", "new.csv"):
        assert shell.query(sql, "--format", "csv", "--output", str(folder / name)).code == 2
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [("rows.csv", "older")]


@pytest.mark.parametrize("place", ["", ".", "/dev/null", "missing/rows.csv"])
def test_what_cannot_be_a_file_is_refused(shell: Shell, tmp_path: Path, place: str) -> None:
    """Folders, devices and missing folders are not replaced or made."""
    ran = shell.query("SELECT n FROM events", "--output", str(tmp_path / place) if place != "." else ".")
    assert ran.code == 2
    assert not Path("/dev/null").is_file()


def test_one_document_on_stdout_and_no_other_form_beside_it(shell: Shell) -> None:
    """--json with another form needs a file for it."""
    assert shell.query("SELECT n FROM events", "--json", "--format", "csv").code == 2
    assert shell.query("SELECT n FROM events LIMIT 1", "--json", "--format", "json").document["complete"]


def test_denied_is_3_whether_the_thing_exists_or_not(shell: Shell) -> None:
    """An outsider cannot tell a dataset, purpose or user that exists from one that does not."""
    known = shell.query("SELECT n FROM events", "--json", user="none")
    unknown = shell.query("SELECT n FROM nothing", "--json", user="none")
    stranger = shell.query("SELECT n FROM events", "--json", user="stranger")
    purpose = shell.query("SELECT n FROM events", "--json", purpose="nonsense")
    assert {ran.code for ran in (known, unknown, stranger, purpose)} == {3}
    assert known.document == unknown.document == stranger.document == purpose.document


def test_of_several_roles_one_is_named(shell: Shell) -> None:
    """--role chooses; without it the user's own roles are listed."""
    ran = shell.query("SELECT n FROM events", user="dual", purpose="study")
    assert ran.code == 3
    assert "student, cohort" in ran.err
    assert shell.query("SELECT n FROM events", "--role", "cohort", user="dual", purpose="study").code == 0
    assert shell.query("SELECT n FROM events", "--role", "all", user="dual", purpose="study").code == 3


@pytest.mark.parametrize("sql", ["DELETE FROM events", "SELECT 1; SELECT 2", "SELEC", "", "COPY events TO 'x.csv'"])
def test_what_is_not_one_select_is_a_usage_error(shell: Shell, sql: str) -> None:
    """Nothing but one SELECT runs."""
    assert shell.query(sql).code == 2


def test_a_damaged_file_is_4_and_releases_nothing(shell: Shell) -> None:
    """One flipped byte in each object: no rows, and no word of the engine."""
    for path in shell.world.objects():
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    ran = shell.query("SELECT * FROM events", "--json")
    assert (ran.code, ran.document["error"]) == (4, "integrity")
    assert "canary" not in ran.out.lower()


def test_a_failing_query_shows_no_value(shell: Shell) -> None:
    """A cast that breaks on a row says that it did, not on what."""
    ran = shell.query("SELECT CAST(said AS INTEGER) FROM events WHERE said IS NOT NULL", "--json")
    assert ran.code == 1
    assert "saidcanary" not in ran.out + ran.err


def test_a_result_that_breaks_off_is_still_one_document(shell: Shell, write: Callable[[str, str], str]) -> None:
    """An error after the first released part closes the document, which says that it is not complete."""
    limited = POLICY.replace("limits: {rows: 10}", "limits: {rows: 130000}")
    assert shell("policy", "apply", write("p.yaml", limited)).code == 0
    ran = shell.query(MANY, "--json", user="rolf", purpose="study")
    assert ran.code == 1
    assert "more than 130000 rows" in ran.err
    assert ran.document["complete"] is False
    assert 0 < len(ran.document["rows"]) < 130_000


def test_a_reader_that_goes_away_is_no_crash(shell: Shell) -> None:
    """With a closed pipe the query stops quietly, and the log has it as abandoned."""
    process = shell.start("query", MANY, "--user", "vera-canary", "--purpose", "incident", "--format", "csv")
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.read(5) == b"text\n"
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert (process.wait(timeout=60), err) == (1, b"")
    assert shell.world.entries("query.outcome")[-1]["out"] == "abandoned"
