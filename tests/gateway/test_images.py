"""Images: where the grant hides nothing the engine reads by itself, with the same answers, and nowhere else."""

# ruff: noqa: S608 - the SQL is made of constants
from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from keys.broker import Broker
from keys.errors import KeysError
from lake.api import Connection
from lake.clear.reading.image import build as building
from lake.clear.reading.image import images as imaging
from lake.clear.reading.image.build import Image
from lake.clear.sandbox import databases
from lake.errors import IntegrityError, LakeError, LimitExceededError, QueryCancelledError, QueryFailedError
from lake.gateway.cancellation import Cancellation
from lake.gateway.engines import InProcess
from lake.gateway.keykeeping import KeyKeeping
from lake.gateway.keyplans import KeyScope
from lake.gateway.query import Request
from lake.rules.model import Identity
from lake.settings import Settings
from tests import world as w
from tests.world import World

DECODED = Settings(image_bytes=0)
NOTHING_KEPT = Settings(slice_cache=0, image_rows=0)

QUERIES = [
    "SELECT * FROM events",
    "SELECT count(*) AS n FROM events",
    'SELECT app, count(*) AS n, sum(score) AS s, max("at") AS latest FROM events GROUP BY app',
    "SELECT employee, sensitivity, ts, said, note FROM events WHERE said IS NOT NULL OR note LIKE '%canary 1%'",
    "SELECT n FROM events WHERE ts >= '2026-07-20' AND ts < TIMESTAMP '2026-08-03 12:00:00'",
    "SELECT min(ts), max(n), count(flag) FROM events",
    f"SELECT title FROM events WHERE employee = '{w.BEN}' AND sensitivity = 2",
    "SELECT a.n, b.title FROM events a JOIN events b USING (ts) WHERE a.n > 3",
    "SELECT e FROM events e WHERE n = 4",
    "SELECT big, flag FROM events ORDER BY big DESC NULLS LAST, ts LIMIT 7",
    "SELECT n FROM events WHERE employee = 'nobody'",
    "SELECT m.mood, e.n FROM moods m, events e LIMIT 3",
]


def alike(left: pa.Table, right: pa.Table) -> bool:
    """Whether two answers have the same rows, in whatever order."""
    return sorted(map(repr, left.to_pylist())) == sorted(map(repr, right.to_pylist()))


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Image | None]:
    """The images of each query, None where none could be."""
    seen: list[Image | None] = []
    build = building.build

    def watched(*given: Any, **more: Any) -> Image | None:
        seen.append(build(*given, **more))
        return seen[-1]

    monkeypatch.setattr(imaging, "build", watched)
    return seen


@pytest.fixture
def decoded(world: World) -> Iterator[Connection]:
    """As the lake's most powerful reader, whose rows are all decoded first."""
    with world.connect(settings=DECODED) as connection:
        yield connection


def test_answers_are_those_of_decoded_rows(world: World, decoded: Connection, made: list[Image | None]) -> None:
    """Columns, types and rows; asked once, with nothing kept, and again with what was kept."""
    with world.connect(settings=NOTHING_KEPT) as cold, world.connect() as kept:
        for sql in QUERIES:
            expected = decoded.sql(sql).arrow()
            assert not made
            for turn, connection in enumerate((cold, kept, kept, kept)):
                found = connection.sql(sql).arrow()
                assert found.schema == expected.schema
                assert alike(found, expected)
                if "LIMIT 3" not in sql and "nobody" not in sql and not turn:
                    assert made
                    assert all(made)
                made.clear()


@pytest.mark.parametrize(
    ("who", "sql"),
    [
        (("stu", "study"), "SELECT title FROM events"),
        (("milo", "study"), "SELECT n FROM events"),
        (("wim", "study"), "SELECT n FROM events"),
    ],
)
def test_what_the_grant_hides_is_in_no_image(
    world: World, made: list[Image | None], who: tuple[str, str], sql: str
) -> None:
    """A row filter, a mask, or a window that bounds rows of a file: the slice is scanned."""
    with world.connect(*who) as connection, world.connect(*who, settings=DECODED) as other:
        assert alike(connection.sql(sql).arrow(), other.sql(sql).arrow())
    assert not made


def test_the_image_of_a_masked_table_has_other_columns(world: World, made: list[Image | None]) -> None:
    """What is masked or hidden is neither in the image nor to be had from it."""
    with world.open() as lake:
        masks = "{dataset: events, purposes: [incident], sensitivity: 4, except: [said], masks: {title: {truncate: 4}}}"
        lake.apply_policy(w.POLICY.replace(w.GRANT_ALL, masks))
    with world.connect() as connection:
        assert connection.sql("SELECT n, app FROM events").arrow().num_rows == 144
        (image,) = made
        assert image is not None
        assert set(image.chunks) == {"n", "app"}
        raw = os.pread(image.descriptor, image.size, 0)
        assert not any(word in raw for word in (b"said", b"title", b"note", b"employee"))
        titles = connection.sql("SELECT DISTINCT title FROM events").arrow()["title"].to_pylist()
        assert all(title is None or len(title) <= 4 for title in titles)
    assert len(made) == 1


def test_columns_of_an_earlier_image_stay_out_of_sight(world: World, made: list[Image | None]) -> None:
    """An image that was kept may have more columns; a query has those that it names."""
    with world.connect() as connection:
        connection.sql("SELECT app, n FROM events").arrow()
        plan = connection.sql("EXPLAIN SELECT count(*) FROM events").arrow()
        assert plan.num_rows
        assert connection.sql("SELECT title FROM events WHERE n > 5").arrow().column_names == ["title"]
        with pytest.raises(LakeError, match=r"not found|does not fit"):
            connection.sql("SELECT nothing FROM events")
    kept = [image for image in made if image is not None]
    assert [list(image.chunks) for image in kept[:2]] == [["app", "n"], ["app", "n", "title"]]


def test_a_new_policy_or_a_change_of_keys_drops_what_was_kept(world: World, made: list[Image | None]) -> None:
    """What was made in another era is not used again; within one, it is."""
    with world.connect() as connection:
        connection.sql("SELECT max(n) FROM events").arrow()
        connection.sql("SELECT max(n) FROM events").arrow()
        assert len(made) == 1
        with world.open() as lake:
            lake.apply_policy(w.POLICY.replace("Incidents", "Incidents of all kinds"))
        connection.sql("SELECT max(n) FROM events").arrow()
        assert len(made) == 2


def test_every_query_asks_for_its_keys(world: World) -> None:
    """Whatever is kept, the broker gives a key for every file, on record, every time."""
    with world.connect() as connection:
        receipts = [connection.sql("SELECT n FROM events").receipt for _ in range(2)]
    with world.open() as lake:
        releases = lake.home.key_store.releases()
    given = [sum(releases[receipt][1].values()) for receipt in receipts]
    assert given == [len(world.objects())] * 2


def test_no_key_is_handed_out_for_what_is_in_memory(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker decides and counts as ever; what an image lacks, and rows as they are, still need keys."""
    given: list[list[bool]] = []
    release = Broker.release

    def watched(self: Broker, receipt: Any, requests: Any) -> list[bytes]:
        deks = release(self, receipt, requests)
        assert [bool(dek) for dek in deks] == [not request.held for request in requests]
        given.append([bool(dek) for dek in deks])
        return deks

    monkeypatch.setattr(Broker, "release", watched)
    files = len(world.objects())
    with world.connect() as connection, world.connect(settings=DECODED) as decoded:
        for sql, expected in (
            ("SELECT max(n) FROM events", True),
            ("SELECT min(n), count(*) FROM events", False),
            ("SELECT max(title) FROM events WHERE n > 3", True),
            ("SELECT max(title) FROM events WHERE n > 3", False),
            ("SELECT a.n + 1 FROM events a JOIN events b USING (n)", False),
            ("SELECT n FROM events", True),
            ("SELECT title FROM events WHERE title LIKE '%a%'", False),
            ("SELECT max(m.mood), max(e.n) FROM moods m, events e", None),
        ):
            assert alike(connection.sql(sql).arrow(), decoded.sql(sql).arrow()), sql
            handed, all_of_them = given[-2:]
            assert all(all_of_them), sql
            if expected is not None:
                assert handed == [expected] * files, sql
        scope = KeyScope(employees=(w.BEN,))
        with world.open() as lake:
            KeyKeeping(lake.home, lake.actor).change_state(scope, disabled=True, whole_level=False)
        with pytest.raises(KeysError):
            connection.sql("SELECT max(n) FROM events").arrow()


def test_rows_whose_keys_were_not_given_cannot_be_decoded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were a slice that is held scanned after all, it would fail, and not read."""
    sql = "SELECT max(n) FROM events"
    with world.connect() as connection:
        connection.sql(sql).arrow()
        monkeypatch.setattr(InProcess, "_images", lambda *_: {})
        with pytest.raises(LakeError):
            connection.sql(sql).arrow()
    assert world.entries("query.outcome")[-1]["out"] == "error"


def _changed(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [_changed, Path.unlink])
def test_damage_is_found_before_a_row_leaves(world: World, damage: Any) -> None:
    """A changed or missing object ends the query, on record; what was kept of it does not hide it once it is gone."""
    damage(world.objects()[3])
    with world.connect() as connection, pytest.raises(IntegrityError):
        connection.sql("SELECT * FROM events")
    assert world.entries("query.outcome")[-1]["out"] == "error"


def test_time_and_wishes_break_it_off(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cancelled query makes no image; one whose time is up ends while the engine reads."""
    with world.connect() as connection:
        wish = Cancellation()
        request = Request(Identity(w.VERA), "incident", "SELECT n FROM events", cancellation=wish)
        stored = building._elements

        def late(*given: Any) -> Any:
            wish.cancel()
            return stored(*given)

        monkeypatch.setattr(building, "_elements", late)
        with pytest.raises(QueryCancelledError):
            connection._gateway.run(request)
    with (
        world.connect("quin", "study") as quick,
        pytest.raises((LimitExceededError, QueryFailedError)),
    ):
        quick.sql("SELECT count(*) FROM events a, events b, events c, events d, events e").arrow()


def test_no_memory_means_decoding(world: World, made: list[Image | None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there can be no descriptor, rows are decoded part by part as before."""

    def none(*_: Any) -> int:
        raise OSError

    monkeypatch.setattr(os, "memfd_create", none)
    with world.connect() as connection:
        assert connection.sql("SELECT n FROM events").arrow().num_rows == 144
    assert made == [None]


def test_user_sql_reaches_no_file(world: World) -> None:
    """Neither the image's own path nor another one can be read by name; plans name no path."""
    with world.connect() as connection:
        for path in ("/proc/self/fd/3", "/etc/passwd", str(world.key)):
            with pytest.raises(LakeError):
                connection.sql(f"SELECT * FROM read_parquet('{path}')")
        for column in ("filename", "file_row_number", "file_index"):
            with pytest.raises(LakeError):
                connection.sql(f"SELECT {column} FROM events")
        plan = str(connection.sql("EXPLAIN SELECT n FROM events WHERE n > 3").arrow().to_pylist())
        assert "/proc" not in plan


def test_the_engine_reaches_nothing_but_the_image(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the guard, the engine itself refuses every other file, and every change of its settings."""
    from lake.clear.sandbox import execute

    seen: list[Any] = []
    show = execute._show

    def tried(connection: Any, *given: Any) -> None:
        show(connection, *given)
        for attempt in (
            "SELECT * FROM read_csv('/etc/passwd')",
            "SELECT * FROM read_parquet('/proc/self/fd/0')",
            "SELECT * FROM glob('/proc/self/fd/*')",
            "SET allowed_paths = ['/']",
            "SET enable_external_access = true",
            "COPY events TO '/proc/self/fd/1'",
            "ATTACH '/tmp/x.db'",
            "INSTALL httpfs",
        ):
            with pytest.raises(Exception, match=r"disabled|locked|denied|[Cc]annot") as refused:
                connection.execute(attempt).fetchall()
            seen.append(refused.type.__name__)

    monkeypatch.setattr(execute, "_show", tried)
    with world.connect() as connection:
        assert connection.sql("SELECT n FROM events").arrow().num_rows == 144
    assert len(seen) == 8


def test_parts_and_streams_are_recorded_as_ever(world: World) -> None:
    """Each part has an entry before it leaves; rows of the parts are those of the result."""
    with world.connect(settings=Settings(release_bytes=1, image_rows=0)) as connection:
        result = connection.sql("SELECT ts, app, title FROM events")
        left = 0
        for batch in result.batches():
            assert isinstance(batch, pa.RecordBatch)
            left += batch.num_rows
            assert sum(entry["rows"] for entry in world.entries("query.outcome")) >= left
    assert left == 144


def test_footers_and_images_expire(world: World, made: list[Image | None], monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept goes after its time, however often it is used."""
    now = [100.0]
    with world.connect() as connection:
        images = connection._gateway._images
        assert images is not None
        monkeypatch.setattr(images._images, "_clock", lambda: now[0])
        monkeypatch.setattr(images._footers, "_clock", lambda: now[0])
        for moment in (100.0, 159.0, 161.0):
            now[0] = moment
            connection.sql("SELECT max(n) FROM events").arrow()
    assert len(made) == 2
    assert timedelta(seconds=60).total_seconds() == Settings().slice_seconds


def test_tiny_files_are_decoded(world: World, made: list[Image | None]) -> None:
    """By default: reading a footer takes as long as decoding a few rows."""
    with world.connect(settings=Settings()) as connection:
        assert connection.sql("SELECT n FROM events").arrow().num_rows == 144
    assert not made


def test_what_fails_over_an_image_says_no_value(world: World, made: list[Image | None]) -> None:
    """A wrong name is named before a row is read; what fails while rows are read names its class alone."""
    with world.connect() as connection:
        with pytest.raises(LakeError, match="nothing"):
            connection.sql("SELECT nothing FROM events")
        for sql in (
            "SELECT title::INT FROM events",
            "SELECT ts + to_years(300000) FROM events",
            "SELECT big * big FROM events",
        ):
            with pytest.raises(LakeError) as failed:
                connection.sql(sql).arrow()
            assert not any(
                word in f"{failed.value} {failed.value.details}" for word in ("Canary", "lage", "2026", "0000")
            )
    assert all(made)


def test_an_image_that_cannot_be_opened_fails_the_query_on_record(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a process cannot open its own descriptors by a path: a typed error without the path, and an OUTCOME."""
    monkeypatch.setattr(databases.Database, "path", lambda *_: "/proc/self/fd/none-of-ours")
    with world.connect() as connection, pytest.raises(QueryFailedError) as failed:
        connection.sql("SELECT n FROM events")
    assert "/proc" not in f"{failed.value} {failed.value.details}"
    assert world.entries("query.outcome")[-1]["out"] == "error"
