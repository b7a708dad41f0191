"""What every store must do: the lake's own folder, SeaweedFS, and the MinIO gateway of JuiceFS, which can do least."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from lake.errors import IntegrityError, UnavailableError
from lake.sealed.objects import ObjectStore
from lake.sealed.objects.local import LocalStore
from tests.servers.buckets import bucket

MIB = 1024 * 1024
KINDS = ("local", "seaweedfs", "seaweedfs, versions", "juicefs")


@dataclass(frozen=True, slots=True)
class Case:
    """A store under test, and what it promises: ``exclusive`` if a name is written once whoever writes."""

    kind: str
    store: ObjectStore
    exclusive: bool


@pytest.fixture(params=KINDS)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Case]:
    """An empty store of each kind."""
    kind = request.param
    if kind == "local":
        yield Case(kind, LocalStore(tmp_path), exclusive=True)
        return
    name, _, versions = kind.partition(", ")
    store = bucket(name, versions=bool(versions)).store(large=6 * MIB, part=5 * MIB, page=3)
    yield Case(kind, store, exclusive=name == "seaweedfs")
    store.close()


def key(number: int) -> str:
    """A name as objects have them."""
    return f"data/events/subject={'a' * 26}/dss=1/month=2026-07/{number:032x}.parquet"


def test_an_object_comes_back(case: Case) -> None:
    """Content, length, parts and listing are what was put."""
    content = os.urandom(1000)
    case.store.put(key(1), memoryview(content))
    case.store.settle([key(1)])
    assert case.store.read(key(1)) == content
    assert case.store.length(key(1)) == 1000
    (found,) = case.store.list()
    assert (found.key, found.length) == (key(1), 1000)
    assert 0 <= found.age < 60


@pytest.mark.parametrize(
    ("start", "length", "expected"), [(0, 4, b"0123"), (6, 4, b"6789"), (8, 9, b"89"), (10, 5, b""), (3, 0, b"")]
)
def test_a_part_is_what_is_there_of_it(case: Case, start: int, length: int, expected: bytes) -> None:
    """As much as there is from a place on, and the length of the whole."""
    case.store.put(key(1), memoryview(b"0123456789"))
    part = case.store.part(key(1), start, length)
    assert (part.content, part.total) == (expected, 10)


def test_an_empty_object_is_one(case: Case) -> None:
    """Nothing is a content too."""
    case.store.put(key(1), memoryview(b""))
    assert case.store.read(key(1)) == b""
    assert case.store.length(key(1)) == 0
    assert case.store.part(key(1), 0, 4).content == b""


def test_what_is_missing_is_said(case: Case) -> None:
    """A missing object is damage when read, has no length, and is no error to delete."""
    for read in (case.store.read, lambda name: case.store.part(name, 0, 4)):
        with pytest.raises(IntegrityError, match="missing"):
            read(key(1))
    assert case.store.length(key(1)) is None
    case.store.delete(key(1))
    assert list(case.store.list()) == []


def test_a_large_object_comes_back(case: Case) -> None:
    """One that is uploaded in parts is one object, and no upload stays."""
    content = os.urandom(11 * MIB)
    case.store.put(key(1), memoryview(content))
    assert case.store.read(key(1)) == content
    assert case.store.part(key(1), 5 * MIB - 2, 4).content == content[5 * MIB - 2 : 5 * MIB + 2]
    assert [found.length for found in case.store.list()] == [11 * MIB]
    assert list(case.store.unfinished()) == []


def test_a_deleted_object_is_gone(case: Case) -> None:
    """It alone: another whose name begins alike stays."""
    names = [key(1), key(1) + ".other", key(2)]
    for name in names:
        case.store.put(name, memoryview(b"content"))
    case.store.delete(names[0])
    assert sorted(found.key for found in case.store.list()) == sorted(names[1:])
    with pytest.raises(IntegrityError):
        case.store.read(names[0])
    case.store.delete(names[0])


@pytest.mark.parametrize("size", [1000, 7 * MIB], ids=["small", "large"])
def test_an_object_is_never_overwritten(case: Case, size: int) -> None:
    """Another content under one name is refused where the server can do that, and the first stays."""
    first = bytes(size)
    case.store.put(key(1), memoryview(first))
    if not case.exclusive:
        return
    with pytest.raises(UnavailableError):
        case.store.put(key(1), memoryview(first[1:] + b"x"))
    assert case.store.read(key(1)) == first


def test_one_of_many_writers_of_a_name_wins(case: Case) -> None:
    """Eight put eight contents under one name at the same moment: one is told that it did, and its content is there."""
    start = threading.Barrier(8)

    def write(number: int) -> bytes | None:
        content = bytes([number]) * 2000
        start.wait()
        try:
            case.store.put(key(1), memoryview(content))
        except UnavailableError:
            return None
        return content

    with ThreadPoolExecutor(8) as pool:
        told = [content for content in pool.map(write, range(8)) if content is not None]
    assert case.store.read(key(1)) in told
    assert len(told) == 1 or not case.exclusive


def _fill(store: ObjectStore, count: int) -> list[str]:
    names = [key(number) for number in range(count)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda name: store.put(name, memoryview(b"x")), names))
    return names


def test_a_list_of_several_pages_has_each_object_once(case: Case) -> None:
    """Pages of three names, the last of them full or not."""
    for count in (6, 7):
        names = _fill(case.store, count)
        assert sorted(found.key for found in case.store.list()) == names
        for name in names:
            case.store.delete(name)
        assert list(case.store.list()) == []


def test_more_objects_than_a_page_may_have_are_listed() -> None:
    """Servers give 1,000 names at a time: there are more."""
    store = bucket("seaweedfs").store()
    names = _fill(store, 1003)
    assert sorted(found.key for found in store.list()) == names


def test_stores_do_not_see_each_other(tmp_path: Path) -> None:
    """Two prefixes of one bucket are two stores, even if one begins as the other does."""
    place = bucket("seaweedfs")
    one = place.store()
    other = type(one)(type(place.place)(place.name, "some/lake-two", None, place.endpoint))
    one.put(key(1), memoryview(b"one"))
    other.put(key(1), memoryview(b"other"))
    assert (one.read(key(1)), other.read(key(1))) == (b"one", b"other")
    assert [found.length for found in one.list()] == [3]
    one.delete(key(1))
    assert other.read(key(1)) == b"other"
