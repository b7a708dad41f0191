"""Objects in a directory: written once, private, listed as they are, and missing only in the lake's own words."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from lake.errors import IntegrityError, UnavailableError
from lake.sealed.objects import Location
from lake.sealed.objects.local import LocalStore

KEY = "data/events/subject=aa/dss=1/month=2026-07/a.parquet"


def test_an_object_comes_back(tmp_path: Path) -> None:
    """Content, length, listing and location are what was put."""
    store = LocalStore(tmp_path)
    store.put(KEY, memoryview(b"content"))
    store.settle([KEY])
    assert store.read(KEY) == b"content"
    assert store.length(KEY) == 7
    assert [(found.key, found.length) for found in store.list()] == [(KEY, 7)]
    assert store.location() == Location("local", str(tmp_path))


def test_an_object_is_never_overwritten(tmp_path: Path) -> None:
    """A second object under one key is refused, and the first stays."""
    store = LocalStore(tmp_path)
    store.put(KEY, memoryview(b"first"))
    with pytest.raises(UnavailableError):
        store.put(KEY, memoryview(b"second"))
    assert store.read(KEY) == b"first"


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """A planted symbolic link does not make the store write elsewhere."""
    target = tmp_path / "elsewhere"
    (tmp_path / KEY).parent.mkdir(parents=True)
    (tmp_path / KEY).symlink_to(target)
    with pytest.raises(UnavailableError):
        LocalStore(tmp_path).put(KEY, memoryview(b"content"))
    assert not target.exists()


def test_objects_are_for_their_owner_alone(tmp_path: Path) -> None:
    """Neither an object nor a folder of the store is open to others, whatever the umask."""
    before = os.umask(0)
    try:
        LocalStore(tmp_path).put(KEY, memoryview(b"content"))
    finally:
        os.umask(before)
    assert (tmp_path / KEY).stat().st_mode & 0o077 == 0
    assert (tmp_path / KEY).parent.stat().st_mode & 0o077 == 0


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    """A missing object is damage when read, has no length, and is no error to delete."""
    store = LocalStore(tmp_path)
    with pytest.raises(IntegrityError, match="missing"):
        store.read(KEY)
    assert store.length(KEY) is None
    store.delete(KEY)
    assert list(store.list()) == []


def test_age_is_the_time_since_writing(tmp_path: Path) -> None:
    """The listing tells how old an object is, in seconds."""
    store = LocalStore(tmp_path)
    store.put(KEY, memoryview(b"content"))
    os.utime(tmp_path / KEY, (time.time() - 3600,) * 2)
    (found,) = store.list()
    assert 3590 < found.age < 3700


def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    """Where a file stands in the way, the error says the system's reason and no path of the machine."""
    (tmp_path / "data").write_bytes(b"")
    with pytest.raises(UnavailableError) as caught:
        LocalStore(tmp_path).put(KEY, memoryview(b"content"))
    assert str(tmp_path) not in str(caught.value)


def test_settling_syncs_every_object_and_every_folder_above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was put and all names that lead to it, objects before folders; not what others have put."""
    store = LocalStore(tmp_path)
    keys = [f"data/events/subject={number}/dss=1/month=2026-0{number % 3 + 1}/a.parquet" for number in range(40)]
    for key in [*keys, "data/other/subject=1/dss=1/month=2026-01/b.parquet"]:
        store.put(key, memoryview(b"content"))
    synced: list[Path] = []
    real = os.fsync

    def watched(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        real(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    store.settle(keys)
    objects = {tmp_path / key for key in keys}
    folders = {folder for path in objects for folder in path.parents if folder.is_relative_to(tmp_path)}
    assert set(synced[: len(keys)]) == objects
    assert sorted(synced[len(keys) :]) == sorted(folders)
