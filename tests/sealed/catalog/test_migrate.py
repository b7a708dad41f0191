"""Schema versions of the catalog and the key store."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from keys import tables as key_tables
from lake.errors import IntegrityError, UsageError
from lake.sealed.catalog import migrate, tables
from lake.sealed.catalog.database import Database

BOTH = pytest.mark.parametrize(
    ("migrations", "head", "metadata"),
    [
        (migrate.CATALOG_MIGRATIONS, migrate.CATALOG_HEAD, tables.metadata),
        (migrate.KEY_STORE_MIGRATIONS, migrate.KEY_STORE_HEAD, key_tables.metadata),
    ],
)


@pytest.fixture
def database(tmp_path: Path) -> Database:
    """An empty database."""
    return Database.sqlite(tmp_path / "a.db", "catalog", create=True)


@BOTH
def test_migrations_make_the_tables_that_the_code_uses(
    database: Database, migrations: str, head: str, metadata: sa.MetaData
) -> None:
    """After the last migration the database has exactly the declared tables, columns and indexes."""
    migrate.upgrade(database, migrations)
    with database.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    migrate.check_version(database, head)


@BOTH
def test_upgrading_twice_changes_nothing(database: Database, migrations: str, head: str, metadata: sa.MetaData) -> None:
    """The second run is a no-op."""
    migrate.upgrade(database, migrations)
    migrate.upgrade(database, migrations)
    migrate.check_version(database, head)


def test_a_database_of_another_version_is_not_used(database: Database) -> None:
    """An older one asks for an upgrade, a newer one for newer software, an empty one for a backup."""
    with pytest.raises(IntegrityError, match="empty or damaged"):
        migrate.check_version(database, migrate.CATALOG_HEAD)
    migrate.upgrade(database, migrate.CATALOG_MIGRATIONS)
    for version, expected in (("0000", UsageError), ("9999", IntegrityError)):
        with database.writing() as connection:
            connection.execute(sa.text("UPDATE alembic_version SET version_num = :v"), {"v": version})
        with pytest.raises(expected):
            migrate.check_version(database, migrate.CATALOG_HEAD)
