"""Schema versions: every database knows its own, and one that is not this release's is not used until upgraded."""

from __future__ import annotations

from importlib.resources import as_file, files

import sqlalchemy as sa

from lake.errors import IntegrityError, UsageError
from lake.sealed.catalog import postgresql
from lake.sealed.catalog.database import Database

CATALOG_MIGRATIONS, CATALOG_HEAD = "lake.sealed.catalog.migrations", "0009"
KEY_STORE_MIGRATIONS, KEY_STORE_HEAD = "keys.migrations", "0001"

_VERSION = sa.text("SELECT version_num FROM alembic_version")


def upgrade(database: Database, migrations: str) -> None:
    """Bring a database to the newest version; each run is one transaction, and running it again changes nothing."""
    with database.writing() as connection:
        run_migrations(connection, migrations)


def run_migrations(connection: sa.Connection, migrations: str) -> None:
    """The same inside a write transaction."""
    from alembic import command  # noqa: PLC0415 - slow to import, and needed only here
    from alembic.config import Config  # noqa: PLC0415

    remote = connection.dialect.name != "sqlite"
    if remote:
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")  # an index of a large table takes its time
    with as_file(files(migrations)) as folder:
        config = Config()
        config.set_main_option("script_location", str(folder).replace("%", "%%"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    if remote:
        postgresql.compare_bytes(connection)


def check_version(database: Database, expected: str) -> None:
    """Refuse a database of another version.

    Raises:
        UsageError: it is older and can be upgraded.
        IntegrityError: it has no version, or a newer one.
    """
    with database.reading() as connection:
        if not sa.inspect(connection).has_table("alembic_version"):
            raise IntegrityError(f"the {database.name} is empty or damaged", hint="restore it from a backup")
        found = connection.execute(_VERSION).scalar_one()
    if found < expected:
        raise UsageError(f"the {database.name} has the older version {found}", hint="run 'lake upgrade'")
    if found > expected:
        raise IntegrityError(f"the {database.name} has the newer version {found}", hint="upgrade the software")
