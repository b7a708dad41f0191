"""Who is at the other end: the uid that the kernel tells of a Unix socket, or the name in a client certificate.

A host is what its uid or certificate says, and nothing that it sends changes that.
"""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from keys.errors import BrokerRefusedError
from keys.remote.roles import Role

_CREDENTIALS = struct.Struct("iII")
_NAMES = frozenset({"DNS", "URI"})


@dataclass(frozen=True, slots=True)
class Peer:
    """A host that is known, and its role."""

    name: str
    role: Role


@dataclass(frozen=True, slots=True)
class PeerTable:
    """The hosts that may speak to the broker.

    Attributes:
        uids: roles of local users.
        certificates: roles by subject alternative name (DNS name or URI), compared as a whole.
    """

    uids: Mapping[int, Role] = field(default_factory=dict)
    certificates: Mapping[str, Role] = field(default_factory=dict)

    def of_socket(self, connection: socket.socket) -> Peer:
        """The user at the other end of a Unix socket.

        Raises:
            BrokerRefusedError: not in the table.
        """
        raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        _, uid, _ = _CREDENTIALS.unpack(raw)
        role = self.uids.get(uid)
        if role is None:
            raise BrokerRefusedError(f"the broker does not know the user with uid {uid}", hint="see its peers file")
        return Peer(f"uid {uid}", role)

    def of_certificate(self, connection: ssl.SSLSocket) -> Peer:
        """The name in the certificate that the handshake has verified.

        Raises:
            BrokerRefusedError: not in the table, or in it more than once.
        """
        certificate: Mapping[str, Any] = connection.getpeercert() or {}
        named = [value for kind, value in certificate.get("subjectAltName", ()) if kind in _NAMES]
        known = set(named) & set(self.certificates)
        if len(known) != 1:
            raise BrokerRefusedError(
                "the broker knows none of the names in the certificate, or several", hint="see its peers file"
            )
        (name,) = known
        return Peer(f"certificate {name}", self.certificates[name])
