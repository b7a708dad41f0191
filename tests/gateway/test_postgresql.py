"""A whole lake over PostgreSQL: made, filled, asked, rotated, shredded, restored and upgraded as one over files."""

# ruff: noqa: S608 - names of tables and roles are the tests' own
from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

import lake
from jobs.clear.rekey import Rekey
from keys.errors import KeysError
from lake.cli.lakes import status_document
from lake.errors import LakeError, UnavailableError, UsageError
from lake.gateway import home as homes
from lake.gateway.config import read_config
from lake.gateway.doctor import DAMAGE, Doctor
from lake.gateway.keykeeping import KeyKeeping, read_certificate
from lake.gateway.keyplans import KeyScope
from lake.gateway.keyrestore import restore_keys
from lake.sealed.catalog import tables
from lake.sealed.catalog.tables import SPANS
from lake.sealed.catalog.upkeep import FileScope
from tests import world as w
from tests.gateway import pglakes
from tests.servers.postgres import PostgresServer
from tests.world import World, landed, same_rows

Template = tuple[World, tuple[str, str]]
OLDER = {
    *("actors", "batches", "commits", "contracts", "directory"),
    *("elevations", "files", "marks", "policies", "removals"),
}
"""Tables of version 0002 of the catalog."""


@pytest.fixture(scope="module", name="made")
def _made(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Template:
    """The known lake; only to be copied."""
    return pglakes.make(tmp_path_factory.mktemp("pg"), postgres)


@pytest.fixture(name="world")
def _world(made: Template, tmp_path: Path, postgres: PostgresServer) -> Iterator[World]:
    """A copy of the known lake."""
    world = pglakes.copy(made, tmp_path, postgres)
    copies = pglakes.names(world)
    yield world
    for name in copies:
        postgres.drop(name)


def damage(world: World) -> list[str]:
    """What the doctor finds."""
    with world.open() as opened:
        return [finding.message for finding in Doctor(opened.home).examine_lake() if finding.state == DAMAGE]


def test_a_lake_lives_in_its_databases_alone(world: World) -> None:
    """Every row comes back, nothing is damaged, the status is JSON, and no database lies in the folder."""
    assert same_rows(world.rows(), landed(w.known_rows()))
    assert damage(world) == []
    with world.open() as opened:
        document = json.loads(json.dumps(status_document(opened)))
        assert document["counts"]["files"] == len(world.objects())
        assert sum(row["rows"] for row in document["contents"]) == 144
        assert opened.ingest("events", w.table(w.known_rows()), batch_id="first-batch").status == "already landed"
    assert list(world.root.rglob("*.db*")) == []


def test_keys_are_rotated_and_rekeyed(world: World) -> None:
    """Roots, buckets and KEKs, and the files themselves: the same rows afterwards, and everything opens."""
    with world.open() as opened:
        keys = KeyKeeping(opened.home, opened.actor)
        keys.rotate_roots(["root-dss1"])
        keys.rotate_buckets([(row.sensitivity, row.bucket) for row in opened.home.key_changes.buckets()][:2])
        assert keys.rotate_keks(KeyScope()).detail["deks"] == len(world.objects())
        assert Rekey(opened.home, opened.actor).run(FileScope()).detail["rows"] == 144
        assert keys.verify_deks() == {"deks": 32, "suspended_deks": 0}
        assert keys.status()["unfinished"] == []
    assert same_rows(world.rows(), landed(w.known_rows()))
    assert damage(world) == []


def test_an_employee_is_shredded(world: World, tmp_path: Path) -> None:
    """Their rows are gone, the others' are not; the certificate's horizon counts what the server keeps of its log."""
    with world.open() as opened:
        keys = KeyKeeping(opened.home, opened.actor)
        operation, unstated = keys.shred([w.BEN], tmp_path / "backups")
        stated = keys.certificate(operation, copies_kept=30)
        key = opened.home.config.audit_key
    left = [row for row in landed(w.known_rows()) if row["employee"] != w.BEN]
    assert same_rows(world.rows(), left)
    assert damage(world) == []
    horizon = read_certificate(unstated, key)["horizon"]
    assert (horizon["after"], horizon["database_archive_days"]) == (None, None)
    horizon = read_certificate(stated, key)["horizon"]
    assert (horizon["after"], horizon["database_archive_days"]) == ("2026-10-15T12:00:00+00:00", 30)


def test_a_lost_key_store_is_restored(world: World, postgres: PostgresServer, tmp_path: Path) -> None:
    """From its own backup into an empty schema; over tables that are there nothing is restored."""
    with world.open() as opened:
        KeyKeeping(opened.home, opened.actor).backup(tmp_path / "backups")
    with pytest.raises(UsageError, match="not empty"):
        restore_keys(world.root, tmp_path / "backups", tmp_path / "restored")
    assert not (tmp_path / "restored").exists()
    assert same_rows(world.rows(), landed(w.known_rows()))
    postgres.run("DROP SCHEMA lake_keys CASCADE", pglakes.names(world)[1])
    with pytest.raises((LakeError, KeysError)):
        world.open()
    restore_keys(world.root, tmp_path / "backups", tmp_path / "restored")
    shutil.copy2(world.root / "keys" / "device.secret", tmp_path / "restored")
    pglakes.place(world, key_store=str(tmp_path / "restored"))
    assert same_rows(world.rows(), landed(w.known_rows()))
    assert damage(world) == []


def test_an_older_catalog_is_upgraded(world: World, postgres: PostgresServer) -> None:
    """It is not used before, and works afterwards."""
    catalog = pglakes.names(world)[0]
    newer = set(tables.metadata.tables) - OLDER
    postgres.run("CREATE SCHEMA kept", catalog)
    for table in newer:
        postgres.run(f"ALTER TABLE lake_catalog.{table} SET SCHEMA kept", catalog)
    for name in ("number", *(f"{kind}_{span}" for kind in ("time", "person") for span in SPANS)):
        postgres.run(f"DROP INDEX lake_catalog.ix_files_{name}", catalog)
    for name in ("time", "partition"):
        postgres.run(f"CREATE INDEX ix_files_{name} ON lake_catalog.files (dataset)", catalog)
    postgres.run("UPDATE lake_catalog.alembic_version SET version_num = '0002'", catalog)
    with pytest.raises(UsageError, match="0002"):
        world.open()
    homes.upgrade(world.root)
    homes.upgrade(world.root)
    for table in newer:  # the lake's commits name some of their rows
        postgres.run(f"INSERT INTO lake_catalog.{table} SELECT * FROM kept.{table}", catalog)
    assert damage(world) == []


def test_an_older_copy_of_the_catalog_is_refused(world: World, postgres: PostgresServer) -> None:
    """Put back behind the lake's back, it ends before the commit that the key store remembers."""
    older = postgres.database(pglakes.names(world)[0])
    with world.open() as opened:
        opened.ingest("events", w.table(w.known_rows()[:4]), batch_id="newer")
    pglakes.place(world, catalog_url=postgres.url(older))
    with pytest.raises(LakeError, match="not the newest"):
        world.open()


def test_a_password_comes_from_a_file(
    world: World, postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over TCP with a password each; without, with a wrong one, or with a file open to others nothing opens."""
    for kind, name in zip(("catalog", "keys"), pglakes.names(world), strict=True):
        role = f"{name}_owner"
        postgres.run(f"CREATE ROLE {role} LOGIN PASSWORD 'secret-{kind}'")
        postgres.run(f"GRANT ALL ON SCHEMA lake_{kind} TO {role}", name)
        for (table,) in postgres.run(f"SELECT tablename FROM pg_tables WHERE schemaname = 'lake_{kind}'", name):
            postgres.run(f"ALTER TABLE lake_{kind}.{table} OWNER TO {role}", name)
        pglakes.place(world, **{f"{kind}_url": postgres.tcp_url(name, role)})
        (tmp_path / kind).write_text(f"secret-{kind}\n")
        (tmp_path / kind).chmod(0o600)
    with pytest.raises(UnavailableError):
        world.open()
    monkeypatch.setenv("LAKE_CATALOG_PASSWORD_FILE", str(tmp_path / "catalog"))
    monkeypatch.setenv("LAKE_KEYS_PASSWORD_FILE", str(tmp_path / "keys"))
    assert same_rows(world.rows(), landed(w.known_rows()))
    with world.open() as opened:
        KeyKeeping(opened.home, opened.actor).rotate_roots(["root-dss1"], tmp_path / "backups")
    (tmp_path / "keys").write_text("secret-catalog")
    with pytest.raises(UnavailableError) as caught:
        world.open()
    assert "secret" not in str(caught.value)
    (tmp_path / "keys").chmod(0o644)
    with pytest.raises(UsageError, match="LAKE_KEYS_PASSWORD_FILE"):
        world.open()


def test_a_password_in_lake_json_is_refused(world: World, tmp_path: Path) -> None:
    """Neither taken when a lake is made nor read afterwards; nothing is left, and nothing is repeated."""
    with pytest.raises(UsageError, match="password") as caught:
        lake.create(tmp_path / "new", key_file=tmp_path / "new.key", keys_url="postgresql://a:hunter2@host/db")
    assert "hunter2" not in str(caught.value)
    assert not (tmp_path / "new").exists()
    assert not (tmp_path / "new.key").exists()
    pglakes.place(world, catalog_url="postgresql://a:hunter2@host/db")
    with pytest.raises(UsageError, match="password"):
        world.open()


INIT = """
import lake
sys.addaudithook(hook)
lake.create(world.root, key_file=world.key, single_approver=True, catalog_url=sys.argv[5], keys_url=sys.argv[6])
"""


def test_making_a_lake_is_all_or_nothing(postgres: PostgresServer, tmp_path: Path) -> None:
    """Killed at any step, a lake is not at its place, and the same command makes it; only the last asks for a hand."""
    urls = [postgres.url(postgres.database()) for _ in range(2)]
    world = World(tmp_path / "lake", tmp_path / "key")
    (tmp_path / "lake").mkdir()
    for step in ("init.keys-migrated", "init.keys-made", "init.catalog-migrated", "init.filled"):
        status, _, err = w.finished(w.child(world, INIT, step, 1, *urls))
        assert status == -9, err
        assert list(world.root.iterdir()) == []
    assert w.finished(w.child(world, INIT, "", 1, *urls))[0] == 0
    with world.open() as opened:
        opened.add_contract(w.CONTRACT)
    assert damage(world) == []
    other = World(tmp_path / "other", tmp_path / "other.key")
    with pytest.raises(UsageError, match="not empty") as caught:
        lake.create(other.root, key_file=other.key, catalog_url=urls[0], keys_url=urls[1])
    assert "?schema=" in caught.value.hint
    assert not other.root.exists()
    assert damage(world) == []


def test_a_lake_that_cannot_be_made_leaves_no_tables(postgres: PostgresServer, tmp_path: Path) -> None:
    """Without a catalog's database the key store's tables go again; one place cannot be both."""
    name = postgres.database()
    new = World(tmp_path / "lake", tmp_path / "key")
    for catalog in (f"postgresql:///none?host={tmp_path}", postgres.url(name, schema="lake_keys")):
        with pytest.raises(UnavailableError):
            lake.create(new.root, key_file=new.key, catalog_url=catalog, keys_url=postgres.url(name))
        assert not new.root.exists()
        assert postgres.run("SELECT tablename FROM pg_tables WHERE schemaname LIKE 'lake%'", name) == []
    lake.create(new.root, key_file=new.key, catalog_url=postgres.url(name), keys_url=postgres.url(name))
    assert damage(new) == []


def test_tables_of_one_query_are_planned_from_one_snapshot(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lands while a query over two tables is planned is seen of both or of none."""
    from lake.gateway.planner import Planner

    plan = Planner.plan
    mood = {"employee": w.ADA, "ts": w.NOW.replace(tzinfo=None), "type": "mood", "mood": "fine"}

    def landing(self: Planner, *arguments: object) -> object:
        found = plan(self, *arguments)  # type: ignore[arg-type]
        with monkeypatch.context() as once, world.open() as other:
            once.setattr(Planner, "plan", plan)
            other.ingest("moods", w.pa.Table.from_pylist([mood]))
        return found

    sql = "SELECT (SELECT count(*) FROM events) AS e, (SELECT count(*) FROM moods) AS m"
    monkeypatch.setattr(Planner, "plan", landing)
    assert world.rows(sql) == [{"e": 144, "m": 0}]
    monkeypatch.setattr(Planner, "plan", plan)
    assert world.rows(sql) == [{"e": 144, "m": 1}]


@pytest.mark.parametrize("kind", ["gateway", "ingest", "jobs"])
def test_roles_may_do_what_they_must_and_no_more(world: World, postgres: PostgresServer, kind: str) -> None:
    """The documented roles: each does its work, and none can take a commit back or change a row of another's."""
    pglakes.place(world, catalog_url=pglakes.as_role(postgres, pglakes.names(world)[0], f"lake_{kind}"))
    with world.open() as opened:
        match kind:
            case "gateway":
                assert same_rows(world.rows(), landed(w.known_rows()))
            case "ingest":
                opened.ingest("events", w.table(w.known_rows()[:4]), batch_id="as-ingest")
            case "jobs":
                Rekey(opened.home, opened.actor).run(FileScope())
                KeyKeeping(opened.home, opened.actor).rotate_keks(KeyScope())
        for table in ("commits", "batches", "files", "elevations", "policies", "contracts"):
            with pytest.raises(UnavailableError, match="does not let"), opened.home.catalog.database.writing() as own:
                own.execute(sa.text(f"DELETE FROM {table}"))
        forbidden = {"gateway": "files", "ingest": "policies", "jobs": "contracts"}[kind]
        with pytest.raises(UnavailableError, match="does not let"), opened.home.catalog.database.writing() as own:
            own.execute(sa.text(f"UPDATE {forbidden} SET seq = 1"))
    assert damage(world) == []


def test_the_key_store_may_lie_elsewhere_than_the_catalog(world: World, tmp_path: Path) -> None:
    """Each address is of its own: here only one of them is PostgreSQL."""
    config = read_config(world.root)
    mixed = World(tmp_path / "mixed", tmp_path / "mixed.key")
    with pytest.raises(UsageError, match="not empty"):
        lake.create(mixed.root, key_file=mixed.key, catalog_url=config.catalog_url)
    lake.create(mixed.root, key_file=mixed.key, catalog_url=f"{config.catalog_url}&schema=mixed")
    assert damage(mixed) == []
    assert (mixed.root / "keys" / "keystore.db").exists()
