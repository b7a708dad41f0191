"""The broker as a process of its own: what it opens, whom it knows, and what it says of errors that are not its own."""

from __future__ import annotations

import re
from pathlib import Path

from keys.errors import BrokerFailedError, BrokerUnavailableError, KeyIntegrityError, KeysError
from keys.limits import BrokerLimits
from keys.memory import harden
from keys.names import SENSITIVITIES
from keys.remote.listen import TlsListener, UnixListener
from keys.remote.peers import PeerTable
from keys.remote.roles import Role
from keys.remote.server import Server, ServerLimits
from keys.remote.service import Service
from keys.remote.tls import server_context
from lake.errors import IntegrityError, LakeError, UnavailableError
from lake.gateway.keyside import KeySide
from lake.gateway.owned import read_owned
from lake.rules.document import Node, read_document

__all__ = ["harden", "load_peers", "on_socket", "on_tls", "read_peers", "service", "translated"]

_UID = re.compile(r"0|[1-9][0-9]{0,9}")
_CERTIFICATE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,252}")
_LEVEL = re.compile("|".join(map(str, SENSITIVITIES)))


def load_peers(path: Path) -> tuple[PeerTable, BrokerLimits]:
    """The peers file, which nobody but its owner may change: who writes it hands out roles.

    Raises:
        UsageError: it cannot be read, or others can write it.
        DocumentError: it is not valid; names line and column.
    """
    return read_peers(read_owned(path, "hand out roles"), str(path))


def read_peers(text: str, source: str) -> tuple[PeerTable, BrokerLimits]:
    """The peers file: who may speak to the broker as what, and how many DEKs it gives in a minute.

    Raises:
        DocumentError: it is not valid; names line and column.
    """
    root = read_document(text, source)
    found = root.mapping(required=(), optional=("uids", "certificates", "limits"))
    uids = {int(name): role for name, role in _roles(found.get("uids"), _UID)}
    certificates = dict(_roles(found.get("certificates"), _CERTIFICATE))
    if not uids and not certificates:
        raise root.error("no peer is named", hint="uids: {1001: gateway}, or certificates: {gateway.example: gateway}")
    return PeerTable(uids, certificates), _limits(found.get("limits"))


def _roles(node: Node | None, pattern: re.Pattern[str]) -> list[tuple[str, Role]]:
    found: list[tuple[str, Role]] = []
    for name, value in node.items() if node else ():
        if pattern.fullmatch(name) is None:
            raise value.error(f"{name[:64]!r} is not a valid name", hint=f"expected {pattern.pattern}")
        found.append((name, Role(value.one_of([role.value for role in Role]))))
    return found


def _limits(node: Node | None) -> BrokerLimits:
    if node is None:
        return BrokerLimits()
    found = node.mapping(optional=("per_level", "per_principal"))
    levels: dict[int, int] = {}
    for name, value in found["per_level"].items() if "per_level" in found else ():
        if _LEVEL.fullmatch(name) is None:
            raise value.error(f"{name[:64]!r} is not a sensitivity")
        levels[int(name)] = value.integer(minimum=0)
    principal = found["per_principal"].integer(minimum=0) if "per_principal" in found else None
    return BrokerLimits(levels, principal)


def service(keys: KeySide) -> Service:
    """The broker's answers from an opened key store."""
    return Service(keys.broker, keys.store, keys.control, verify=keys.verify, translate=translated)


def on_socket(keys: KeySide, path: Path, peers: PeerTable, limits: ServerLimits | None = None) -> Server:
    """Serve on a Unix socket."""
    return Server(service(keys), UnixListener(path, peers), limits)


def on_tls(
    keys: KeySide,
    place: tuple[str, int],
    files: tuple[Path, Path, Path],
    peers: PeerTable,
    limits: ServerLimits | None = None,
) -> Server:
    """Serve over mutual TLS; ``files`` are the certificate, its key and the CA of the clients."""
    return Server(service(keys), TlsListener(*place, server_context(*files), peers), limits)


def translated(error: Exception) -> KeysError | None:
    """What an error of the lake's own database code means for a host that asked the broker."""
    match error:
        case UnavailableError():
            return BrokerUnavailableError(error.message, hint="try again; if it stays, see the broker's host")
        case IntegrityError():
            return KeyIntegrityError(error.message, hint=error.hint)
        case LakeError():
            return BrokerFailedError(error.message, hint=error.hint)
        case _:
            return None
