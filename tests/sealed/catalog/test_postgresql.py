"""A database in PostgreSQL: snapshots, turns, limits, and errors that carry neither values nor the server's words."""

# ruff: noqa: S105, S608, PT012 - a row's value, no password; statements are the tests' own; blocks are under test
from __future__ import annotations

import threading
import traceback

import pytest
import sqlalchemy as sa
from sqlalchemy import event, exc

from lake.errors import IntegrityError, UnavailableError, UsageError
from lake.sealed.catalog import database as module
from lake.sealed.catalog import migrate, postgresql
from lake.sealed.catalog.database import Database
from lake.sealed.catalog.draft import Draft
from lake.sealed.catalog.postgresql import parse_address

SECRET = "the-value-of-a-row"
TABLE = sa.Table("things", sa.MetaData(), sa.Column("name", sa.String, primary_key=True), sa.Column("n", sa.Integer))


@pytest.fixture
def name(postgres):
    """An empty database."""
    made = postgres.database()
    yield made
    postgres.drop(made)


@pytest.fixture
def url(postgres, name):
    """Its address."""
    return postgres.url(name)


@pytest.fixture
def connect(url):
    """Opens the database again, in a schema of its own."""
    opened = []

    def connecting(schema="one", address=url):
        opened.append(Database.postgresql(parse_address(address, schema), "list of things"))
        return opened[-1]

    yield connecting
    for each in opened:
        each.close()


@pytest.fixture
def database(connect):
    """A database with one table."""
    made = connect()
    with made.writing() as connection:
        connection.exec_driver_sql("CREATE SCHEMA one")
        TABLE.create(connection)
    return made


def names(database):
    """What is stored."""
    with database.reading() as connection:
        return set(connection.execute(sa.select(TABLE.c.name)).scalars())


def add(database, *added):
    """Store names in one transaction."""
    with database.writing() as connection:
        connection.execute(TABLE.insert(), [{"name": name, "n": 1} for name in added])


def raise_state(connection, state):
    """Let the server fail with a code."""
    connection.exec_driver_sql(f"DO $$ BEGIN RAISE EXCEPTION '{SECRET}' USING ERRCODE = '{state}'; END $$")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("postgresql://lake:hunter2@host/db", "password"),
        ("postgresql://host/db?password=hunter2", "password"),
        ("postgresql://host/db?sslpassword=hunter2", "password"),
        ("postgresql://host/db?options=-csearch_path%3Dhunter2", "options"),
        ("postgresql://host/db?schema=hunter2;drop", "schema"),
        ("postgresql://host/db?schema=pg_hunter2", "schema"),
        ("postgresql://host/db?schema=a&schema=b", "schema"),
        ("postgresql+psycopg2://host/hunter2", "not one"),
        ("postgresql+asyncpg://host/hunter2", "not one"),
        ("sqlite:///hunter2.db", "not one"),
        ("hunter2", "not one"),
        ("postgresql://host:port-hunter2/db", "not one"),
    ],
)
def test_addresses_that_are_not_taken(text, said):
    """A secret, a parameter that would undo ours, another driver: refused, and nothing of the text is repeated."""
    with pytest.raises(UsageError, match=said) as caught:
        parse_address(text, "lake")
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_an_address_is_taken_apart():
    """The schema is ours, the rest is libpq's; without one the given schema is meant."""
    address = parse_address("postgresql://lake@db.example:5433/lake?schema=two&sslmode=verify-full", "one")
    assert address.schema == "two"
    assert address.url.render_as_string() == "postgresql+psycopg://lake@db.example:5433/lake?sslmode=verify-full"
    assert parse_address("postgresql:///?service=lake", "one").schema == "one"


def test_sessions_have_limits_and_durability(database, connect, postgres, name):
    """Time-outs for statements, locks and pauses; commits are durable whatever the database's default says."""
    postgres.run(f"ALTER DATABASE {name} SET synchronous_commit = off")
    postgres.run(f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'")
    other = connect()
    with other.writing() as connection:
        shown = {each: connection.exec_driver_sql(f"SHOW {each}").scalar() for each in postgresql.LIMITS}
        assert connection.exec_driver_sql("SHOW transaction_isolation").scalar() == "read committed"
        assert connection.exec_driver_sql("SHOW search_path").scalar() == "one,pg_temp"
    assert shown["synchronous_commit"] == "on"
    assert shown["statement_timeout"] == "5min"
    assert shown["lock_timeout"] == "30s"
    assert shown["idle_in_transaction_session_timeout"] == "1min"
    with database.reading() as connection:
        assert connection.exec_driver_sql("SHOW idle_in_transaction_session_timeout").scalar() == "10min"


def test_a_reader_sees_one_state_and_changes_nothing(database):
    """What is committed during a read is not seen by it, and it cannot write."""
    with database.reading() as connection:
        before = connection.execute(sa.select(TABLE.c.name)).all()
        add(database, "later")
        assert connection.execute(sa.select(TABLE.c.name)).all() == before == []
    with pytest.raises(UnavailableError), database.reading() as connection:
        connection.execute(TABLE.delete())
    assert names(database) == {"later"}


def test_a_snapshot_is_shared_by_all_reads_of_a_thread(database):
    """Inside the block every read sees the same state, others see the newest, and afterwards all do."""
    seen = []
    with database.snapshot():
        assert names(database) == set()
        add(database, "later")
        other = threading.Thread(target=lambda: seen.append(names(database)))
        other.start()
        other.join()
        with database.snapshot():
            assert names(database) == set()
        assert names(database) == set()
    assert seen == [{"later"}]
    assert names(database) == {"later"}


def test_writers_take_turns_from_the_start(database, connect):
    """What a writer has read still holds when it writes: nothing is lost between them."""
    add(database, "counter")

    def count():
        own = connect()
        for _ in range(10):
            with own.writing() as connection:
                value = connection.execute(sa.select(TABLE.c.n)).scalar_one()
                connection.execute(TABLE.update(), {"n": value + 1})

    threads = [threading.Thread(target=count) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.reading() as connection:
        assert connection.execute(sa.select(TABLE.c.n)).scalar_one() == 31


def test_another_schema_has_writers_of_its_own(database, connect):
    """Two lakes in one database do not wait for each other."""
    with database.writing(), connect("two").writing() as connection:
        assert connection.exec_driver_sql("SELECT 1").scalar() == 1


def test_a_writer_that_waits_too_long_may_try_again(database, connect, monkeypatch):
    """Behind another writer for longer than the limit: unavailable, and the next call succeeds."""
    monkeypatch.setitem(postgresql.LIMITS, "lock_timeout", "50ms")
    late = connect()
    with database.writing(), pytest.raises(UnavailableError):
        add(late, SECRET)
    add(late, SECRET)
    assert names(database) == {SECRET}


def test_a_writer_that_falls_silent_is_cut_off(connect, database, monkeypatch):
    """A paused process does not hold up the others for ever, and finds that nothing of it is there."""
    monkeypatch.setattr(postgresql, "WRITER_PAUSE", "50ms")
    silent, cut = connect(), threading.Event()
    with pytest.raises(UnavailableError), silent.writing() as connection:
        connection.execute(TABLE.insert(), [{"name": SECRET, "n": 1}])
        add(database, "other")  # waits until the silent one is gone
        cut.set()
        connection.execute(TABLE.insert(), [{"name": "more", "n": 1}])
    assert cut.is_set()
    assert names(database) == {"other"}


@pytest.mark.parametrize(
    ("state", "kind"),
    [("40001", UnavailableError), ("40P01", UnavailableError), ("53100", UnavailableError), ("53300", UnavailableError),
     ("57014", UnavailableError), ("25006", UnavailableError), ("58030", UnavailableError), ("42501", UnavailableError),
     ("08006", UnavailableError), ("42P01", IntegrityError), ("XX001", IntegrityError), ("22000", IntegrityError)],
)  # fmt: skip
def test_failures_are_typed(database, state, kind):
    """What may succeed later can be tried again; damage is damage; the server's words are nowhere."""
    with pytest.raises(kind) as caught, database.writing() as connection:
        raise_state(connection, state)
    orig = caught.value.__context__.orig
    assert orig.sqlstate == state
    assert SECRET not in repr((str(caught.value), orig.args, vars(orig), orig.diag.message_primary))
    assert caught.value.__cause__ is None
    add(database, "next")


def test_a_constraint_is_for_the_caller_and_hides_values(database):
    """A violated constraint passes through without the row, in its text and in the driver's report too."""
    add(database, SECRET)
    with pytest.raises(exc.IntegrityError) as caught:
        add(database, "other", SECRET)
    error = caught.value
    assert SECRET not in "".join(traceback.format_exception(error))
    assert SECRET not in repr((error, error.args, error.orig, vars(error.orig)))
    assert error.orig.diag.message_detail is None
    assert error.orig.sqlstate == "23505"
    assert names(database) == {SECRET}


def test_a_connection_that_was_cut_is_replaced(database, postgres):
    """In the middle of a transaction that is unavailable; between two nobody notices."""
    end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'telemetry-lake'"
    add(database, "a")
    postgres.run(end)
    add(database, "b")
    with pytest.raises(UnavailableError), database.writing() as connection:
        postgres.run(end)
        connection.execute(TABLE.insert(), [{"name": "c", "n": 1}])
    assert names(database) == {"a", "b"}


def test_a_pool_without_a_free_connection_is_unavailable(connect, database, monkeypatch):
    """Who finds none free is told to come again, and does."""
    monkeypatch.setattr(postgresql, "POOL", 1)
    monkeypatch.setattr(postgresql, "POOL_MOST", 1)
    monkeypatch.setattr(postgresql, "POOL_PATIENCE", 0.05)
    small = connect()
    with small.reading(), pytest.raises(UnavailableError):
        add(small, "a")
    add(small, "a")
    assert names(database) == {"a"}


def test_a_server_that_is_down_is_unavailable(tmp_path):
    """Nobody listens: a typed error that says what to look at."""
    gone = Database.postgresql(parse_address(f"postgresql://lake@/x?host={tmp_path}", "one"), "catalog")
    with pytest.raises(UnavailableError, match="did not answer") as caught:
        names(gone)
    assert "does the server run" in caught.value.hint
    gone.close()


def test_a_restart_in_the_middle_of_a_commit_leaves_nothing_of_it(database, postgres):
    """A server that crashes as the COMMIT comes: unavailable, and the same again succeeds."""
    event.listen(database.engine, "commit", lambda _: postgres.restart(), once=True)
    with pytest.raises(UnavailableError):
        add(database, SECRET)
    assert names(database) == set()
    add(database, SECRET)
    assert names(database) == {SECRET}


def test_text_compares_by_its_bytes(connect, url):
    """Whatever order the server's locale has."""
    address = parse_address(url, "lake")
    made = Draft(connect("lake"), migrate.CATALOG_MIGRATIONS, address)
    with made.database.reading() as connection:
        collations = connection.exec_driver_sql(
            "SELECT DISTINCT collation_name FROM information_schema.columns"
            " WHERE table_schema = 'lake' AND data_type IN ('character varying', 'text')"
        ).scalars()
        assert set(collations) == {"C"}
    made.discard()
    made.close()


def test_what_is_overwritten_leaves_the_tables(database, postgres, name):
    """After a checkpoint no file of the tables has the old value, however it was replaced."""
    add(database, SECRET)
    with database.writing() as connection:
        connection.execute(TABLE.update(), {"name": "new"})
    postgres.run("CHECKPOINT", name)
    (oid,) = postgres.run(f"SELECT oid FROM pg_database WHERE datname = '{name}'")[0]
    folder = postgres.data / "base" / str(oid)

    def found():
        return [path for path in folder.iterdir() if path.is_file() and SECRET.encode() in path.read_bytes()]

    assert found()
    database.checkpoint()
    postgres.run("CHECKPOINT", name)
    assert found() == []
    assert names(database) == {"new"}


def test_a_checkpoint_waits_for_old_snapshots(database, connect, monkeypatch):
    """Somebody who may still see the old rows, wherever they read now, holds it up; then it works."""
    add(database, SECRET)
    monkeypatch.setattr(module, "BUSY_TIMEOUT_MS", 100)
    with connect("elsewhere").reading() as connection:
        connection.exec_driver_sql("SELECT 1")
        with database.writing() as other:
            other.execute(TABLE.delete())
        with pytest.raises(UnavailableError, match="being read for long"):
            database.checkpoint()
    database.checkpoint()


def test_who_does_not_own_the_tables_is_told_so(database, connect, postgres, url, name):
    """VACUUM would leave them out with a warning."""
    postgres.run(f"DROP ROLE IF EXISTS {name}_reader")
    postgres.run(f"CREATE ROLE {name}_reader LOGIN")
    postgres.run(f"GRANT USAGE ON SCHEMA one TO {name}_reader", name)
    other = connect(address=url.replace("postgres@", f"{name}_reader@"))
    with pytest.raises(UnavailableError, match="does not own"):
        other.checkpoint()
    with pytest.raises(UnavailableError, match="does not let this role"):
        names(other)
    other.close()
    postgres.run(f"DROP OWNED BY {name}_reader", name)
    postgres.run(f"DROP ROLE {name}_reader")


def test_drafts_are_cleared_and_nothing_else_is(connect, url):
    """Tables of a lake that did not come to be go by themselves; those of a lake, or of others, are refused."""
    address = parse_address(url, "lake")

    def draft():
        return Draft(connect("lake"), migrate.CATALOG_MIGRATIONS, address)

    first = draft()
    with pytest.raises(UnavailableError, match="another process"):
        draft()
    first.close()  # as if it had been killed
    second = draft()
    second.discard()
    second.close()
    third = draft()
    third.finish()
    third.close()
    with pytest.raises(UsageError, match="not empty"):
        draft()
    migrate.check_version(connect("lake"), migrate.CATALOG_HEAD)
