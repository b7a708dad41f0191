"""What every ``lake serve`` has in common: places to listen at, and serving until it is told to stop."""

from __future__ import annotations

import argparse
import ipaddress
import json
import os
import sys
from typing import TYPE_CHECKING, Any, Protocol

from lake.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lake.gateway.flight.process import StopSignals

MAX_PORT = 65_535


class Server(Protocol):
    """A process that is ready: where it listens, and where its health is if anywhere."""

    @property
    def addresses(self) -> Sequence[str]: ...
    @property
    def health(self) -> str | None: ...
    def serve(self, stop: StopSignals, grace: float) -> bool: ...


def place(option: str, text: str) -> tuple[str, int]:
    """Host and port of an option.

    Raises:
        UsageError: it is not both.
    """
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > MAX_PORT:
        raise UsageError(f"{option} takes HOST:PORT, such as 127.0.0.1:8815")
    return host.strip("[]"), int(port)


def on_this_machine(host: str) -> bool:
    """Whether an address, written as a number, is a loopback one."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        # A name may come to mean another address.
        return False


def run_server(what: str, server: Server, stop: StopSignals, memory: Any, arguments: argparse.Namespace) -> int:
    """Say that it is ready, and serve until it is to stop."""
    document = {"ready": True, "addresses": server.addresses, "health": server.health, "memory": memory}
    text = f"the {what} listens at {' and '.join(server.addresses)}"
    if server.health:
        text += f", health at {server.health}"
    print(json.dumps(document) if arguments.json else text, flush=True)
    if not server.serve(stop, arguments.grace):
        # A client that does nothing holds a thread that cannot be ended, and would hold the process.
        sys.stderr.flush()
        os._exit(0)
    return 0
