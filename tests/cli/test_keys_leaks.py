"""``lake keys`` shows no key and no employee: not on stdout and stderr, not in the log, not in its journal."""

from __future__ import annotations

from keys import tables
from keys.control import NAMES
from lake.gateway.kek_rotation import dek_request
from lake.rules import layout
from lake.sealed.catalog.upkeep import FileScope
from tests.cli.conftest import Ran, Shell
from tests.gateway.keylakes import key_folder, rows_of
from tests.keys.conftest import shows
from tests.world import ADA, BEN, EMPLOYEES, World


def backups(shell: Shell) -> str:
    return str(shell.world.root.parent / "backups")


def secrets_of(world: World) -> list[bytes]:
    """Key file, device secret, roots, bucket keys, KEKs, control secrets and DEKs of a lake as it is."""
    with world.open() as lake:
        home = lake.home
        found = [world.key.read_bytes().strip(), (key_folder(world) / "device.secret").read_bytes()]
        found += [key for versions in home.provider._keys.values() for _, key in versions.values() if key]  # type: ignore[attr-defined]
        rows = [row for page in home.key_changes.pages_of_keks() for row in page if row.wrapped]
        names = {row.subject for row in rows}
        view = home.key_store.view_of_keks(names, [(row.kek_id, row.version) for row in rows])
        found += home.hierarchy.open_buckets(view, [row for row in view.buckets.values() if row.wrapped]).values()
        found += home.hierarchy.open_keks(view, rows).values()
        found += home.control.share(NAMES).values()
        files = [file for file, _ in home.upkeep.page(FileScope(), "", 1_000)]
        found += home.broker.open_deks([dek_request(file) for file in files])
    assert len(found) > 60
    return found


def every_command(shell: Shell) -> list[Ran]:
    """Each command once, as text and as JSON, on a lake that ends up rotated, suspended and shredded."""
    note = str(shell.world.root.parent / "shred.note")
    restored = shell.world.root.parent / "restored"
    steps: list[list[str]] = [
        ["status"],
        ["rotate", "root", "--all"],
        ["rotate", "bucket", "--all"],
        ["rotate", "kek", "--all"],
        ["disable", "--employee", BEN],
        ["enable", "--employee", BEN],
        ["backup", "--to", backups(shell)],
        ["restore-test", backups(shell)],
        ["restore", backups(shell), "--to", str(restored)],
        ["shred", "--employee", ADA, "--backup", backups(shell), "--certificate", note, "--yes"],
        ["verify-shred", "--backup", backups(shell)],
        ["verify-certificate", note],
        ["verify", "--deks"],
        ["resume"],
    ]
    found: list[Ran] = []
    for step in steps:
        for form in ([], ["--json"]):
            if step[0] == "restore" and form:
                step[-1] += "-again"
            found.append(shell("keys", *step, *form))
            assert found[-1].code == 0, (step, found[-1].err)
            if form:
                assert isinstance(found[-1].document, dict)
    return found


def test_no_key_and_no_employee_shows(shell: Shell) -> None:
    """Of keys that were and keys that are: raw, hexadecimal, base64; and nobody's id in the log's clear part."""
    secrets = secrets_of(shell.world)
    ran = every_command(shell)
    secrets += secrets_of(shell.world)
    for one in ran:
        assert not shows(one.out + one.err, *secrets)
    for path in (shell.world.root / "audit").rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        assert not shows(content.decode("latin-1"), *secrets)
        assert not any(name.encode() in content for name in EMPLOYEES)
    operations = rows_of(key_folder(shell.world) / layout.KEY_STORE)[tables.operations.name]
    assert len(operations) >= 7
    assert not shows(repr(operations), *secrets)
    assert not any(name in repr(operations) for name in EMPLOYEES)
