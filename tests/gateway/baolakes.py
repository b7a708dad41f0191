"""Lakes whose keys a real OpenBao holds, for the tests of moves and outages."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from lake.gateway.key_services import open_target
from lake.settings import Secrets
from tests.gateway.keylakes import keeping
from tests.keys.providers.openbao_server import OpenBaoServer
from tests.world import World

EVERYTHING = 'path "*" { capabilities = ["create", "read", "update", "delete", "list", "sudo"] }'


def service_file(world: World, server: OpenBaoServer, name: str = "bao", more: str = "") -> Path:
    """A provider file with a prefix and a token of its own, which asks once."""
    folder = world.root.parent
    token = folder / f"{name}.token"
    token.touch(mode=0o600)
    token.write_text(server.token(EVERYTHING))
    path = folder / f"{name}.yaml"
    path.write_text(
        f"kind: openbao\naddress: {server.address}\ntoken_file: {token.name}\nca_file: {server.ca_file}\n"
        f"attempts: 1\nprefix: t{os.urandom(6).hex()}-\n{more}"
    )
    return path


def move(world: World, target: str | Path, provider: Path | None = None) -> None:
    """Put the lake's keys under another provider."""
    with world.open(provider_file=provider) as lake:
        keys = keeping(lake)
        opened = open_target(str(target), keys.folder, keys.lake, Secrets(key_file=world.key))
        try:
            keys.move(opened)
        finally:
            opened.close()


def rows(world: World, provider: Path) -> list[dict[str, Any]]:
    """Every row, under a provider file."""
    with world.connect(provider_file=provider) as reader:
        return list(reader.sql("SELECT * FROM events").arrow().to_pylist())
