"""The catalog: batches land once, races have one winner, crashes leave whole commits, and selection is exact."""

# ruff: noqa: DTZ001, PLR0917 - capture times are naive UTC; pytest hands fixtures in by name
from __future__ import annotations

import signal
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lake.errors import BatchConflictError, UnavailableError
from lake.rules.model import Subject
from lake.sealed.catalog import catalog as module
from lake.sealed.catalog.catalog import Selection
from lake.sealed.catalog.rows import microseconds, moment

LANDING = """
import sys
from conftest import batch_record, data_file, open_catalog

catalog = open_catalog(sys.argv[1])
files = [(data_file(f"{sys.argv[2]}-{number}"), 0) for number in range(20)]
head = catalog.land(batch_record("contested"), files, key_epoch=1)
print("won" if head else "again")
"""

ENTERING = """
import sys
from conftest import open_catalog
from lake.rules.model import Subject

catalog = open_catalog(sys.argv[1])
offset = int(sys.argv[2])
won = 0
for number in range(10, 20):
    subject = Subject(f"{offset}" * 13 + f"{number}" * 6 + "x", number)
    won += catalog.add_employees([(subject, b"%032d" % number, b"sealed")]) is not None
print(won)
"""

CRASHING = """
import os, signal, sys
from conftest import batch_record, data_file, open_catalog
from sqlalchemy import event

catalog = open_catalog(sys.argv[1])
seen = 0

def stop(*_):
    global seen
    seen += 1
    if seen == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)

event.listen(catalog.database.engine, sys.argv[2], stop)
catalog.land(batch_record("crashing"), [(data_file(f"crash-{number}"), 0) for number in range(50)], key_epoch=1)
"""

ALL = Selection("desktop", frozenset({1, 2, 3, 4}))


@pytest.fixture(name="path", params=["sqlite", "postgresql"])
def _path(request, tmp_path, place):
    """Where the catalog lies, on each database in turn."""
    return place(request.param, request, tmp_path)


def test_everything_comes_back_as_it_was_put(catalog, file, batch):
    """Contracts, policies, employees, actors, batches and files are read as they were written."""
    assert catalog.contract_texts() == catalog.contract_texts("desktop") == {("desktop", 1): "dataset: desktop"}
    assert catalog.contract_texts("other") == {}
    assert catalog.current_policy() == ("sha256:" + "2" * 64, b"sealed policy")
    catalog.add_policy("sha256:" + "4" * 64, b"newer")
    assert [sealed for _, _, sealed in catalog.policies()] == [b"sealed policy", b"newer"]
    assert catalog.current_policy() == ("sha256:" + "4" * 64, b"newer")
    assert catalog.find_employees([b"a" * 32, b"z" * 32]) == {b"a" * 32: Subject("a" * 26, 0)}
    assert catalog.directory() == catalog.directory([0, 1])
    assert catalog.directory([1]) == {1: (Subject("b" * 26, 1), b"sealed id")}
    assert catalog.actors() == {"u:" + "3" * 32: b"sealed name"}
    assert catalog.batch("desktop", "batch-0") == replace(batch("batch-0"), landed_at=datetime(2026, 3, 14))
    assert catalog.batch("desktop", "none") is None
    expected = [(file(f"{one}-{part}", hours=10 * part), part) for one in range(2) for part in range(2)]
    expected.append((file("2-0-again"), 0))
    assert sorted(catalog.select(ALL), key=repr) == sorted(expected, key=repr)
    live = {each.object_key for each, _ in expected}
    assert catalog.object_keys() == live | {file("2-0").object_key}
    assert catalog.object_keys(removed_after=datetime(2026, 3, 13)) == catalog.object_keys()
    assert catalog.object_keys(removed_after=datetime(2026, 3, 15)) == live
    assert catalog.counts() == {"batches": 3, "files": 5, "directory": 2, "commits": 10}
    (summary,) = catalog.summary()
    assert (summary["files"], summary["rows"], summary["bytes"], summary["employees"]) == (5, 85, 20_480, 2)
    assert (summary["first"], summary["last"]) == ("2026-03-01T00:00:00", "2026-03-01T11:00:00")


def test_a_batch_lands_once(catalog, path, dumped, file, batch):
    """The same batch again changes nothing, with the same files or others; other content is a conflict."""
    before, head = dumped(path), catalog.head()
    for name in ("0-0", "another attempt"):
        assert catalog.land(batch("batch-0"), [(file(name), 0)], key_epoch=1) is None
    with pytest.raises(BatchConflictError, match="other content"):
        catalog.land(batch("batch-0", content="sha256:2"), [(file("new"), 0)], key_epoch=1)
    assert (dumped(path), catalog.head()) == (before, head)
    assert (
        catalog.land(batch("batch-0", dataset="laptop"), [(file("new", dataset="laptop"), 0)], key_epoch=1) is not None
    )
    catalog.verify()


def test_a_file_lands_in_one_batch_only(catalog, file, batch):
    """A new batch that repeats a landed file is refused whole."""
    before = catalog.counts()
    with pytest.raises(UnavailableError):
        catalog.land(batch("batch-9"), [(file("new"), 0), (file("0-0"), 0)], key_epoch=1)
    assert catalog.counts() == before
    assert catalog.batch("desktop", "batch-9") is None


def test_names_are_taken_once(catalog):
    """A contract version, an employee and an actor that exist are not entered again."""
    head = catalog.head()
    with pytest.raises(UnavailableError):
        catalog.add_contract("desktop", 1, "sha256:" + "5" * 64, "other")
    assert catalog.add_employees([(Subject("c" * 26, 2), b"a" * 32, b"x")]) is None
    assert catalog.add_employees([(Subject("a" * 26, 2), b"c" * 32, b"x")]) is None
    assert catalog.add_employees([(Subject("c" * 26, 0), b"c" * 32, b"x")]) is None
    assert catalog.add_actor("u:" + "3" * 32, b"other") is None
    assert catalog.head() == head


def test_two_processes_land_one_batch(catalog, path, child):
    """One process wins, the other learns that the batch is there, and the rows are not doubled."""
    processes = [child(LANDING, path, name) for name in ("one", "two")]
    outcomes = []
    for process in processes:
        output, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        outcomes.append(output.strip())
    assert sorted(outcomes) == ["again", "won"]
    assert catalog.counts()["files"] == 5 + 20
    catalog.verify()


def test_two_processes_enter_the_same_employees(catalog, path, child):
    """Each employee is entered by one of them."""
    processes = [child(ENTERING, path, offset) for offset in (4, 5)]
    won = 0
    for process in processes:
        output, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        won += int(output)
    assert won == 10
    assert catalog.counts()["directory"] == 2 + 10
    catalog.verify()


@pytest.mark.parametrize(
    ("event", "turn"), [("after_cursor_execute", turn) for turn in (1, 2, 3, 4, 5)] + [("commit", 1)]
)
def test_a_kill_within_a_commit_leaves_nothing_of_it(catalog, path, child, opened, dumped, file, batch, event, turn):
    """After kill -9 at any statement the catalog is as before, verifies, and takes the batch."""
    head, before = catalog.head(), dumped(path)
    process = child(CRASHING, path, event, turn)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, errors
    assert dumped(path) == before
    again = opened(path)
    assert again.verify() == head
    assert again.land(batch("crashing"), [(file("crash-0"), 0)], key_epoch=1).seq == head.seq + 1
    again.verify()
    again.database.close()


def test_times_are_exact_to_the_microsecond():
    """Microseconds since 1970 and back, before and after."""
    for value in (datetime(1969, 12, 31, 23, 59, 59, 999999), datetime(2026, 3, 1, 1, 2, 3, 4), datetime(9999, 1, 1)):
        assert moment(microseconds(value)) == value


hours = st.integers(0, 12)
landed = st.lists(
    st.tuples(st.integers(0, 5), st.integers(1, 4), hours, st.sampled_from(["desktop", "laptop"])), max_size=12
)
selections = st.builds(
    Selection,
    st.sampled_from(["desktop", "laptop", "other"]),
    st.frozensets(st.integers(1, 4)),
    st.none() | st.frozensets(st.integers(0, 7)),
    st.none() | hours.map(lambda hour: datetime(2026, 3, 1) + timedelta(hours=hour)),
    st.none() | hours.map(lambda hour: datetime(2026, 3, 1) + timedelta(hours=hour, microseconds=-1)),
)


@pytest.fixture
def empty(path, opened):
    """A catalog without rows."""
    made = opened(path)
    yield made
    made.database.close()


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(rows=landed, wanted=st.lists(selections, min_size=1, max_size=6), in_list=st.sampled_from([1, 5_000]))
def test_selection_is_that_of_a_plain_filter(empty, file, batch, rows, wanted, in_list):
    """Whatever is landed and asked, the files are those that the words of Selection admit, in order."""
    name = f"b{empty.head().seq}"
    files = [
        (file(f"{name}-{index}", subject=str(number) * 26, level=level, hours=hour, dataset=dataset), number)
        for index, (number, level, hour, dataset) in enumerate(rows)
    ]
    empty.land(batch(name), files, key_epoch=1)
    ours = {each.file_id for each, _ in files}
    before, module.IN_LIST = module.IN_LIST, in_list
    try:
        found = [[pair for pair in empty.select(each) if pair[0].file_id in ours] for each in wanted]
    finally:
        module.IN_LIST = before
    for selection, selected in zip(wanted, found, strict=True):
        expected = [
            (each, number)
            for each, number in files
            if each.partition.dataset == selection.dataset
            and each.partition.sensitivity in selection.sensitivities
            and (selection.numbers is None or number in selection.numbers)
            and (selection.first is None or each.last_ts >= selection.first)
            and (selection.last is None or each.first_ts <= selection.last)
        ]
        assert selected == sorted(expected, key=lambda pair: (pair[1], pair[0].first_ts, pair[0].file_id))
