"""One SQL database: transactions, and errors that carry no values.

SQLite runs in WAL mode with full synchronisation and overwrites what it deletes; for PostgreSQL see postgresql.py.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, exc

from lake.errors import IntegrityError, LakeError, UnavailableError, UsageError
from lake.sealed.catalog import postgresql

BUSY_TIMEOUT_MS = 30_000
CHECKPOINT_PAUSE = 0.02
"""Seconds before a checkpoint is tried again."""


class Database:
    """Transactions on one database. ``name`` is what errors call it."""

    def __init__(self, url: str | sa.URL, name: str, **options: Any) -> None:
        self.name = name
        # Parameters are rows of ours: they must not appear in an exception's text.
        self.engine = sa.create_engine(url, hide_parameters=True, **options)
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        self._held = threading.local()
        self._for_reading: dict[str, Any] = {}
        if self.is_sqlite:
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

    @classmethod
    def postgresql(cls, address: postgresql.Address, name: str, password: Callable[[], str] | None = None) -> Database:
        """A schema of a PostgreSQL database. Nothing is connected yet.

        Args:
            password: asked at each new connection; without it libpq looks where it always does.

        Raises:
            UsageError: the driver is not installed.
        """
        try:
            database = cls(address.url, name, **postgresql.engine_options(address))
        except ImportError:
            raise UsageError(
                "the driver of PostgreSQL is not installed", hint="pip install 'telemetry-lake[postgres]'"
            ) from None
        postgresql.configure(database.engine, address, password)
        database._for_reading = postgresql.FOR_READING
        return database

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A transaction that sees one consistent snapshot: inside a ``snapshot()`` of this thread, that one."""
        held: sa.Connection | None = getattr(self._held, "connection", None)
        if held is not None:
            yield held
            return
        with self._errors(), self._connect(self._for_reading) as connection, connection.begin():
            yield connection

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Everything that this thread reads inside the block is read from one snapshot."""
        with self.reading() as connection:
            outer = getattr(self._held, "connection", None)
            self._held.connection = connection
            try:
                yield
            finally:
                self._held.connection = outer

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction that excludes other writers from its start, so that what it read still holds at commit."""
        with self._errors(), self._connect({"immediate": True}) as connection, connection.begin():
            yield connection

    def checkpoint(self) -> None:
        """Take what was overwritten out of the database: of SQLite's file and log, of PostgreSQL's tables.

        PostgreSQL's own log and its archive keep it until they are recycled: see docs/operations/postgresql.md.

        Raises:
            UnavailableError: a reader holds on to it for longer than the time-out; nothing is lost.
        """
        deadline = time.monotonic() + BUSY_TIMEOUT_MS / 1000
        with self.session() as connection:
            attempt = _empty_log if self.is_sqlite else postgresql.TablesRewritten(connection)
            # SQLite waits for readers, but not for another process that is just bringing the log in itself.
            while not attempt(connection):
                if time.monotonic() > deadline:
                    raise UnavailableError(f"the {self.name} is being read for long", hint="run the command again")
                time.sleep(CHECKPOINT_PAUSE)

    @contextmanager
    def session(self) -> Iterator[sa.Connection]:
        """A connection of its own, outside of transactions; what it holds ends with it."""
        with self._errors(), self._connect({"isolation_level": "AUTOCOMMIT"}) as connection:
            connection.detach()
            yield connection

    def close(self) -> None:
        """Give the connections back."""
        self.engine.dispose()

    @contextmanager
    def _connect(self, options: dict[str, Any]) -> Iterator[sa.Connection]:
        with self.engine.connect() as connection:
            yield connection.execution_options(**options)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except exc.IntegrityError:
            raise  # a constraint decided a race; callers know which
        except (exc.SQLAlchemyError, UnicodeDecodeError) as error:  # SQLite quotes damaged bytes in its messages
            raise self._failure(error) from None

    def _failure(self, error: Exception) -> LakeError:
        if not self.is_sqlite:
            return postgresql.failure(error, self.name)
        busy = isinstance(error, exc.OperationalError | exc.TimeoutError)
        if busy and "decode" not in str(getattr(error, "orig", "")):  # else SQLite's driver met text that is none
            return UnavailableError(
                f"the {self.name} did not answer or could not be written",
                hint="is the disk full, the file read-only or another process holding it? then run the command again",
            )
        return IntegrityError(f"the {self.name} is damaged", hint="run 'lake doctor', then restore it from a backup")


def _empty_log(connection: sa.Connection) -> bool:
    return not connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()[0]


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
