"""Leases: one holder at a time, tokens that only grow, and nothing committed by who was taken over."""

# ruff: noqa: PLR0917 - pytest hands fixtures in by name
from __future__ import annotations

import os
import signal

import pytest
import sqlalchemy as sa

from lake.errors import LeaseHeldError, LeaseLostError, UsageError
from lake.sealed.catalog import tables
from lake.sealed.catalog.leases import LONGEST, Lease, Leases, check_lease
from lake.sealed.catalog.upkeep import Upkeep

TAKING = """
import sys, time
from conftest import open_catalog
from lake.errors import LeaseHeldError
from lake.sealed.catalog.leases import Leases

leases = Leases(open_catalog(sys.argv[1]).database)
held = []
for number in range(20):
    try:
        held.append(leases.take(f"job-{number}", sys.argv[2], 600).token)
    except LeaseHeldError:
        pass
print(len(held), set(held))
"""

WORKING = """
import sys
from conftest import data_file, open_catalog
from lake.errors import LeaseLostError
from lake.sealed.catalog.leases import Leases
from lake.sealed.catalog.upkeep import Upkeep

catalog = open_catalog(sys.argv[1])
lease = Leases(catalog.database).take("job", "worker", 0.001)
print("working", flush=True)
sys.stdin.readline()
try:
    old = data_file("0-0")
    Upkeep(catalog).replace([(old.file_id, data_file("by the worker"))], key_epoch=1, lease=lease)
    print("committed")
except LeaseLostError:
    print("lost")
"""


@pytest.fixture(name="path", params=["sqlite", "postgresql"])
def _path(request, tmp_path, place):
    """Where the catalog lies, on each database in turn."""
    return place(request.param, request, tmp_path)


@pytest.fixture
def leases(catalog):
    """The leases of a filled catalog."""
    return Leases(catalog.database)


def shift(catalog, seconds):
    """As if the database's clock had been put back (or forward, below 0) since the leases were taken."""
    with catalog.database.writing() as connection:
        values = {"expires_at": tables.leases.c.expires_at + int(seconds * 1_000_000)}
        connection.execute(tables.leases.update().values(values))


def test_one_holds_a_lease_until_it_gives_it_back(leases):
    """Others are told who has it and for how long; names do not get into each other's way."""
    lease = leases.take("sweep", "one", 60)
    with pytest.raises(LeaseHeldError, match="done by one") as caught:
        leases.take("sweep", "two", 60)
    assert "seconds" in caught.value.hint
    assert leases.take("rekey", "two", 60) == Lease("rekey", "two", 1)
    assert [(held.lease.name, held.lease.holder) for held in leases.held()] == [("rekey", "two"), ("sweep", "one")]
    assert all(55 < held.seconds <= 60 for held in leases.held())
    leases.release(lease)
    assert [held.lease.name for held in leases.held()] == ["rekey"]
    assert leases.take("sweep", "two", 60).token == 2


def test_a_lease_ends_by_itself(leases, catalog):
    """One who died holds nobody up; who was only late may go on as long as nobody has taken it."""
    lease = leases.take("sweep", "one", 60)
    shift(catalog, -61)
    leases.renew(lease, 60)
    shift(catalog, -61)
    assert leases.take("sweep", "two", 60).token == 2
    with pytest.raises(LeaseLostError):
        leases.renew(lease, 60)
    leases.release(lease)  # not its own any more: nothing
    with pytest.raises(LeaseHeldError):
        leases.take("sweep", "one", 60)


def test_the_same_holder_takes_over_from_itself(leases):
    """After a crash it need not wait; what it was before is locked out."""
    before = leases.take("sweep", "one", 60)
    again = leases.take("sweep", "one", 60)
    assert again.token == before.token + 1
    with pytest.raises(LeaseLostError):
        leases.renew(before, 60)
    leases.renew(again, 60)


def test_a_clock_that_was_put_back_holds_nobody_up(leases, catalog):
    """A lease that seems to run for longer than any may is not believed; the token still grows."""
    leases.take("sweep", "one", 60)
    shift(catalog, LONGEST + 1)
    assert leases.held() == []
    assert leases.take("sweep", "two", 60).token == 2


def test_a_lease_has_a_sensible_length(leases):
    """Neither nothing nor for ever."""
    for seconds in (0, -1, LONGEST + 1, float("nan")):
        with pytest.raises(UsageError):
            leases.take("sweep", "one", seconds)


def test_what_is_committed_checks_the_token(leases, catalog, file):
    """Inside the same transaction: with the lease it is done, without it nothing is."""
    upkeep = Upkeep(catalog)
    lease = leases.take("rekey", "one", 60)
    assert upkeep.replace([(file("0-0").file_id, file("new"))], key_epoch=1, lease=lease) is not None
    leases.take("rekey", "one", 60)
    head = catalog.head()
    with pytest.raises(LeaseLostError):
        upkeep.replace([(file("0-1").file_id, file("newer"))], key_epoch=1, lease=lease)
    with pytest.raises(LeaseLostError), catalog.database.writing() as connection:
        check_lease(connection, Lease("never taken", "one", 1))
    assert catalog.head() == head == catalog.verify()


def test_two_processes_never_hold_the_same_lease(catalog, path, child):
    """Twenty jobs, two runners: each job is one's."""
    processes = [child(TAKING, path, name) for name in ("one", "two")]
    counts = []
    for process in processes:
        output, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        count, tokens = output.split(maxsplit=1)
        counts.append(int(count))
        assert tokens.strip() in {"{1}", "set()"}
    assert sum(counts) == 20


@pytest.mark.parametrize("taken", [True, False])
def test_a_process_that_was_paused_commits_nothing_if_another_went_on(catalog, path, child, leases, file, taken):
    """Stopped while it works, it wakes up after its lease ended: it may finish only what nobody has taken over."""
    process = child(WORKING, path)
    assert process.stdout.readline() == "working\n"
    os.kill(process.pid, signal.SIGSTOP)
    if taken:
        lease = leases.take("job", "another", 60)
        Upkeep(catalog).replace([(file("0-0").file_id, file("by another"))], key_epoch=1, lease=lease)
    os.kill(process.pid, signal.SIGCONT)
    output, errors = process.communicate("\n", timeout=60)
    assert process.returncode == 0, errors
    assert output == ("lost\n" if taken else "committed\n")
    catalog.verify()
    with catalog.database.reading() as connection:
        keys = set(connection.execute(sa.select(tables.files.c.object_key)).scalars())
    assert (file("by the worker").object_key in keys) == (not taken)


def test_a_process_that_was_killed_holds_a_lease_no_longer_than_it_runs(path, child, leases):
    """After kill -9 another takes it when it has ended, with a higher token."""
    process = child(WORKING, path)
    assert process.stdout.readline() == "working\n"
    process.kill()
    process.communicate(timeout=60)
    assert leases.take("job", "another", 60).token == 2
