"""Rotation on a whole lake: new keys at every level, the same rows, and everything recorded before and after."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from keys.errors import KeyOperationError, KeysError
from keys.names import ROOT_NAMES
from keys.operations import keeper
from lake.gateway.doctor import DAMAGE, Doctor
from lake.gateway.keykeeping import KeyKeeping
from lake.gateway.keyplans import KeyScope
from lake.sealed.audit import entries
from lake.sealed.catalog.upkeep import FileScope
from tests import world as w
from tests.world import World, landed, same_rows

EXPECTED = landed(w.known_rows())
LATER = {"clock": lambda: w.NOW + timedelta(hours=1)}


def whole(world: World) -> None:
    """Every row opens, every wrap, digest and commit holds."""
    assert same_rows(world.rows(), EXPECTED)
    with world.open() as lake:
        assert not [found for found in Doctor(lake.home).examine_lake() if found.state == DAMAGE]


def wraps(world: World) -> dict[str, set[bytes]]:
    """Every wrap of the lake, by level."""
    with world.open() as lake:
        secrets = {blob for _, blob in lake.home.key_store.control_secrets().values()}
        buckets = {row.wrapped for row in lake.home.key_changes.buckets() if row.wrapped}
        keks = {row.wrapped for page in lake.home.key_changes.pages_of_keks() for row in page if row.wrapped}
        deks = {file.wrapped_dek for page in lake.home.upkeep.pages(FileScope(), 100) for file, _ in page}
    return {"secrets": secrets, "buckets": buckets, "keks": keks, "deks": deks}


@pytest.mark.parametrize(
    ("verb", "changed"),
    [
        ("root", {"secrets", "buckets"}),
        ("bucket", {"buckets", "keks"}),
        ("kek", {"keks", "deks"}),
        ("compromised kek", {"keks", "deks"}),
    ],
)
def test_a_level_is_new_and_what_is_below_is_wrapped_again(world: World, verb: str, changed: set[str]) -> None:
    """No wrap of the level is left, the others are untouched, and so are the objects; begin and end are recorded."""
    before, objects = wraps(world), [path.read_bytes() for path in world.objects()]
    with world.open(**LATER) as lake:
        keys = KeyKeeping(lake.home, lake.actor)
        match verb:
            case "root":
                operation = keys.rotate_roots(ROOT_NAMES)
            case "bucket":
                operation = keys.rotate_buckets(keys.places(KeyScope()))
            case _:
                operation = keys.rotate_keks(KeyScope(), compromised=verb.startswith("comp"))
        assert operation.done
    after = wraps(world)
    assert {level for level in before if not before[level] & after[level]} == changed
    assert all(before[level] == after[level] for level in before if level not in changed)
    assert [path.read_bytes() for path in world.objects()] == objects
    steps = [(entry["step"], entry["verb"].split()[0]) for entry in world.entries(entries.KEY_OPERATION)]
    assert steps == [("begin", "rotate"), ("done", "rotate")]
    whole(world)


def test_old_roots_are_trimmed_only_after_a_backup_was_opened(world: World, tmp_path: Path) -> None:
    """Their versions are gone at the provider, an older key store file stays closed, and the backup opens."""
    keys_folder = world.root / "keys"
    old = {name: (keys_folder / name).read_bytes() for name in ("keystore.bin", "device.secret")}
    with world.open() as lake:
        KeyKeeping(lake.home, lake.actor).rotate_roots(["root-dss4"], tmp_path / "backups")
        versions = lake.home.provider.describe("root-dss4").versions
        assert {number: state.value for number, state in versions.items()} == {1: "destroyed", 2: "enabled"}
    whole(world)
    with world.open() as lake:
        opened = KeyKeeping(lake.home, lake.actor).restore_test(tmp_path / "backups")[1]
        assert opened["keks"] == 32
    (keys_folder / "keystore.bin").write_bytes(old["keystore.bin"])
    with pytest.raises(KeysError):
        world.rows()
    assert (keys_folder / "device.secret").read_bytes() != old["device.secret"]


def test_a_backup_that_does_not_open_destroys_nothing(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bit is lost in a part between writing and testing it: the old roots stay, and the command goes on later."""
    real = keeper.restore_test

    def damaged(folder: object, backup: object, *rest: object) -> object:
        for part in (tmp_path / "backups" / "parts").iterdir():
            content = bytearray(part.read_bytes())
            content[len(content) // 2] ^= 1
            part.write_bytes(content)
        return real(folder, backup, *rest)  # type: ignore[arg-type]

    with world.open() as lake:
        keys = KeyKeeping(lake.home, lake.actor)
        with monkeypatch.context() as patched:
            patched.setattr(keeper, "restore_test", damaged)
            with pytest.raises(KeysError):
                keys.rotate_roots(["root-dss4"], tmp_path / "backups")
        assert lake.home.provider.describe("root-dss4").versions[1].unwraps
        assert same_rows(world.rows(), EXPECTED)
        with pytest.raises(KeyOperationError):
            keys.rotate_keks(KeyScope())
        operation = keys.resume()
        assert operation is not None
        assert operation.done
        assert not lake.home.provider.describe("root-dss4").versions[1].unwraps
    whole(world)
