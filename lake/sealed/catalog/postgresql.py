"""PostgreSQL under a ``Database``: its address, its sessions, its errors, and what VACUUM has to do.

Reasons: docs/decisions/0024-postgresql.md. The driver (psycopg) is loaded by SQLAlchemy when a database is opened.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, exc

from lake.errors import IntegrityError, LakeError, UnavailableError, UsageError

FORM = "postgresql://user@host:5432/database?schema=lake&sslmode=verify-full"
SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,62}")
PASSED_ON = frozenset({
    "application_name", "channel_binding", "gssencmode", "host", "hostaddr", "krbsrvname", "passfile", "port",
    "require_auth", "service", "ssl_min_protocol_version", "sslcert", "sslcrl", "sslkey", "sslmode", "sslrootcert",
    "target_session_attrs",
})  # fmt: skip
"""Parameters of libpq that an address may have. What is secret is not among them, nor what would undo ours."""

POOL, POOL_MOST = 4, 16
"""Connections that a process keeps, and that it has at most; who finds none free waits ``POOL_PATIENCE`` seconds."""
POOL_PATIENCE = 30.0

LIMITS: Mapping[str, str] = {
    "statement_timeout": "300s",
    "lock_timeout": "30s",
    "idle_in_transaction_session_timeout": "600s",
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
    "synchronous_commit": "on",  # what was acknowledged outlives a crash, whatever the server's default is
    "plan_cache_mode": "force_custom_plan",  # a plan for the bounds that were asked, not for average ones
}
"""Settings of each session. A statement, a lock, a pause within a transaction have an end."""
WRITER_PAUSE = "60s"
"""A writer that is silent for so long is cut off, as others wait for it."""

REACHING: Mapping[str, Any] = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,  # milliseconds
}
FOR_READING: dict[str, Any] = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}

_MISSING = frozenset({"42P01", "42703", "3F000"})
_TRANSIENT_CLASSES = ("08", "25", "40", "53", "55", "57", "58")


@dataclass(frozen=True, slots=True)
class Address:
    """Where the tables lie: a URL without credentials and without the schema, and the schema."""

    url: sa.URL
    schema: str


def parse_address(text: str, schema: str) -> Address:
    """Read the URL of a database; ``schema`` is meant where it names none.

    Raises:
        UsageError: it is none, names a secret, or a parameter that is not allowed; the text is not repeated.
    """
    try:
        url = sa.make_url(text)
        known = url.get_backend_name() == "postgresql" and url.get_driver_name() in {"psycopg", "psycopg2"}
    except (exc.ArgumentError, exc.NoSuchModuleError, ValueError):
        known = False
    if not known or text.startswith("postgresql+psycopg2"):
        raise UsageError("the address of a database is not one", hint=f"expected {FORM}")
    if url.password is not None or {"password", "sslpassword"} & set(url.query):
        raise UsageError(
            "the address of a database has a password in it, which would be written down",
            hint="take it out, change it, and give it by a file: LAKE_CATALOG_PASSWORD_FILE, LAKE_KEYS_PASSWORD_FILE",
        )
    query = dict(url.query)
    named = query.pop("schema", schema)
    if not isinstance(named, str) or SCHEMA.fullmatch(named) is None or named.startswith("pg_"):
        raise UsageError("the schema in a database's address is no plain name", hint=f"expected {SCHEMA.pattern}")
    if strange := sorted(set(query) - PASSED_ON):
        allowed = ", ".join(sorted(PASSED_ON))
        raise UsageError(f"the address of a database has the parameter {strange[0]!r:.40}", hint=f"allowed: {allowed}")
    return Address(url.set(drivername="postgresql+psycopg", query=query), named)


def engine_options(address: Address) -> dict[str, Any]:
    """What an engine for this address is made with."""
    settings = {**LIMITS, "search_path": f"{address.schema},pg_temp"}
    options = " ".join(f"-c {name}={value}" for name, value in settings.items())
    return {
        "pool_size": POOL,
        "max_overflow": POOL_MOST - POOL,
        "pool_timeout": POOL_PATIENCE,
        "pool_pre_ping": True,
        "pool_use_lifo": True,
        "isolation_level": "READ COMMITTED",
        "connect_args": {"application_name": "telemetry-lake", "options": options, **REACHING},
    }


def configure(engine: sa.Engine, address: Address, password: Callable[[], str] | None) -> None:
    """Give an engine its password, its writers' lock, and errors without values."""
    lock = _lock_key(address.schema, "writer")

    def begin(connection: sa.Connection) -> None:
        if connection.get_execution_options().get("immediate", False):
            # The lock before anything is read: each statement of READ COMMITTED sees what was committed before it.
            connection.exec_driver_sql(
                f"SELECT set_config('idle_in_transaction_session_timeout', '{WRITER_PAUSE}', true),"
                f" pg_advisory_xact_lock({lock})"
            )

    def connect(_dialect: object, _record: object, _arguments: object, parameters: dict[str, Any]) -> None:
        if password is not None:
            parameters["password"] = password()

    event.listen(engine, "begin", begin)
    event.listen(engine, "do_connect", connect)
    event.listen(engine, "handle_error", _forget_values)


def try_lock(connection: sa.Connection, schema: str, what: str) -> bool:
    """Take a lock that this session holds until it ends, unless another has it."""
    key = _lock_key(schema, what)
    return bool(connection.exec_driver_sql(f"SELECT pg_try_advisory_lock({key})").scalar())


def _lock_key(schema: str, what: str) -> int:
    """A lock's number. Locks are those of one database: other schemas of it have other numbers."""
    digest = hashlib.sha256(f"telemetry-lake {what} {schema}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def _forget_values(context: Any) -> None:
    """PostgreSQL quotes rows in its messages; what is left of one is its code."""
    original, shown = context.original_exception, context.sqlalchemy_exception
    if isinstance(original, context.dialect.dbapi.Error):
        text = f"SQLSTATE {original.sqlstate or 'unknown'}"
        # The whole report of the server goes, not its text alone.
        context.dialect.dbapi.Error.__init__(original, text)
        if shown is not None:
            shown.args = (f"({type(original).__name__}) {text}", *shown.args[1:])


def failure(error: Exception, name: str) -> LakeError:
    """What an error means for who asked."""
    state = getattr(getattr(error, "orig", None), "sqlstate", None) or ""
    lost = isinstance(error, exc.DBAPIError) and error.connection_invalidated
    if state == "42501":
        return UnavailableError(
            f"the database does not let this role do that with the {name}",
            hint="grant it what docs/operations/postgresql.md says",
        )
    if state in _MISSING:
        return IntegrityError(f"the {name} lacks a table", hint="is the schema the right one? else restore it")
    if (
        lost
        or state.startswith(_TRANSIENT_CLASSES)
        or isinstance(error, exc.OperationalError | exc.InterfaceError | exc.TimeoutError)
    ):
        return UnavailableError(
            f"the {name} did not answer or could not be written",
            hint="does the server run, and do address, credentials and TLS fit it? then run the command again",
        )
    return IntegrityError(f"the {name} is damaged", hint="run 'lake doctor', then restore it from a backup")


class TablesRewritten:
    """Rewrites every table of the schema without what was overwritten before now; true once it is out of each.

    VACUUM FULL keeps what an older snapshot may still see. It leaves the horizon that it used in ``relfrozenxid``: a
    table whose horizon is not before our transaction has nothing left from before it.
    """

    def __init__(self, connection: sa.Connection) -> None:
        self._since = int(connection.exec_driver_sql("SELECT pg_current_xact_id()::xid::text").scalar_one())

    def __call__(self, connection: sa.Connection) -> bool:
        """One attempt.

        Raises:
            UnavailableError: the role does not own the tables.
        """
        quote = connection.dialect.identifier_preparer.quote
        tables = connection.exec_driver_sql(
            "SELECT relname, pg_has_role(relowner, 'USAGE') FROM pg_class"
            " WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' ORDER BY relname"
        ).all()
        if not all(owned for _, owned in tables):  # VACUUM would leave them out with a warning
            raise UnavailableError(
                "this role does not own the tables, and may not take out what was overwritten",
                hint="run the command as their owner: docs/operations/postgresql.md",
            )
        for name, _ in tables:
            connection.exec_driver_sql(f"VACUUM (FULL) {quote(name)}")
        late = connection.exec_driver_sql(
            "SELECT 1 FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'"
            " AND age(relfrozenxid) > age(CAST(CAST(%s AS text) AS xid))",
            (str(self._since),),
        )
        return late.first() is None


def compare_bytes(connection: sa.Connection) -> None:
    """Let every text column compare by its bytes, inside a migration.

    SQLite does so; and an index in a locale's order is wrong after the server's C library has changed that order.
    """
    columns = connection.exec_driver_sql(
        "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_attribute a"
        " JOIN pg_class c ON c.oid = a.attrelid"
        " WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r' AND a.attnum > 0"
        " AND NOT a.attisdropped AND a.attcollation <> 0 AND a.attcollation <> '\"C\"'::regcollation"
    ).all()
    quote = connection.dialect.identifier_preparer.quote
    for table, column, kind in columns:
        connection.exec_driver_sql(f'ALTER TABLE {quote(table)} ALTER COLUMN {quote(column)} TYPE {kind} COLLATE "C"')
