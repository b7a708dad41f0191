"""Objects in a local directory. Half-written objects are possible after a crash; no catalog row names them."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from lake.errors import IntegrityError, UnavailableError
from lake.rules.layout import DATA
from lake.sealed.objects import Location, Part, StoredObject, Upload

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
SYNCS_AT_ONCE = 16
"""The disk takes many in hardly more time than one."""


def _sync(paths: Iterable[str]) -> None:
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class LocalStore:
    """The default store: the lake's own folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def location(self) -> Location:
        """See ObjectStore."""
        return Location("local", str(self._root))

    def put(self, key: str, content: memoryview) -> None:
        """See ObjectStore. It is on its way to the disk, not on it: that is for ``settle``, which is fast of many."""
        path = f"{self._root}/{key}"
        with _errors():
            try:
                descriptor = os.open(path, _NEW, 0o600)
            except FileNotFoundError:
                Path(path).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                descriptor = os.open(path, _NEW, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)

    def settle(self, keys: Collection[str]) -> None:
        """See ObjectStore."""
        folders = {""}
        for key in keys:
            folder = key.rpartition("/")[0]
            while folder not in folders:
                folders.add(folder)
                folder = folder.rpartition("/")[0]
        with _errors(), ThreadPoolExecutor(SYNCS_AT_ONCE, thread_name_prefix="settling") as pool:
            # Names after what they name.
            for names in (list(keys), sorted(folders, reverse=True)):
                paths = [f"{self._root}/{name}" for name in names]
                for _ in pool.map(_sync, (paths[start::SYNCS_AT_ONCE] for start in range(SYNCS_AT_ONCE))):
                    pass

    def read(self, key: str) -> bytes:
        """See ObjectStore."""
        try:
            return (self._root / key).read_bytes()
        except FileNotFoundError:
            raise IntegrityError(f"the object {key} is missing", hint="restore it from a backup") from None
        except OSError:
            raise UnavailableError(f"the object {key} cannot be read") from None

    def part(self, key: str, start: int, length: int) -> Part:
        """See ObjectStore."""
        try:
            with (self._root / key).open("rb") as file:
                file.seek(start)
                return Part(file.read(length), os.fstat(file.fileno()).st_size)
        except FileNotFoundError:
            raise IntegrityError(f"the object {key} is missing", hint="restore it from a backup") from None
        except OSError:
            raise UnavailableError(f"the object {key} cannot be read") from None

    def length(self, key: str) -> int | None:
        """See ObjectStore."""
        try:
            return (self._root / key).stat().st_size
        except FileNotFoundError:
            return None

    def list(self) -> Iterator[StoredObject]:
        """See ObjectStore."""
        now = time.time()
        for folder, _, names in os.walk(self._root / DATA):
            for name in sorted(names):
                path = Path(folder, name)
                with suppress(FileNotFoundError):
                    status = path.stat()
                    yield StoredObject(path.relative_to(self._root).as_posix(), status.st_size, now - status.st_mtime)

    def delete(self, key: str) -> None:
        """See ObjectStore."""
        with _errors():
            (self._root / key).unlink(missing_ok=True)

    def unfinished(self) -> Iterator[Upload]:
        """See ObjectStore. An object that was cut off is a file as any other, and an orphan."""
        return iter(())

    def abort(self, upload: Upload) -> None:
        """See ObjectStore."""

    def close(self) -> None:
        """See ObjectStore."""


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else "error"
        raise UnavailableError(
            f"the object store cannot be written: {reason}", hint="check the disk and the folder's rights"
        ) from None
