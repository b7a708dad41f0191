"""One SQL database: transactions, and errors that carry no values.

SQLite runs in WAL mode with full synchronisation and overwrites what it deletes; another database needs only its URL.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, exc

from lake.errors import IntegrityError, UnavailableError

BUSY_TIMEOUT_MS = 30_000
CHECKPOINT_PAUSE = 0.02
"""Seconds before a checkpoint is tried again."""


class Database:
    """Transactions on one database. ``name`` is what errors call it."""

    def __init__(self, url: str | sa.URL, name: str) -> None:
        self.name = name
        # Parameters are rows of ours: they must not appear in an exception's text.
        self.engine = sa.create_engine(url, hide_parameters=True)
        if self.engine.dialect.name == "sqlite":
            event.listen(self.engine, "connect", _configure_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)

    @classmethod
    def sqlite(cls, path: Path, name: str, *, create: bool = False) -> Database:
        """A database file.

        Raises:
            IntegrityError: the file is missing (and is not to be made).
        """
        if not create and not path.is_file():
            raise IntegrityError(f"the {name} is missing", hint=f"restore {path.name} from a backup")
        if create:
            with suppress(OSError):  # SQLite itself will say what is wrong
                path.touch(mode=0o600)  # what it lays beside takes the same mode
        return cls(sa.URL.create("sqlite", database=str(path)), name)

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A transaction that sees one consistent snapshot."""
        with self._errors(), self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction that excludes other writers from its start, so that what it read still holds at commit."""
        with self._errors(), self.engine.connect().execution_options(immediate=True) as connection, connection.begin():
            yield connection

    def checkpoint(self) -> None:
        """Bring SQLite's write-ahead log into the file and empty it, so that what was overwritten is gone from both.

        Raises:
            UnavailableError: a reader holds on to it for longer than the time-out; nothing is lost.
        """
        if self.engine.dialect.name != "sqlite":
            return
        deadline = time.monotonic() + BUSY_TIMEOUT_MS / 1000
        with self._errors(), self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            # SQLite waits for readers, but not for another process that is just bringing the log in itself.
            while connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()[0]:
                if time.monotonic() > deadline:
                    raise UnavailableError(f"the {self.name} is being read for long", hint="run the command again")
                time.sleep(CHECKPOINT_PAUSE)

    def close(self) -> None:
        """Give the connections back."""
        self.engine.dispose()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except exc.IntegrityError:
            raise  # a constraint decided a race; callers know which
        except (exc.OperationalError, exc.TimeoutError) as error:
            if "decode" in str(getattr(error, "orig", "")):  # SQLite's driver met text that is none
                raise self._damaged() from None
            raise UnavailableError(
                f"the {self.name} did not answer or could not be written",
                hint="is the disk full, the file read-only or another process holding it? then run the command again",
            ) from None
        except (exc.SQLAlchemyError, UnicodeDecodeError):  # SQLite quotes damaged bytes in its messages
            raise self._damaged() from None

    def _damaged(self) -> IntegrityError:
        return IntegrityError(f"the {self.name} is damaged", hint="run 'lake doctor', then restore it from a backup")


def _configure_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions are begun below, not guessed by the driver
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    for pragma in (
        "journal_mode = WAL",
        "synchronous = FULL",
        "secure_delete = ON",
        "foreign_keys = ON",
        "temp_store = MEMORY",
        "trusted_schema = OFF",
        "cell_size_check = ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    immediate = connection.get_execution_options().get("immediate", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
