"""One chain over two databases: the same lines, the same MACs, and changes by plain SQL found on either."""

# ruff: noqa: DTZ001 - capture times are naive UTC
from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa

from lake.errors import IntegrityError
from lake.sealed.catalog import tables
from lake.sealed.catalog.catalog import Selection, _of_span
from lake.sealed.catalog.chain import row_line
from lake.sealed.catalog.elevations import check_since

KINDS = ("sqlite", "postgresql")


@pytest.fixture(name="path", params=KINDS)
def _path(request, tmp_path, place):
    """Where the catalog lies, on each database in turn."""
    return place(request.param, request, tmp_path)


def lines(catalog):
    """Every chained row as its commit saw it."""
    with catalog.database.reading() as connection:
        return sorted(
            row_line(table.name, dict(row))
            for table in tables.CHAINED
            for row in connection.execute(sa.select(table)).mappings()
        )


def test_the_chain_is_the_same_on_both(request, tmp_path, place, opened):
    """The same commits give byte-identical lines and the same head, and each verifies."""
    found = []
    for kind in KINDS:
        catalog = opened(place(kind, request, tmp_path))
        request.getfixturevalue("filling")(catalog)
        found.append((lines(catalog), catalog.verify(), catalog.summary(), catalog.holdings()))
        catalog.database.close()
    assert found[0] == found[1]
    assert len(found[0][0]) > 15


def test_summaries_are_whole_numbers(catalog):
    """Sums too: they are shown as JSON."""
    for row in (*catalog.summary(), *catalog.holdings()):
        assert {type(row[name]) for name in ("files", "rows", "bytes")} == {int}


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE files SET rows = rows + 1 WHERE seq = 5",
        "UPDATE files SET sha256 = wrapped_dek WHERE seq = 5",
        "UPDATE files SET number = number + 7 WHERE seq = 6",
        "UPDATE files SET removed_seq = 8 WHERE seq = 5",
        "UPDATE files SET first_ts = first_ts + 1 WHERE seq = 6",
        "UPDATE batches SET content = 'sha256:9' WHERE batch_id = 'batch-0'",
        "UPDATE contracts SET text = 'dataset: other'",
        "UPDATE directory SET sealed = lookup WHERE number = 1",
        "UPDATE policies SET applied_at = applied_at - 1",
        "UPDATE elevations SET at = at + 1",
        "UPDATE commits SET at = at + 1 WHERE seq = 3",
        "UPDATE commits SET mac = digest WHERE seq = 9",
        "DELETE FROM removals",
        "DELETE FROM actors",
        "DELETE FROM commits WHERE seq = 4",
        "INSERT INTO removals SELECT 'n' || substr(file_id, 2), 5 FROM files WHERE seq = 5",
        "INSERT INTO actors SELECT 'v' || substr(actor, 2), sealed, 99 FROM actors",
    ],
)
def test_a_change_by_plain_sql_is_found(catalog, statement):
    """Values, rows and commits, changed, added and removed."""
    with catalog.database.writing() as connection:
        assert connection.exec_driver_sql(statement).rowcount >= 1
    with pytest.raises(IntegrityError):
        catalog.verify()


def test_an_event_that_is_gone_is_missed_at_once(catalog, event):
    """The check from a commit on finds a revocation that was removed."""
    event(catalog, "5" * 32, "request")
    event(catalog, "5" * 32, "revoke")
    with catalog.database.reading() as connection:
        check_since(connection, catalog._mac, 9)
    with catalog.database.writing() as connection:
        connection.exec_driver_sql("DELETE FROM elevations WHERE kind = 'revoke'")
    with pytest.raises(IntegrityError), catalog.database.reading() as connection:
        check_since(connection, catalog._mac, 9)


def test_objects_that_no_row_names(catalog, file):
    """Of live files and of removed ones none is given; of others all are, in order."""
    strange = ["data/b", "data/a"]
    named = [file("0-0").object_key, file("2-0").object_key]
    assert catalog.unnamed([strange[0], *named, strange[1]]) == strange
    assert catalog.unnamed([]) == []


@pytest.mark.parametrize("few", [True, False])
def test_what_overlaps_a_time_is_found_by_an_index_with_both_bounds(catalog, few):
    """Of files that are not long neither what came before nor what came after is looked at."""
    day = datetime(2026, 3, 1)
    selection = Selection("desktop", frozenset({1, 2, 3, 4}), frozenset({0, 1}) if few else None, day, day)
    for span, (_, most) in tables.SPANS.items():
        query = _of_span(selection, span, few=few)
        with catalog.database.reading() as connection:
            if catalog.database.is_sqlite:
                explained = "EXPLAIN QUERY PLAN"
            else:
                connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
                connection.exec_driver_sql("SET LOCAL enable_bitmapscan = off")
                explained = "EXPLAIN"
            text = str(query.compile(connection, compile_kwargs={"literal_binds": True}))
            plan = " ".join(map(str, connection.exec_driver_sql(f"{explained} {text}").all()))
        # With so few rows PostgreSQL finds either index as good.
        kinds = ("person", "time") if not catalog.database.is_sqlite else ("person",) if few else ("time",)
        (name,) = [name for kind in kinds if (name := f"ix_files_{kind}_{span}") in plan]
        bounds = plan.split(name, 1)[1]
        assert "last_ts>?" in bounds or "last_ts >= " in bounds
        assert ("last_ts<?" in bounds or "last_ts <= " in bounds) == (most is not None)


@pytest.mark.parametrize(
    ("hours", "span"), [(0, "hour"), (1, "hour"), (2, "day"), (24, "day"), (25, "month"), (900, "more")]
)
def test_a_file_of_any_length_is_found_by_each_moment_of_it(catalog, file, batch, hours, span):
    """Whatever index holds it: by its first and its last microsecond, and not by those beside them."""
    first = datetime(2027, 3, 1)
    last = first + timedelta(hours=hours)
    long = replace(file("long"), first_ts=first, last_ts=last)
    catalog.land(batch("long"), [(long, 1)], key_epoch=1)
    tick = timedelta(microseconds=1)
    for moment, found in ((first - tick, False), (first, True), (last, True), (last + tick, False)):
        for numbers in (None, frozenset({1})):
            selection = Selection("desktop", frozenset({3}), numbers, moment, moment)
            assert [each for each, _ in catalog.select(selection)] == ([long] if found else [])
    with catalog.database.reading() as connection:
        query = sa.select(tables.files.c.file_id).where(tables.of_span(span), tables.files.c.file_id == long.file_id)
        assert connection.execute(query).scalar() == long.file_id
