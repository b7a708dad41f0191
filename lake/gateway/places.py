"""Where a lake's parts lie: its object store, its catalog and its key store, as ``lake.json`` says."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
from lake.sealed.objects.s3_place import S3Place

CATALOG_NAME, KEY_STORE_NAME = "catalog", "key store"
CATALOG_SCHEMA, KEYS_SCHEMA = "lake_catalog", "lake_keys"
"""Where the tables lie if an address names no schema: the two may share a database, and better do not."""
CATALOG_PASSWORD, KEYS_PASSWORD = "LAKE_CATALOG_PASSWORD_FILE", "LAKE_KEYS_PASSWORD_FILE"


def object_store(root: Path, config: LakeConfig) -> ObjectStore:
    """The objects of the lake in ``root``; no request is made yet.

    Raises:
        UsageError: ``lake.json`` names no place, or what reaches it is not installed.
    """
    place = store_place(config)
    if place is None:
        return LocalStore(root)
    with _s3_extra():
        from lake.sealed.objects.s3 import S3Store  # noqa: PLC0415 - needs an extra
    return S3Store(place)


def store_place(config: LakeConfig) -> S3Place | None:
    """Where the objects lie on S3; None for the lake's folder.

    Raises:
        UsageError: ``lake.json`` names no place.
    """
    if not config.store and not config.endpoint:
        return None
    if not config.store:
        raise UsageError("an endpoint is named, and no store on it", hint="name the store too: s3://BUCKET/PREFIX")
    return S3Place.parse(config.store, config.endpoint)


def claim_store(config: LakeConfig, root: Path) -> None:
    """Take the place of a new lake's objects, or refuse it; a probe is put, read and removed.

    What was begun in ``root`` and killed may be begun again.

    Raises:
        UsageError: the place is taken.
        StoreRefusedError, UnavailableError: it cannot be used as it is.
    """
    place = store_place(config)
    if place is not None:
        with _s3_extra():
            from lake.sealed.objects.s3_examination import claim  # noqa: PLC0415 - needs an extra
        claim(place, _owner(root))


def release_store(config: LakeConfig, root: Path) -> None:
    """Give up the place of a lake that could not be made."""
    place = store_place(config)
    if place is not None:
        from lake.sealed.objects.s3_examination import release  # noqa: PLC0415 - needs an extra

        release(place, _owner(root))


def _owner(root: Path) -> str:
    return hashlib.sha256(f"{platform.node()}:{root}".encode()).hexdigest()[:32]


@contextmanager
def _s3_extra() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError:
        raise UsageError("the client of S3 is not installed", hint="pip install 'telemetry-lake[s3]'") from None


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
    store_place(config)


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
