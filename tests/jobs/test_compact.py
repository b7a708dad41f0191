"""Compaction: fewer files, the same rows, each once whatever is killed where and whoever reads meanwhile."""

# ruff: noqa: DTZ001 - capture times are naive UTC
from __future__ import annotations

import itertools
import json
import signal
import threading
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.clear.compact import Compact
from jobs.clear.compact_merge import merged, whole_groups
from keys.receipts import JOB_INTENT
from lake.clear.landing.encode import ROW_GROUP_ROWS
from lake.cli.main import main
from lake.gateway.kek_rotation import dek_request
from lake.gateway.keykeeping import KeyKeeping
from lake.gateway.keyplans import KeyScope
from lake.gateway.retention import RetentionDesk
from lake.rules.model import Partition
from lake.sealed.audit import entries
from lake.settings import Settings
from tests import world as w
from tests.jobs.small_files import EXPECTED, FEW, SECOND, live, renew, run, whole
from tests.world import ADA, BEN, World, child, copy, finished, landed, same_rows

EAGER = w.small_settings(compact_least=2)
"""Also the month that runs is merged from two files on."""
COMPACT = """
from jobs.clear.compact import Compact
from jobs.runner.run import Runner

with world.open() as lake:
    sys.addaudithook(hook)
    Runner(lake.home).run(Compact(lake.home, lake.actor))
"""


def test_small_files_of_a_partition_become_one(small: World) -> None:
    """Rows, partitions and sensitivities stay; keys are fresh, former wraps are gone; again there is nothing to do."""
    with small.open(settings=EAGER) as lake:
        old = live(lake)
        done = run(lake, Compact(lake.home, lake.actor))
        new = live(lake)
        partitions = Counter((file.partition, file.schema_version) for file in new.values())
        assert set(partitions.values()) == {1}
        assert {(file.partition, file.schema_version) for file in old.values()} == partitions.keys()
        gone, made = old.keys() - new.keys(), new.keys() - old.keys()
        assert (done.state, done.counts["files"], done.counts["made"]) == ("done", len(gone), len(made))
        assert sum(file.rows for file in new.values()) == sum(file.rows for file in old.values()) == len(EXPECTED)
        with lake.home.catalog.database.reading() as connection:
            wraps = connection.exec_driver_sql("SELECT count(*) FROM files WHERE wrapped_dek IS NOT NULL").scalar_one()
        assert wraps == len(new)
        deks = lake.home.broker.open_deks([dek_request(file) for file in new.values()])
        assert len(set(deks)) == len(new)
        assert Compact(lake.home, lake.actor).plan().items == ()
    whole(small)


def test_keys_are_released_for_recorded_files_only(small: World) -> None:
    """Each merge has its INTENT with the partition and its OUTCOME; the book holds the same keys."""
    with small.open() as lake:
        done = run(lake, Compact(lake.home, lake.actor))
        book = lake.home.key_store.releases()
    intents = small.entries(JOB_INTENT)
    outcomes = {entry["ref"]: entry for entry in small.entries(entries.JOB_OUTCOME)}
    assert len(intents) == done.items > 0
    for entry in intents:
        assert entry["job"] == "compact"
        assert sum(book[entry["index"]][1].values()) == entry["scope"]["files"] == outcomes[entry["index"]]["files"]
    assert sum(entry["rows"] for entry in outcomes.values()) == done.counts["rows"]


@pytest.mark.parametrize(
    "step",
    [
        "job.begun",
        "job.recorded",
        "job.item",
        "compact.intended",
        "compact.keys-released",
        "compact.object-written",
        "compact.objects-durable",
        "compact.replaced",
        "compact.recorded",
        "job.item-done",
        "job.item-closed",
        "job.finished",
        "job.closed",
    ],
)
def test_killed_at_any_step_every_row_is_there_once(few: World, step: str) -> None:
    """And the same command goes on to the same end, with the counts of both."""
    status, _, err = finished(child(few, COMPACT, step))
    assert status == -signal.SIGKILL, err
    assert same_rows(few.rows(), landed(FEW))
    with few.open() as lake:
        run(lake, Compact(lake.home, lake.actor))
        assert Compact(lake.home, lake.actor).plan().items == ()
    whole(few, landed(FEW))


def test_queries_meanwhile_see_each_row_once(small: World) -> None:
    """Readers go on while files are merged under them."""
    process = child(small, COMPACT)
    wrong: list[int] = []
    seen: list[int] = []

    def read() -> None:
        with small.connect() as connection:
            while process.poll() is None or not seen:
                rows = connection.sql("SELECT * FROM events").arrow().to_pylist()
                (seen if same_rows(rows, EXPECTED) else wrong).append(len(rows))

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    status, _, err = finished(process)
    for thread in threads:
        thread.join()
    assert (status, wrong) == (0, []), err
    assert seen
    whole(small)


def test_a_query_that_was_planned_before_reads_what_it_was_given(small: World) -> None:
    """Replaced objects stay, until the sweep's grace period is over."""
    with small.connect() as connection:
        batches = iter(connection.sql("SELECT * FROM events").batches())
        first = next(batches)
        with small.open() as lake:
            run(lake, Compact(lake.home, lake.actor))
        rows = [*first.to_pylist(), *(row for batch in batches for row in batch.to_pylist())]
    assert same_rows(rows, EXPECTED)


def test_batches_sent_again_are_no_ops(small: World) -> None:
    """A batch is known by its own row of the catalog, whatever became of its files."""
    with small.open() as lake:
        run(lake, Compact(lake.home, lake.actor))
        again = lake.ingest("events", w.table(w.known_rows()[1::7]), batch_id="batch-1")
        assert again.files == 0
    whole(small)


def test_versions_of_a_contract_are_not_mixed(small: World) -> None:
    """What employees were told when a row landed binds it, and rules of retention may name a version."""
    with small.open(settings=EAGER) as lake:
        old = {(file.partition, file.schema_version) for file in live(lake).values()}
        run(lake, Compact(lake.home, lake.actor))
        new = [(file.partition, file.schema_version) for file in live(lake).values()]
    assert {version for _, version in old} == {1, 2}
    assert sorted(new) == sorted(old)
    assert {row["extra"] for row in small.rows()} == {None}


def landed_at(world: World, settings: Settings = EAGER) -> dict[Partition, list[datetime]]:
    """When the live files of each partition count as landed."""
    with world.open(settings=settings) as lake:
        numbers = {subject.id: subject.number for subject in lake.home.directory.find(w.EMPLOYEES).values()}
        places = {file.partition for file in live(lake).values()}
        return {
            place: [
                moment
                for _, moment in lake.home.upkeep.of_partition(
                    (place.dataset, numbers[place.subject], place.sensitivity, place.month)
                )
            ]
            for place in places
        }


LATER = (timedelta(hours=1), timedelta(hours=2), timedelta(hours=30))


def late(template: World, folder: Path) -> World:
    """The known lake, and its rows once more in three batches of two days."""
    world = copy(template, folder)
    for number, after in enumerate(LATER):
        rows = [sent | {"ts": sent["ts"] + timedelta(seconds=number + 1)} for sent in w.known_rows()]
        with world.open(clock=lambda after=after: w.NOW + after) as lake:
            lake.ingest("events", w.table(rows), batch_id=f"late-{number}")
    return world


def test_a_merged_file_landed_with_the_newest_of_its_batches(template: World, tmp_path: Path) -> None:
    """By the promise of a contract a row counts from its capture, so that this changes nothing for it."""
    world = late(template, tmp_path)
    with world.open(settings=EAGER) as lake:
        run(lake, Compact(lake.home, lake.actor))
    newest = (w.NOW + LATER[-1]).replace(tzinfo=None)
    assert set(map(tuple, landed_at(world).values())) == {(newest,)}


def test_where_retention_goes_by_receipt_only_batches_of_a_day_are_merged(template: World, tmp_path: Path) -> None:
    """The rule is about one sensitivity; the others are merged over the days."""
    world = late(template, tmp_path)
    with world.open(settings=EAGER) as lake:
        text = "rules: [{match: {sensitivity: [3]}, keep: 20d, clock: received}]"
        RetentionDesk(lake.home).apply(text, "test", "ann-canary")
        run(lake, Compact(lake.home, lake.actor))
    for place, found in landed_at(world).items():
        days = {moment.date() for moment in found}
        assert len(found) == len(days) == (2 if place.sensitivity == 3 else 1)


def test_rows_captured_after_they_landed_are_not_merged_with_later_batches(template: World, tmp_path: Path) -> None:
    """A device whose clock is ahead: its rows count from landing, which must not become a later one."""
    world = copy(template, tmp_path)
    for number in range(2):
        rows = [w.row(ADA, datetime(2026, 9, 15, 12, 4, number), "focus", app="Mail-QX", n=1)]
        with world.open(clock=lambda hours=number: w.NOW + timedelta(minutes=hours)) as lake:
            lake.ingest("events", w.table(rows), batch_id=f"ahead-{number}")
    with world.open(settings=EAGER) as lake:
        ahead = {name for name, file in live(lake).items() if file.last_ts > datetime(2026, 9, 15, 12, 3)}
        run(lake, Compact(lake.home, lake.actor))
        assert len(ahead) == 2
        assert ahead <= live(lake).keys()


def test_the_running_month_waits_for_enough_files(small: World) -> None:
    """A month that is over is merged from two files on, the one that runs from as many as the settings say."""
    july = w.NOW.replace(month=7)
    with small.open(clock=lambda: july, settings=w.small_settings(compact_least=100)) as lake:
        months = {item.id.split("/")[3] for item in Compact(lake.home, lake.actor).plan().items}
    assert "2026-07" not in months
    with small.open(settings=w.small_settings(compact_files=2)) as lake:
        assert {len(item.work["files"]) for item in Compact(lake.home, lake.actor).plan().items} == {2}
    with small.open(settings=w.small_settings(compact_rows=4)) as lake:
        assert all(
            sum(live(lake)[name].rows for name in item.work["files"]) <= 4
            for item in Compact(lake.home, lake.actor).plan().items
        )


def test_one_item_that_fails_does_not_stop_the_others(small: World) -> None:
    """The files of somebody whose keys are disabled stay as they are; the run says that it is incomplete."""
    with small.open() as lake:
        keeping = KeyKeeping(lake.home, lake.actor)
        scope = KeyScope(employees=frozenset({BEN}))
        keeping.change_state(scope, disabled=True, whole_level=False)
        (ben,) = lake.home.directory.find([BEN]).values()
        before = {name for name, file in live(lake).items() if file.partition.subject == ben.id}
        done = run(lake, Compact(lake.home, lake.actor))
        assert (done.state, done.counts["failed"] > 0, done.counts["done"] > 0) == ("incomplete", True, True)
        assert before <= live(lake).keys()
        keeping.change_state(scope, disabled=False, whole_level=False)
        assert run(lake, Compact(lake.home, lake.actor)).state == "done"
    whole(small)


def test_from_the_command_line(small: World, capsys: pytest.CaptureFixture[str]) -> None:
    """A dry run changes nothing; a run says what it did."""
    at = ["--lake", str(small.root), "--key-file", str(small.key), "--json"]
    assert main(["jobs", "run", "compact", "--dry-run", *at]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert planned["facts"]["files"] > planned["items"] > 0
    assert main(["jobs", "run", "compact", "--option", "datasets=events", *at]) == 0
    assert json.loads(capsys.readouterr().out)["counts"]["files"] == planned["facts"]["files"]
    assert main(["jobs", "run", "compact", "--option", "datasets=no such", *at]) == 2


ROW = st.tuples(
    st.sampled_from(w.EMPLOYEES[:2]),
    st.datetimes(datetime(2026, 7, 30), datetime(2026, 8, 2)).map(lambda time: time.replace(fold=0)),
    st.sampled_from(
        [
            ("focus", {"app": "Mail-QX"}),
            ("focus", {"app": "Editor-QX", "title": "T"}),
            ("say", {"said": "s"}),
            ("judge", {"note": "n"}),
        ]
    ),
    st.integers(-500, 500),
)


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batches=st.lists(st.lists(ROW, min_size=1, max_size=8), min_size=2, max_size=7),
    files=st.integers(2, 5),
    turn=st.integers(0, 6),
)
def test_any_files_hold_the_same_rows_afterwards(
    empty: World, tmp_path_factory: pytest.TempPathFactory, batches: list[list[tuple]], files: int, turn: int
) -> None:
    """Random batches, levels, months and versions of the contract, merged until there is nothing more to merge."""
    world = copy(empty, tmp_path_factory.mktemp("any"))
    sent = [
        [w.row(employee, ts, kind, **values, n=n) for employee, ts, (kind, values), n in batch] for batch in batches
    ]
    with world.open(settings=w.small_settings(compact_files=files, compact_least=2)) as lake:
        for index, rows in enumerate(sent):
            if index == turn:
                renew(lake, SECOND)
            lake.ingest("events", w.table(rows), batch_id=f"any-{index}")
        old = live(lake)
        for _ in range(10):
            if run(lake, Compact(lake.home, lake.actor)).items == 0:
                break
        new = live(lake)
        places = [(file.partition, file.schema_version) for file in new.values()]
        assert set(places) == {(file.partition, file.schema_version) for file in old.values()}
        assert len(places) == len(set(places))
    assert same_rows(world.rows(), landed(list(itertools.chain(*sent))))


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A lake with one row only, of the second dataset's time."""
    return w.make(tmp_path_factory.mktemp("empty"), rows=[])


TIMES = st.lists(st.lists(st.integers(0, 30), max_size=12).map(sorted), max_size=6)
SCHEMA = pa.schema([("ts", pa.timestamp("us")), ("n", pa.int64())])


@given(sources=TIMES, size=st.integers(1, 5))
def test_merged_sources_are_sorted_and_whole(sources: list[list[int]], size: int) -> None:
    """Whatever the times, ties and lengths: every row once, in order of time."""
    numbers = itertools.count()
    rows = [[(time, next(numbers)) for time in times] for times in sources]

    def batches(part: list[tuple[int, int]]) -> list[pa.RecordBatch]:
        return [
            pa.RecordBatch.from_arrays(
                [pa.array([time for time, _ in some], pa.timestamp("us")), pa.array([n for _, n in some], pa.int64())],
                schema=SCHEMA,
            )
            for some in (part[start : start + size] for start in range(0, len(part), size))
        ]

    tables = list(whole_groups(merged([iter(batches(part)) for part in rows], SCHEMA), SCHEMA))
    found = pa.concat_tables(tables) if tables else SCHEMA.empty_table()
    times = found["ts"].cast(pa.int64()).to_pylist()
    assert times == sorted(times)
    assert sorted(zip(times, found["n"].to_pylist(), strict=True)) == sorted(itertools.chain(*rows))


def test_memory_does_not_grow_with_the_rows_that_are_merged() -> None:
    """Sixteen sources, ten times as many rows: the peak is that of a batch of each and the rows of one row group."""

    def peak(batches: int) -> int:
        pool = pa.default_memory_pool()
        before, highest, rows = pa.total_allocated_bytes(), 0, 0

        def source(number: int):
            for index in range(batches):
                start = (index * 4_096) * 16 + number
                yield pa.RecordBatch.from_arrays(
                    [
                        pa.array(range(start, start + 4_096 * 16, 16), pa.timestamp("us")),
                        pa.array(range(4_096), pa.int64()),
                    ],
                    schema=SCHEMA,
                )

        for table in whole_groups(merged([source(number) for number in range(16)], SCHEMA), SCHEMA):
            rows += table.num_rows
            highest = max(highest, pool.bytes_allocated() - before)
        assert rows == batches * 16 * 4_096
        return highest

    few, many = peak(6), peak(60)
    assert many < few * 1.5
    assert many < 6 * ROW_GROUP_ROWS * 16
