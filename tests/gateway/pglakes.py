"""The known lake with its catalog and its key store in PostgreSQL: made once, and copied with its databases."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import sqlalchemy as sa

import lake
from lake.gateway.config import read_config
from lake.rules.layout import CONFIG
from tests import world as w
from tests.servers.postgres import PostgresServer
from tests.world import World


def make(folder: Path, server: PostgresServer) -> tuple[World, tuple[str, str]]:
    """A new lake with the known rows, and the names of its databases: of the catalog, of the key store."""
    names = server.database(), server.database()
    world = World(folder / "lake", folder / "lake.key")
    catalog, keys = (server.url(name) for name in names)
    lake.create(world.root, key_file=world.key, single_approver=True, catalog_url=catalog, keys_url=keys)
    with world.open() as opened:
        opened.add_contract(w.CONTRACT)
        opened.add_contract(w.MOODS)
        opened.apply_policy(w.POLICY)
        opened.ingest("events", w.table(w.known_rows()), batch_id="first-batch")
    return world, names


def copy(template: tuple[World, tuple[str, str]], folder: Path, server: PostgresServer) -> World:
    """A copy of a lake and of its databases."""
    world = w.copy(template[0], folder)
    catalog, keys = (server.url(server.database(name)) for name in template[1])
    place(world, catalog_url=catalog, keys_url=keys)
    return world


def place(world: World, **urls: str) -> None:
    """Let a lake find its databases elsewhere."""
    config = replace(read_config(world.root), **urls)
    written = {name: getattr(config, name) for name in json.loads((world.root / CONFIG).read_text())}
    (world.root / CONFIG).write_text(json.dumps(written))


def names(world: World) -> tuple[str, str]:
    """The databases of a lake: of the catalog, of the key store."""
    config = read_config(world.root)
    catalog, keys = (str(sa.make_url(url).database) for url in (config.catalog_url, config.keys_url))
    return catalog, keys


def as_role(server: PostgresServer, catalog: str, role: str) -> str:
    """The address of a catalog for one of the documented roles, which have what the documentation grants them."""
    for name in ("lake_owner", "lake_gateway", "lake_ingest", "lake_jobs"):
        server.run(f"DO $$ BEGIN CREATE ROLE {name} LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
    text = (w.ROOT / "docs" / "operations" / "postgresql.md").read_text("utf-8")
    script = text.split("```postgresql\n-- roles", 1)[1].split("```", 1)[0].split("\n", 1)[1]
    with server.connect(catalog) as connection:
        connection.execute(script.encode())
    return server.url(catalog).replace("postgres@", f"{role}@")
