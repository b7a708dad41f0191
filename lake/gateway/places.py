"""Where a lake's parts lie: its object store, its catalog and its key store, as ``lake.json`` says."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from keys.errors import KeysError
from keys.secretfiles import read_secret_file
from lake.errors import UsageError
from lake.gateway.config import LakeConfig
from lake.rules import layout
from lake.sealed.catalog import migrate
from lake.sealed.catalog.database import Database
from lake.sealed.catalog.draft import Draft
from lake.sealed.catalog.postgresql import Address, parse_address
from lake.sealed.objects import ObjectStore
from lake.sealed.objects.local import LocalStore

CATALOG_NAME, KEY_STORE_NAME = "catalog", "key store"
CATALOG_SCHEMA, KEYS_SCHEMA = "lake_catalog", "lake_keys"
"""Where the tables lie if an address names no schema: the two may share a database, and better do not."""
CATALOG_PASSWORD, KEYS_PASSWORD = "LAKE_CATALOG_PASSWORD_FILE", "LAKE_KEYS_PASSWORD_FILE"


def object_store(root: Path, config: LakeConfig) -> ObjectStore:  # noqa: ARG001
    """The objects of the lake in ``root``."""
    return LocalStore(root)


def key_folder(root: Path, config: LakeConfig) -> Path:
    """Where the key store's own files lie."""
    return root / config.key_store


def catalog_database(root: Path, config: LakeConfig, *, create: bool = False) -> Database:
    """The catalog's database; whether it has this version's form is not checked."""
    if address := catalog_address(config):
        return Database.postgresql(address, CATALOG_NAME, _password(CATALOG_PASSWORD))
    return Database.sqlite(root / layout.CATALOG, CATALOG_NAME, create=create)


def key_database(root: Path, config: LakeConfig, *, create: bool = False) -> Database:
    """The key store's database; whether it has this version's form is not checked."""
    if address := key_address(config):
        return Database.postgresql(address, KEY_STORE_NAME, _password(KEYS_PASSWORD))
    return Database.sqlite(key_folder(root, config) / layout.KEY_STORE, KEY_STORE_NAME, create=create)


def catalog_address(config: LakeConfig) -> Address | None:
    """Where the catalog lies in PostgreSQL; None for a file.

    Raises:
        UsageError: ``lake.json`` names no place, or a password.
    """
    return parse_address(config.catalog_url, CATALOG_SCHEMA) if config.catalog_url else None


def key_address(config: LakeConfig) -> Address | None:
    """The same of the key store."""
    return parse_address(config.keys_url, KEYS_SCHEMA) if config.keys_url else None


def check(config: LakeConfig) -> None:
    """Refuse addresses with which no lake could be opened.

    Raises:
        UsageError: an address is none, or has a password in it.
    """
    catalog_address(config)
    key_address(config)


def catalog_draft(root: Path, config: LakeConfig) -> Draft:
    """The tables of a new catalog; see Draft."""
    database = catalog_database(root, config, create=True)
    return Draft(database, migrate.CATALOG_MIGRATIONS, catalog_address(config))


def key_draft(root: Path, config: LakeConfig) -> Draft:
    """The tables of a new key store; see Draft."""
    database = key_database(root, config, create=True)
    return Draft(database, migrate.KEY_STORE_MIGRATIONS, key_address(config))


def _password(variable: str) -> Callable[[], str] | None:
    """What reads the password from the file that the environment names, each time anew."""
    path = os.environ.get(variable)
    if not path:
        return None

    def read() -> str:
        try:
            return read_secret_file(Path(path)).decode().removesuffix("\n").removesuffix("\r")
        except KeysError as error:
            raise UsageError(f"{variable}: {error.message}", hint=error.hint) from None
        except UnicodeDecodeError:
            raise UsageError(f"{variable}: the file is not UTF-8 text") from None

    return read


def checked(database: Database) -> Database:
    """A database that has this version's form; it is closed if it has not.

    Raises:
        UsageError: it is older and can be upgraded.
        IntegrityError: it has no version, or a newer one.
    """
    head = migrate.CATALOG_HEAD if database.name == CATALOG_NAME else migrate.KEY_STORE_HEAD
    try:
        migrate.check_version(database, head)
    except BaseException:
        database.close()
        raise
    return database


def upgrade(database: Database) -> None:
    """Bring a database to this version's form."""
    catalog = database.name == CATALOG_NAME
    migrate.upgrade(database, migrate.CATALOG_MIGRATIONS if catalog else migrate.KEY_STORE_MIGRATIONS)
