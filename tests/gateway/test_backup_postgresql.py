"""One form of a unit for both databases: from files to PostgreSQL and back, also when it is killed on the way."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from lake.errors import UsageError
from lake.gateway.backup import Backups
from lake.rules import layout
from lake.sealed.catalog.draft import MARK
from tests.gateway.keylakes import answers, sound
from tests.gateway.units import back_up, checked, keep_roots, restored, units
from tests.world import World, child, finished

if TYPE_CHECKING:
    from tests.servers.postgres import PostgresServer

RESTORE = """
from tests.gateway.units import restored
sys.addaudithook(hook)
print(restored(world, catalog_url=sys.argv[5], keys_url=sys.argv[5])["unit"])
"""


@pytest.fixture
def url(postgres: PostgresServer) -> Iterator[str]:
    """The address of an empty database."""
    name = postgres.database()
    yield postgres.url(name)
    postgres.drop(name)


def lose_again(world: World, name: str) -> World:
    """The files of a lake are gone but its objects, which lie at another place."""
    new = World(world.root.parent / name, world.key)
    new.root.mkdir()
    (world.root / layout.DATA).rename(new.root / layout.DATA)
    shutil.rmtree(world.root)
    return new


def test_from_files_to_postgresql_and_back(world: World, url: str) -> None:
    """Every query answers as before on either side; a unit of PostgreSQL takes over the pages of one of files."""
    before = answers(world)
    first = back_up(world)
    keep_roots(world)
    server = lose_again(world, "server")
    assert restored(server, catalog_url=url, keys_url=url)["unit"] == first.unit.id
    assert not list(server.root.rglob("*.db"))
    assert answers(server) == before
    assert sound(server)
    with server.open() as lake:
        second = Backups(lake.home, lake.actor).take(units(server))
    assert second.unit.objects_digest == first.unit.objects_digest
    assert second.written < second.parts
    assert checked(server)["keks"] == 32
    with pytest.raises(UsageError, match="not empty"):
        restored(World(server.root.parent / "more", server.key), catalog_url=url, keys_url=url)
    back = lose_again(server, "back")
    assert restored(back)["unit"] == second.unit.id
    assert answers(back) == before
    assert sound(back)


@pytest.mark.parametrize(
    "step",
    [
        "restore.keys-written",
        pytest.param("restore.page-written", marks=pytest.mark.soak),
        pytest.param("restore.recorded", marks=pytest.mark.soak),
        "restore.whole",
    ],
)
def test_killed_on_the_way_to_postgresql(world: World, url: str, step: str, postgres: PostgresServer) -> None:
    """The next attempt clears the tables that were not finished, or finishes those that were."""
    before = answers(world)
    back_up(world)
    keep_roots(world)
    new = lose_again(world, "new")
    status, out, err = finished(child(new, RESTORE, step, 1, url))
    assert (status, out) == (-signal.SIGKILL, ""), err
    restored(new, catalog_url=url, keys_url=url)
    assert answers(new) == before
    name = url.partition("@/")[2].partition("?")[0]
    assert postgres.run(f"SELECT 1 FROM pg_tables WHERE tablename = '{MARK}'", name) == []  # noqa: S608
