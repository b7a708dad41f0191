"""Where a gateway is, and how its door is opened; nothing secret is in it."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lake.client.token import Tokens
from lake.errors import UsageError

PORT = 8815
PATIENCE = 300.0


def is_url(place: str | os.PathLike[str]) -> bool:
    """Whether a place is a gateway's address and no folder."""
    return isinstance(place, str) and "://" in place


@dataclass(frozen=True, slots=True)
class Place:
    """A gateway, and what a caller chose.

    Attributes:
        url: ``grpc+tls://host[:port]``, or ``grpc://`` on this machine.
        purpose: which of the token's purposes, if there are several.
        role: which of the caller's roles, if several grant the same.
        ca: file with the certificates to trust, PEM; the system's without one.
        cert, key: files with the caller's own certificate and its key, PEM, for mutual TLS.
        patience: seconds for an answer, and between two batches.

    Raises:
        UsageError: it cannot be an address, or a token would travel in the clear.
    """

    url: str
    purpose: str | None = None
    role: str | None = None
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    patience: float = PATIENCE
    tokens: Tokens = field(default_factory=Tokens)

    def __post_init__(self) -> None:
        self.address()
        if (self.cert is None) != (self.key is None):
            raise UsageError("a certificate and its key go together", hint="give cert=... and key=...")
        if self.patience <= 0:
            raise UsageError("the time to wait is more than 0 s")
        for name, value in (("purpose", self.purpose), ("role", self.role)):
            if value is not None and not (0 < len(value) <= 200 and value.isascii() and value.isprintable()):
                raise UsageError(f"this is not the name of a {name}")

    def address(self) -> tuple[str, int, bool]:
        """Host, port, and whether TLS protects the connection."""
        wrong = UsageError("this is not a gateway's address", hint=f"grpc+tls://host:{PORT}")
        try:
            parts = urlsplit(self.url)
            port = PORT if parts.port is None else parts.port
        except ValueError:
            raise wrong from None
        more = parts.path.strip("/") or parts.query or parts.fragment or parts.username is not None
        if parts.scheme not in {"grpc", "grpc+tls"} or not parts.hostname or more:
            # Not shown: somebody may have put a token in it.
            raise wrong
        secure = parts.scheme == "grpc+tls"
        if not secure and not _on_this_machine(parts.hostname):
            raise UsageError("without TLS only a gateway on this machine is called", hint="use grpc+tls://")
        return parts.hostname, port, secure

    def location(self) -> str:
        """The address as messages and Arrow have it."""
        host, port, secure = self.address()
        shown = f"[{host}]" if ":" in host else host
        return f"{'grpc+tls' if secure else 'grpc'}://{shown}:{port}"

    def tls(self) -> dict[str, Any]:
        """Options of the connection; files are read when it is made.

        Raises:
            UsageError: one of them cannot be read.
        """
        found = {"tls_root_certs": self.ca, "cert_chain": self.cert, "private_key": self.key}
        return {name: _bytes(path) for name, path in found.items() if path is not None}


def _on_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {os.strerror(error.errno or 0)}") from None
