"""The folder of a lake that is being restored: beside its place until it is whole, and then put there.

``.<name>.restoring`` is cleared by the next attempt. Renamed to ``.<name>.restored`` it is whole, and the next attempt
only brings it to its place. A key store elsewhere, and schemas of PostgreSQL, carry a mark until then.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from keys.secretfiles import sync_folder
from lake.errors import UnavailableError, UsageError
from lake.gateway import places
from lake.gateway.config import read_config
from lake.rules import layout
from lake.sealed.catalog.draft import MARK

REPORT = ".restored.json"
KEY_MARK = ".restoring"


class Restoring:
    """Where one lake is restored to. Its objects may lie in ``root/data`` already, and stay what they are."""

    def __init__(self, root: Path, key_store: Path | None) -> None:
        self.root = root.absolute()
        self.key_store = None if key_store is None else key_store.absolute()
        self.draft = self.root.with_name(f".{self.root.name}.restoring")
        self.whole = self.root.with_name(f".{self.root.name}.restored")

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Excludes other restorations to the same parent folder.

        Raises:
            UnavailableError: there is one, or a file cannot be written.
        """
        self.root.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.root.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise UnavailableError("another restoration is running there", hint="wait until it has finished") from None
        try:
            yield
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else "error"
            raise UnavailableError(
                f"the restored lake cannot be written: {reason}", hint="check disk and folders, and restore again"
            ) from None
        finally:
            os.close(descriptor)

    def begin(self) -> None:
        """Make the folders, cleared of what an attempt that was cut off has left.

        Raises:
            UsageError: the place of the lake or of its key store is taken.
        """
        if self.root.exists() and (not self.root.is_dir() or set(os.listdir(self.root)) - {layout.DATA}):  # noqa: PTH208
            hint = f"choose another place; nothing but {layout.DATA}/ may be there"
            raise UsageError(f"{self.root} exists and is not an empty folder", hint=hint)
        folder = self.key_store
        if folder is not None and folder.exists() and not self._is_ours(folder) and any(folder.iterdir()):
            raise UsageError(f"{folder} exists and is not an empty folder", hint="choose another key store")
        shutil.rmtree(self.draft, ignore_errors=True)
        self.draft.mkdir(mode=0o700)
        if folder is not None:
            self._clear(folder)
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            (folder / KEY_MARK).write_text(str(self.root), "utf-8")
        if (self.root / layout.DATA).exists():
            (self.draft / layout.DATA).symlink_to(self.root / layout.DATA, target_is_directory=True)
        sys.audit("lake.step", "restore.folders-made")

    def discard(self) -> None:
        """The restoration failed: leave nothing behind."""
        if self.key_store is not None:
            self._clear(self.key_store)
            shutil.rmtree(self.key_store, ignore_errors=True)
        shutil.rmtree(self.draft, ignore_errors=True)

    def declare_whole(self, report: Mapping[str, Any]) -> None:
        """From here on the lake is restored, wherever this process ends."""
        (self.draft / REPORT).write_text(json.dumps(report), "utf-8")
        for path in (self.draft / REPORT, *self.draft.glob("*.db"), *self.draft.glob(f"{layout.KEYS}/*")):
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)
        sync_folder(self.draft)
        self.draft.rename(self.whole)
        sync_folder(self.root.parent)
        sys.audit("lake.step", "restore.whole")

    def is_whole(self) -> bool:
        """Whether an earlier attempt has come so far that only :meth:`put_in_place` is left."""
        return self.whole.is_dir()

    def put_in_place(self) -> dict[str, Any]:
        """Bring the restored lake to its place; made again after a crash it goes on. Gives the report."""
        config = read_config(self.whole)
        (self.whole / config.key_store / KEY_MARK).unlink(missing_ok=True)
        for address, find in (
            (places.catalog_address(config), places.catalog_database),
            (places.key_address(config), places.key_database),
        ):
            if address is not None:
                database = find(self.whole, config)
                with database.writing() as connection:
                    connection.exec_driver_sql(f"DROP TABLE IF EXISTS {MARK}")
                database.close()
        sys.audit("lake.step", "restore.marks-removed")
        report: dict[str, Any] = json.loads((self.whole / REPORT).read_text("utf-8"))
        link, data = self.whole / layout.DATA, self.root / layout.DATA
        if data.exists():
            link.unlink(missing_ok=True)
            data.rename(link)
            sys.audit("lake.step", "restore.data-moved")
        if self.root.exists():
            self.root.rmdir()
        self.whole.rename(self.root)
        sync_folder(self.root.parent)
        sys.audit("lake.step", "restore.in-place")
        (self.root / REPORT).unlink()
        return report

    def _is_ours(self, folder: Path) -> bool:
        mark = folder / KEY_MARK
        return mark.is_file() and mark.read_text("utf-8") == str(self.root)

    def _clear(self, folder: Path) -> None:
        """Take away what an attempt of ours has left; the mark goes last."""
        if not folder.is_dir() or not self._is_ours(folder):
            return
        for path in sorted(folder.iterdir(), key=lambda path: path.name == KEY_MARK):
            path.unlink()
