"""Keys made for new employees while bucket keys are replaced and operations die: none ends under a destroyed key."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa

from keys.errors import KeyIntegrityError, StaleKeyError
from keys.hierarchy import Hierarchy
from keys.keystore import KeyStore
from keys.operations import rotate, shred
from keys.rows import KekRow, values_of
from keys.tables import keks
from tests.keys.operations import faults
from tests.keys.operations.keyside import LAKE, MONTHS, Keys, make, now, opened, pseudonym

BUCKETS = (7, 9, 200)
LEVELS = (1, 4)
BATCH = 3


def write(place: Path, writer: int, stop: Path, made: Path) -> None:
    """What an ingest host does, until told to stop: employees who are new, a batch of keys each time."""
    chance = random.Random(writer)
    with opened(place) as keys:
        while not stop.exists():
            batch = keys.store.counts()["subjects"]
            names = [f"w{writer}-{batch}-{i}-".ljust(26, "x") for i in range(BATCH)]
            keys.store.add_subjects([(name, chance.choice(BUCKETS)) for name in names])
            wanted = [(name, level, month) for name in names for level in LEVELS for month in MONTHS]
            try:
                keys.hierarchy.landing_view(wanted)
            except StaleKeyError:
                keys.hierarchy.landing_view(wanted)
            with made.open("a") as book:
                book.writelines(f"{name}\n" for name in names)


@pytest.mark.parametrize(
    ("seed", "turns"), [(1, 4), *(pytest.param(seed, 8, marks=pytest.mark.soak) for seed in range(1, 6))]
)
def test_writers_beside_operations_that_are_killed(tmp_path: Path, seed: int, turns: int) -> None:
    """Two writers never fail, and each key of theirs opens, whatever was killed where beside them."""
    place, stop = tmp_path / "place", tmp_path / "stop"
    make(place, BUCKETS * 4, levels=LEVELS)
    places = [(level, bucket) for level in LEVELS for bucket in BUCKETS]
    books = [tmp_path / f"made-{n}" for n in (1, 2)]
    reports = [tmp_path / f"failed-{n}" for n in (1, 2)]
    writers = [
        faults.forked(lambda n=n, book=book: write(place, n, stop, book), report)
        for n, book, report in zip((1, 2), books, reports, strict=True)
    ]
    chance = random.Random(seed)
    killed = 0
    try:
        for turn in range(turns):

            def verb(keys: Keys, turn: int = turn) -> object:
                if turn % 2:
                    return shred.shred(keys.keeper, [pseudonym(turn)], keys.backups)
                return rotate.rotate_buckets(keys.keeper, places)

            killed += faults.run(place, verb, chance.randint(5, 120 if turn % 2 else 40)) is None
            with opened(place) as keys:
                if keys.keeper.journal.unfinished() is not None:
                    verb(keys)
    finally:
        stop.touch()
        codes = [faults.ended(writer, report) for writer, report in zip(writers, reports, strict=True)]
    assert codes == [0, 0]
    assert killed >= 3 * turns // 8
    with opened(place) as keys:
        keys.verify()
        assert keys.disclosure().clean
        living = keys.living()
        mine = {name for book in books for name in book.read_text().split()}
        assert len(mine) > 10 * BATCH
        theirs = [row for row in keys.rows() if row.subject in mine]
        assert len(theirs) == len(mine) * len(LEVELS) * len(MONTHS)
        assert {(row.kek_id, row.version) for row in theirs} <= living.keys()


class Interrupted(KeyStore):
    """A writer who is overtaken between having wrapped its keys and storing them: the bucket keys are rotated there."""

    def __init__(self, keys: Keys) -> None:
        super().__init__(keys.database)
        self.keys = keys
        self.overtaken = 0

    def add_keks(self, new: Sequence[KekRow]) -> None:
        if not self.overtaken:
            self.overtaken = 1
            rotate.rotate_buckets(self.keys.keeper, sorted({(row.sensitivity, row.bucket) for row in new}))
        self.store(new)

    def store(self, new: Sequence[KekRow]) -> None:
        super().add_keks(new)


class Unguarded(Interrupted):
    """The same without the guard of the real key store."""

    def store(self, new: Sequence[KekRow]) -> None:
        with self.keys.database.writing() as connection:
            connection.execute(sa.insert(keks), [values_of(row) for row in new])


@pytest.mark.parametrize("kind", [Interrupted, Unguarded])
def test_the_guard_is_what_keeps_new_keys_alive(tmp_path: Path, kind: type[Interrupted]) -> None:
    """With it the writer begins anew and its keys open; without it verification finds the lost ones."""
    make(tmp_path, BUCKETS)
    with opened(tmp_path) as keys:
        (ref,) = keys.store.add_subjects([(pseudonym(90), 7)])
        store = kind(keys)
        Hierarchy(LAKE, store, keys.provider, clock=now).landing_view([(ref.subject, 3, "2026-03")])
        assert store.overtaken
        if kind is Interrupted:
            assert keys.verify()["keks"] == len(BUCKETS) * 8 + 1
        else:
            with pytest.raises(KeyIntegrityError):
                keys.verify()
