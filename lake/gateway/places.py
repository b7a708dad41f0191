"""Where a lake's parts lie: its object store, its catalog and its key store, as ``lake.json`` says."""

from __future__ import annotations

from pathlib import Path

from lake.gateway.config import LakeConfig
from lake.rules import layout
from lake.sealed.catalog import migrate
from lake.sealed.catalog.database import Database
from lake.sealed.objects import ObjectStore
from lake.sealed.objects.local import LocalStore

CATALOG_NAME, KEY_STORE_NAME = "catalog", "key store"


def object_store(root: Path, config: LakeConfig) -> ObjectStore:  # noqa: ARG001
    """The objects of the lake in ``root``."""
    return LocalStore(root)


def key_folder(root: Path, config: LakeConfig) -> Path:
    """Where the key store's own files lie."""
    return root / config.key_store


def catalog_database(root: Path, config: LakeConfig, *, create: bool = False) -> Database:  # noqa: ARG001
    """The catalog's database; whether it has this version's form is not checked."""
    return Database.sqlite(root / layout.CATALOG, CATALOG_NAME, create=create)


def key_database(root: Path, config: LakeConfig, *, create: bool = False) -> Database:
    """The key store's database; whether it has this version's form is not checked."""
    return Database.sqlite(key_folder(root, config) / layout.KEY_STORE, KEY_STORE_NAME, create=create)


def checked(database: Database) -> Database:
    """A database that has this version's form.

    Raises:
        UsageError: it is older and can be upgraded.
        IntegrityError: it has no version, or a newer one.
    """
    head = migrate.CATALOG_HEAD if database.name == CATALOG_NAME else migrate.KEY_STORE_HEAD
    migrate.check_version(database, head)
    return database


def upgrade(database: Database) -> None:
    """Bring a database to this version's form."""
    catalog = database.name == CATALOG_NAME
    migrate.upgrade(database, migrate.CATALOG_MIGRATIONS if catalog else migrate.KEY_STORE_MIGRATIONS)
