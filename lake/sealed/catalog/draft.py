"""Tables of a lake that is being made. A file goes with the lake's folder; a schema of PostgreSQL must be cleared.

A table of its own marks a schema as unfinished, from the transaction that fills it on. Whoever makes a lake there next
clears what is marked, and nothing else is ever cleared.
"""

from __future__ import annotations

from contextlib import ExitStack

import sqlalchemy as sa

from lake.errors import UnavailableError, UsageError
from lake.sealed.catalog.database import Database
from lake.sealed.catalog.migrate import run_migrations
from lake.sealed.catalog.postgresql import Address, try_lock

MARK = "lake_draft"


class Draft:
    """The tables of one database, made for a lake that may not come to be.

    Args:
        address: of a schema; None for a file, which is simply filled.

    Raises:
        UsageError: the schema holds tables already.
        UnavailableError: another process is making a lake there.
    """

    def __init__(self, database: Database, migrations: str, address: Address | None) -> None:
        self.database = database
        self._address = address
        self._holding = ExitStack()
        try:
            if address is not None:
                self._hold(address)
            with database.writing() as connection:
                if address is not None:
                    self._clear(connection, address)
                run_migrations(connection, migrations)
        except BaseException:
            self.close()
            raise

    def finish(self) -> None:
        """The lake is there: nothing clears its tables from here on."""
        if self._address is None:
            self.database.close()  # while the file is still where it was opened
            return
        with self.database.writing() as connection:
            connection.exec_driver_sql(f"DROP TABLE {MARK}")

    def discard(self) -> None:
        """The lake is not to be: its tables go."""
        if self._address is not None:
            with self.database.writing() as connection:
                _drop_tables(connection)

    def close(self) -> None:
        """Give the connections back."""
        self._holding.close()
        self.database.close()

    def _hold(self, address: Address) -> None:
        connection = self._holding.enter_context(self.database.session())
        if not try_lock(connection, address.schema, "init"):
            raise UnavailableError(f"another process is making a {self.database.name} there", hint="wait for it")

    def _clear(self, connection: sa.Connection, address: Address) -> None:
        if connection.exec_driver_sql(f"SELECT to_regnamespace('{address.schema}')").scalar() is None:
            connection.exec_driver_sql(f"CREATE SCHEMA {address.schema}")
        found = sa.inspect(connection).get_table_names()
        if found and MARK not in found:
            raise UsageError(
                f"the schema {address.schema} for the {self.database.name} is not empty",
                hint="name another with ?schema=, or drop it if no lake uses it: docs/operations/postgresql.md",
            )
        _drop_tables(connection)
        connection.exec_driver_sql(f"CREATE TABLE {MARK} ()")


def _drop_tables(connection: sa.Connection) -> None:
    quote = connection.dialect.identifier_preparer.quote
    if names := sa.inspect(connection).get_table_names():
        connection.exec_driver_sql(f"DROP TABLE {', '.join(map(quote, names))}")
