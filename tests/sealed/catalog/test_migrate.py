"""Schema versions of the catalog and the key store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext

from keys import tables as key_tables
from lake.clock import utc_now
from lake.errors import IntegrityError, UsageError
from lake.sealed.catalog import migrate, tables
from lake.sealed.catalog.catalog import Catalog
from lake.sealed.catalog.chain import Head
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


def test_a_first_catalog_keeps_its_chain(
    database: Database, opened: Callable[..., Catalog], event: Callable[[Catalog, str, str], Head], path: Path
) -> None:
    """Commits made before the table of elevations still verify with it, and the chain goes on."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrate.__file__).with_name("migrations")))
    with database.writing() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    with pytest.raises(UsageError, match="0001"):
        migrate.check_version(database, migrate.CATALOG_HEAD)
    older = Catalog(database, opened(path)._mac, utc_now)
    older.add_contract("desktop", 1, "sha256:" + "1" * 64, "dataset: desktop")
    migrate.upgrade(database, migrate.CATALOG_MIGRATIONS)
    assert older.verify().seq == 1
    assert event(older, "4" * 32, "request").seq == older.verify().seq == 2
