"""How a query's command finds whom to ask: an embedded lake as a user, or a gateway that knows its caller."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn, Protocol, runtime_checkable

from lake.cli import arguments as args
from lake.errors import UsageError

if TYPE_CHECKING:
    from lake.api import Connection
    from lake.client.remote import RemoteConnection

_REMOTE = ("token_file", "ca", "cert", "cert_key")


@runtime_checkable
class Told(Protocol):
    """An error that is safe to show: the lake's own, or that of a key store, which only few modules may import."""

    message: str
    hint: str
    exit_code: int


def add_options(parser: argparse.ArgumentParser) -> None:
    """Who asks, what for, and where."""
    parser.add_argument("--user", help="embedded: who asks, as the policy names them")
    parser.add_argument("--purpose", help="what for; a purpose of the policy (a gateway may know it by the token)")
    parser.add_argument("--role", help="which of the user's roles, if several grant the same")
    group = parser.add_argument_group("gateway")
    group.add_argument("--gateway", metavar="URL", help="ask a gateway, e.g. grpc+tls://lake.example:8815")
    group.add_argument("--token-file", metavar="FILE", help="file with the token; read again when it has changed")
    group.add_argument("--ca", metavar="FILE", help="CA to trust instead of the system's")
    group.add_argument("--cert", metavar="FILE", help="own certificate, for mutual TLS")
    group.add_argument("--cert-key", metavar="FILE", help="its private key")
    group.add_argument("--endpoints", metavar="N", type=int, default=1, help="read results in up to N parts at once")
    parser.set_defaults(complain=parser.error)


def connected(arguments: argparse.Namespace, purpose: str | None = None) -> Connection | RemoteConnection:
    """A connection for a purpose, by default the one that was given.

    Raises:
        UsageError: something is missing, or belongs to the other kind of place.
    """
    chosen = purpose or arguments.purpose
    return _remote(arguments, chosen) if arguments.gateway else _embedded(arguments, chosen)


def _remote(arguments: argparse.Namespace, purpose: str | None) -> RemoteConnection:
    from lake.client.remote import connect_remote

    if arguments.user or arguments.lake:
        raise UsageError("a gateway knows its lake and who asks", hint="leave out --user and --lake")
    if not (arguments.token_file or arguments.cert):
        raise UsageError("a gateway must know who asks", hint="give --token-file FILE, or --cert and --cert-key")
    return connect_remote(
        arguments.gateway,
        purpose=purpose,
        role=arguments.role,
        token_file=arguments.token_file,
        ca=arguments.ca,
        cert=arguments.cert,
        key=arguments.cert_key,
        endpoints=arguments.endpoints,
    )


def _embedded(arguments: argparse.Namespace, purpose: str | None) -> Connection:
    from lake import api

    if any(getattr(arguments, name) for name in _REMOTE):
        raise UsageError("tokens and certificates are for a gateway", hint="give --gateway URL")
    if not (arguments.user and purpose):
        complain: Callable[[str], NoReturn] = arguments.complain
        complain("--user and --purpose are required, or --gateway URL")
    paths = args.secrets(arguments)
    return api.connect(
        args.lake_path(arguments),
        user=arguments.user,
        purpose=purpose,
        role=arguments.role,
        key_file=paths.key_file,
        passphrase_file=paths.passphrase_file,
        provider_file=paths.provider_file,
    )
