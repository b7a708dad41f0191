"""Landing batches: exactly once, wholly or not at all, as the contract says, with errors that carry no value."""

# ruff: noqa: DTZ001 - capture times are naive UTC; the SQL is made of constants
from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.errors import (
    BatchConflictError,
    BatchRefusedError,
    ContractBreachError,
    LakeError,
    MalformedInputError,
    UnavailableError,
    UsageError,
)
from lake.gateway.doctor import DAMAGE, Doctor
from lake.gateway.ingest import HashedBatches
from tests import world as w
from tests.world import ADA, NOW, SCHEMA, World, child, finished, landed, row, same_rows, table

DAY = datetime(2026, 9, 1, 9)
CANARY = "qzx-hidden-value-93"
LATE = [row("EMP-EVA-7745", DAY + timedelta(hours=hour), "focus", app="Late-QX", n=hour) for hour in range(5)]


def changed(**columns: pa.Array) -> pa.Table:
    """Three good rows with some columns replaced or added."""
    good = table(LATE[:3])
    for name, values in columns.items():
        index = good.schema.get_field_index(name)
        good = good.append_column(name, values) if index < 0 else good.set_column(index, name, values)
    return good


def test_what_was_sent_is_what_is_there(world: World) -> None:
    """Every row of a batch is readable, whole and in its own level."""
    assert same_rows(world.rows(), landed(w.known_rows()))


def test_the_same_batch_again_changes_nothing(world: World) -> None:
    """A batch sent again under its id, or without one, is reported as landed and adds neither rows nor objects."""
    before = world.objects()
    with world.open() as lake:
        again = lake.ingest("events", table(w.known_rows()), batch_id="first-batch")
        assert (again.status, again.rows, again.files) == ("already landed", 144, 0)
        first = lake.ingest("events", table(LATE))
        second = lake.ingest("events", table(LATE))
        assert (first.status, second.status, first.batch_id) == ("landed", "already landed", second.batch_id)
    assert len(world.objects()) == len(before) + first.files
    assert same_rows(world.rows(), landed([*w.known_rows(), *LATE]))


def test_an_id_with_other_content_is_refused(world: World) -> None:
    """An id that has landed before is refused with other rows, and nothing of them stays."""
    before = world.objects()
    with world.open() as lake, pytest.raises(BatchConflictError):
        lake.ingest("events", table(LATE), batch_id="first-batch")
    assert world.objects() == before
    assert same_rows(world.rows(), landed(w.known_rows()))


def test_another_id_with_the_same_rows_is_another_batch(world: World) -> None:
    """Only the id and the content together make a batch: equal events under another id are counted twice."""
    with world.open() as lake:
        assert lake.ingest("events", table(LATE), batch_id="a").status == "landed"
        assert lake.ingest("events", table(LATE), batch_id="b").status == "landed"
    assert same_rows(world.rows(), landed([*w.known_rows(), *LATE, *LATE]))


@settings(max_examples=40, deadline=None)
@given(cuts=st.lists(st.integers(0, 144), max_size=6), offset=st.integers(0, 5))
def test_the_digest_is_of_rows_and_not_of_chunks(cuts: list[int], offset: int) -> None:
    """However equal rows are chunked and sliced, their digest is the same."""
    whole = table(w.known_rows())
    padded = pa.concat_tables([whole.slice(0, offset), whole]).slice(offset)
    bounds = [0, *sorted(cuts), 144]
    parts = [padded.slice(start, end - start) for start, end in pairwise(bounds)]
    digests = []
    for source in (whole, pa.concat_tables(parts)):
        hashed = HashedBatches(source.schema, iter(source.to_batches()))
        assert sum(batch.num_rows for batch in hashed) == 144
        digests.append(hashed.hexdigest())
    assert digests[0] == digests[1]


def test_other_rows_have_another_digest() -> None:
    """One changed value, a changed order or a changed column name is another content."""
    rows = w.known_rows()
    other = [rows[0] | {"n": 7}, *rows[1:]]
    swapped = [rows[1], rows[0], *rows[2:]]
    renamed = table(rows).rename_columns([*SCHEMA.names[:-1], "rating"])
    digests = set()
    for source in (table(rows), table(other), table(swapped), renamed):
        hashed = HashedBatches(source.schema, iter(source.to_batches()))
        list(hashed)
        digests.add(hashed.hexdigest())
    assert len(digests) == 4


def test_rows_as_dictionaries_are_told_apart_by_their_values(world: World) -> None:
    """Equal codes for other texts are other rows; the same texts under other codes are the same rows."""

    def coded(values: list[str], codes: list[int]) -> pa.Table:
        texts = pa.DictionaryArray.from_arrays(pa.array(codes, pa.int8()), pa.array(values))
        rows = table([row(ADA, DAY, "focus", app="Mail-QX"), row(ADA, DAY, "focus", app="Mail-QX")])
        return rows.set_column(SCHEMA.get_field_index("title"), "title", texts)

    with world.open() as lake:
        for rows, status in (
            (coded(["First-QX", "Second-QX"], [0, 1]), "landed"),
            (coded(["Third-QX", "Fourth-QX"], [0, 1]), "landed"),
            (coded(["Second-QX", "First-QX"], [1, 0]), "already landed"),
        ):
            assert lake.ingest("events", rows).status == status
    new = sorted(found["title"] for found in world.rows() if found["ts"] == DAY)
    assert new == ["First-QX", "Fourth-QX", "Second-QX", "Third-QX"]


def test_the_digest_is_what_it_has_always_been() -> None:
    """A sender may send again what landed years ago: SHA-256 over Arrow's schema and record batch messages."""
    rows = pa.table({"n": pa.array([1, None, 3], pa.int64()), "text": ["a", None, "ä"]})
    for few, expected in (
        (rows, "431300657c8754f92d3502fe07ffd302e089ec9f6130396c39749c3f3cd39546"),
        (rows.slice(0, 0), "121593e21199ea5dc5b3057a5813bf1bc54fd0b61683822909f121bf7fafddc7"),
    ):
        hashed = HashedBatches(rows.schema, few.to_batches())
        list(hashed)
        assert hashed.hexdigest() == expected


@settings(max_examples=20, deadline=None)
@given(sizes=st.lists(st.integers(1, 9), max_size=3))
def test_the_digest_is_of_arrows_own_messages(sizes: list[int]) -> None:
    """Schema without metadata, then each 65,536 rows, as Arrow serialises a copy of them."""
    whole = table(w.known_rows()).replace_schema_metadata({"sender": "x"})
    rows = pa.concat_tables([whole] * 500).slice(0, sum(sizes) * 7000)
    hashed = HashedBatches(rows.schema, rows.to_batches())
    list(hashed)
    reference = hashlib.sha256(rows.schema.remove_metadata().serialize())
    for start in range(0, rows.num_rows, 65_536):
        (copied,) = rows.slice(start, 65_536).take(pa.array(range(min(65_536, rows.num_rows - start)))).to_batches()
        reference.update(copied.serialize())
    assert hashed.hexdigest() == reference.hexdigest()


def test_every_form_of_rows_lands_the_same(world: World) -> None:
    """A table, a reader and an iterator of batches with the same rows are one batch."""
    rows = table(LATE)
    with world.open() as lake:
        assert lake.ingest("events", rows).status == "landed"
        assert lake.ingest("events", rows.to_reader(max_chunksize=2)).status == "already landed"
        assert lake.ingest("events", iter(rows.to_batches(max_chunksize=1))).status == "already landed"
        with pytest.raises(UsageError):
            lake.ingest("events", iter(()))


def test_what_the_contract_does_not_name_never_lands(world: World) -> None:
    """Unknown event types, unknown fields and fields of another event are dropped, and counted without values."""
    rows = pa.Table.from_pylist(
        [
            row(ADA, DAY, "focus", app="Kept-QX", note=CANARY),
            row(ADA, DAY, "keystrokes", app=CANARY, title=CANARY),
            row(ADA, DAY, "say", said="kept", title=CANARY),
        ],
        SCHEMA,
    ).append_column("password", pa.array([CANARY, CANARY, None]))
    with world.open() as lake:
        report = lake.ingest("events", rows)
    assert report.rows == 2
    assert report.dropped == {"unknown_event_type": 1, "unknown_field": 2, "field_not_of_event": 2}
    assert report.unknown_fields == ("password",)
    new = [found for found in world.rows() if found["ts"] == DAY]
    assert {(found["type"], found["app"], found["title"], found["note"]) for found in new} == {
        ("focus", "Kept-QX", None, None),
        ("say", "Mail-QX", None, None),
    }
    assert "password" not in world.rows("SELECT * FROM events LIMIT 1")[0]
    entry = world.entries("ingest.batch")[-1]
    assert entry["dropped"] == report.dropped
    assert CANARY not in json.dumps(entry)
    assert "password" not in json.dumps(entry)


def test_sensitivity_is_raised_and_never_lowered(world: World) -> None:
    """A row has the highest of what its type, its present fields and its sender say; a lower claim counts nothing."""
    sent = [
        row(ADA, DAY, "focus", app="x", n=1, sensitivity=None),
        row(ADA, DAY, "focus", app="x", n=2, sensitivity=3),
        row(ADA, DAY, "focus", app="x", n=3, title="t", sensitivity=1),
        row(ADA, DAY, "say", said="s", n=4, sensitivity=1),
        row(ADA, DAY, "judge", note="s", n=5, sensitivity=2),
        row(ADA, DAY, "focus", app="x", n=6, note=CANARY, sensitivity=1),
    ]
    with world.open() as lake:
        lake.ingest("events", table(sent))
    found = {one["n"]: one["sensitivity"] for one in world.rows() if one["ts"] == DAY}
    assert found == {1: 1, 2: 3, 3: 2, 4: 3, 5: 4, 6: 1}


TWICE = pa.Table.from_arrays([*table(LATE).columns, pa.array(["a"] * 5)], names=[*SCHEMA.names, "app"])
NOT_UTF8 = pa.array([b"ok", b"\xff" + CANARY.encode(), b"ok"]).cast(pa.binary())
BAD_TEXT = pa.Array.from_buffers(pa.string(), 3, NOT_UTF8.buffers())
OUTSIDE = [
    ("text for a number", MalformedInputError, changed(n=pa.array([CANARY] * 3)), "'n'"),
    ("number for a text", MalformedInputError, changed(app=pa.array([93, 93, 93])), "'app'"),
    ("a text for a time", MalformedInputError, changed(ts=pa.array([CANARY] * 3)), "'ts'"),
    ("a number out of its type", MalformedInputError, changed(n=pa.array([1, 2**40, 3])), "'n'"),
    ("no time", MalformedInputError, changed(ts=pa.array([DAY, None, DAY], pa.timestamp("us"))), "row 2: the field"),
    ("no employee", MalformedInputError, changed(employee=pa.array(["a", "b", None])), "row 3: the field"),
    ("an empty employee", MalformedInputError, changed(employee=pa.array(["", "b", "c"])), "row 1: the field"),
    ("a long employee", MalformedInputError, changed(employee=pa.array(["a", CANARY * 9, "c"])), "row 2: the field"),
    ("no type", MalformedInputError, changed(type=pa.array(["focus", None, "focus"])), "row 2: the field 'type'"),
    ("nan", MalformedInputError, changed(score=pa.array([0.0, float("nan"), 1.0])), "row 2: the field 'score'"),
    ("infinity", MalformedInputError, changed(score=pa.array([0.0, 1.0, float("-inf")])), "row 3: the field 'score'"),
    ("too long", MalformedInputError, changed(app=pa.array(["a", "b", CANARY * 9])), "row 3: the field 'app'"),
    ("below", ContractBreachError, changed(n=pa.array([1, -9393, 1])), "row 2: the field 'n'"),
    ("above", ContractBreachError, changed(n=pa.array([1, 1, 9393])), "row 3: the field 'n'"),
    ("a required field is missing", MalformedInputError, changed(app=pa.array(["a", None, "c"])), "row 2: the field"),
    ("future", MalformedInputError, changed(ts=pa.array([DAY, DAY, datetime(2026, 9, 15, 12, 6)])), "row 3: the field"),
    ("before 2000", MalformedInputError, changed(ts=pa.array([DAY, datetime(1999, 12, 31), DAY])), "row 2: the field"),
    ("a sensitivity of 5", MalformedInputError, changed(sensitivity=pa.array([1, 2, 5])), "row 3: the field"),
    ("a sensitivity of 0", MalformedInputError, changed(sensitivity=pa.array([1, 0, 300])), "row 2: the field"),
    ("a name twice", MalformedInputError, TWICE, "twice"),
    ("not UTF-8", MalformedInputError, changed(app=BAD_TEXT), "'app'"),
    ("no column", MalformedInputError, table(LATE).drop_columns(["employee"]), "'employee'"),
    ("nanoseconds", MalformedInputError, changed(ts=pa.array([1, 2, 3], pa.timestamp("ns"))), "'ts'"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "rows", "place"), [case[1:] for case in OUTSIDE], ids=[case[0] for case in OUTSIDE])
def test_a_wrong_value_refuses_the_batch(world: World, kind: type[LakeError], rows: pa.Table, place: str) -> None:
    """Anything wrong refuses the whole batch, naming row and field and not the value; nothing of it stays."""
    before = world.objects()
    with world.open() as lake, pytest.raises(kind) as caught:
        lake.ingest("events", rows)
    text = f"{caught.value} {caught.value!r} {caught.value.hint} {caught.value.details}"
    assert place in text
    assert "93" not in text
    assert "qzx" not in text
    assert world.objects() == before
    assert same_rows(world.rows(), landed(w.known_rows()))
    assert world.entries("ingest.refused")[-1]["reason"] == kind.code


def test_the_row_is_counted_from_the_start_of_the_delivery(world: World) -> None:
    """An error in a later part names the row as the sender counts it."""
    rows = [*LATE, row(ADA, DAY, "focus", app="x" * 41)]
    with world.open() as lake, pytest.raises(MalformedInputError, match="row 70006: the field 'app'"):
        lake.ingest("events", pa.concat_tables([*[table(LATE)] * 14_000, table(rows)]))


def test_half_a_delivery_does_not_stay(world: World) -> None:
    """A refusal after files were written removes them."""
    before = world.objects()
    late = [row(ADA, DAY, "focus", app="x" * 41)]
    many = pa.concat_tables([table(w.known_rows())] * 500)
    with world.open(settings=w.small_settings(landing_bytes=1)) as lake:
        with pytest.raises(MalformedInputError):
            lake.ingest("events", pa.concat_tables([many, table(late)]))
        with pytest.raises(RuntimeError, match="sender"):
            lake.ingest("events", breaking(many))
    assert world.objects() == before
    assert same_rows(world.rows(), landed(w.known_rows()))


def breaking(rows: pa.Table) -> Iterator[pa.RecordBatch]:
    """A sender that breaks off."""
    yield from rows.to_batches(max_chunksize=70_000)
    raise RuntimeError("the sender is gone")


def test_batches_of_another_schema_are_refused(world: World) -> None:
    """A stream whose later batches have other columns is malformed, in the lake's own words."""
    odd = table(LATE).rename_columns([f"{CANARY}-{name}" for name in SCHEMA.names]).to_batches()
    with world.open() as lake, pytest.raises(MalformedInputError) as caught:
        lake.ingest("events", iter([*table(LATE).to_batches(), *odd]))
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    ("dataset", "version", "kind"),
    [("nothing", None, ContractBreachError), ("events", 2, ContractBreachError), ("events", 0, ContractBreachError)],
)
def test_without_a_contract_nothing_lands(world: World, dataset: str, version: int, kind: type[LakeError]) -> None:
    """A dataset without a contract, or a version that never was, is refused."""
    with world.open() as lake, pytest.raises(kind):
        lake.ingest(dataset, table(LATE), contract_version=version)
    assert same_rows(world.rows(), landed(w.known_rows()))


@pytest.mark.parametrize("batch_id", ["", "a b", "../x", "a" * 129, "-a", "a\n", "ä"])
def test_a_batch_id_is_a_plain_name(world: World, batch_id: str) -> None:
    """Ids that could be anything but a name are refused."""
    with world.open() as lake, pytest.raises(UsageError):
        lake.ingest("events", table(LATE), batch_id=batch_id)


def test_times_with_a_zone_are_instants(world: World) -> None:
    """A capture time with a time zone lands as its UTC reading; one without is UTC."""
    zoned = pa.array([DAY], pa.timestamp("us", "UTC")).cast(pa.timestamp("s", "Asia/Tokyo"))
    with world.open() as lake:
        lake.ingest("events", table(LATE[:1]).set_column(SCHEMA.get_field_index("ts"), "ts", zoned))
    assert [found["ts"] for found in world.rows() if found["app"] == "Late-QX"] == [DAY]


def test_five_minutes_ahead_is_a_clock_and_not_the_future(world: World) -> None:
    """Times up to five minutes ahead of the lake's clock land."""
    ahead = row(ADA, NOW.replace(tzinfo=None) + timedelta(minutes=5), "focus", app="Ahead-QX")
    with world.open() as lake:
        assert lake.ingest("events", table([ahead])).rows == 1


def test_a_delivery_of_nothing_that_may_land_is_still_a_batch(world: World) -> None:
    """Rows of unknown types alone land no file, are counted, and are not counted again when sent again."""
    rows = table([row(ADA, DAY, "unheard-of", app="x")])
    with world.open() as lake:
        first, second = lake.ingest("events", rows, batch_id="b"), lake.ingest("events", rows, batch_id="b")
    assert (first.rows, first.files, first.dropped) == (0, 0, {"unknown_event_type": 1})
    assert (second.status, second.dropped) == ("already landed", {"unknown_event_type": 1})


WAITING = """
rows = w.table(w.known_rows()) if sys.argv[5] == "known" else w.table([
    w.row(f"EMP-NEW-{number}", w.NOW.replace(tzinfo=None), "focus", app="x", title=sys.argv[6]) for number in range(30)
])
with world.open() as lake:
    print("ready", flush=True)
    sys.stdin.readline()
    report = lake.ingest("events", rows, batch_id=sys.argv[6])
print(report.status, report.rows, flush=True)
"""


def together(world: World, what: str, *batch_ids: str) -> list[str]:
    """What children report that land a batch each, all told to begin when all are ready."""
    running = [child(world, WAITING, "", 1, what, batch_id) for batch_id in batch_ids]
    for process in running:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    reports = []
    for process in running:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in running:
        status, out, err = finished(process)
        assert status == 0, err
        reports.append(out.strip())
    return sorted(reports)


def test_two_processes_land_one_batch_once(world: World) -> None:
    """Of two processes that land the same batch at once, one lands it and the other finds it landed."""
    assert together(world, "known", "race", "race") == ["already landed 144", "landed 144"]
    assert same_rows(world.rows(), landed(w.known_rows() * 2))
    with world.open() as lake:
        assert not [found for found in Doctor(lake.home).examine_lake() if found.state == DAMAGE]


def test_two_processes_give_a_new_employee_one_pseudonym(world: World) -> None:
    """Different batches with the same unknown employees at once leave one pseudonym for each."""
    assert together(world, "new", "race-1", "race-2") == ["landed 30", "landed 30"]
    found = world.rows("SELECT employee, count(*) AS n FROM events WHERE employee LIKE 'EMP-NEW%' GROUP BY employee")
    assert {one["employee"]: one["n"] for one in found} == {f"EMP-NEW-{number}": 2 for number in range(30)}
    with world.open() as lake:
        assert lake.home.catalog.counts()["directory"] == 34
    subjects = {path.parent.parent.parent.name for path in world.objects()}
    assert len(subjects) == 34


LIMITED = """
import resource
from lake.errors import LakeError
rows = w.table(w.known_rows() * 300)
before = [path.name for path in world.objects()]
with world.open() as lake:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[5]), resource.RLIM_INFINITY))
    try:
        lake.ingest("events", rows, batch_id="full")
    except LakeError as error:
        print(error.exit_code, error.code, [path.name for path in world.objects()] == before)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
"""


@pytest.mark.parametrize("limit", [0, 2_000, 5_000, 60_000])
def test_a_full_disk_lands_nothing(world: World, limit: int) -> None:
    """Whichever file meets the end of the disk first, the sender is told to try again and nothing is half there."""
    status, out, err = finished(child(world, LIMITED, "", 1, limit))
    assert status == 0, err
    assert re.fullmatch(r"5 (audit_)?unavailable True\n", out), out
    assert same_rows(world.rows(), landed(w.known_rows()))
    with world.open() as lake:
        assert lake.ingest("events", table(w.known_rows() * 300), batch_id="full").status == "landed"
        assert not [found for found in Doctor(lake.home).examine_lake() if found.state == DAMAGE]


def test_a_store_that_cannot_be_written_is_unavailable(world: World) -> None:
    """Where folders of the store cannot be made, the batch is refused for now and nothing of it is visible."""
    data = world.root / "data"
    data.rename(world.root / "elsewhere")
    data.write_bytes(b"")
    with world.open() as lake, pytest.raises(UnavailableError):
        lake.ingest("events", table(LATE), batch_id="late")
    data.unlink()
    (world.root / "elsewhere").rename(data)
    assert same_rows(world.rows(), landed(w.known_rows()))
    with world.open() as lake:
        assert lake.ingest("events", table(LATE), batch_id="late").status == "landed"


def test_a_refusal_names_its_class_alone_in_the_log(world: World) -> None:
    """The log of a refused batch has the dataset and the class of the error, and nothing of the rows."""
    with world.open() as lake, pytest.raises(BatchRefusedError):
        lake.ingest("events", changed(app=pa.array(["a", "b", CANARY * 9])), batch_id=CANARY)
    entry: dict[str, Any] = world.entries("ingest.refused")[-1]
    assert (entry["dataset"], entry["reason"]) == ("events", "malformed_input")
    assert CANARY not in json.dumps(entry)
