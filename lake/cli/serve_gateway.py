"""``lake serve gateway``: the process that answers queries over the network, for callers who hold no key."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lake.cli import arguments as args
from lake.cli.serving import on_this_machine, place, run_server
from lake.errors import UsageError
from lake.settings import MIB, Settings

if TYPE_CHECKING:
    from lake.gateway.flight.door import Address
    from lake.gateway.flight.process import Plan


def register(serve: args.Subparsers) -> None:
    """Add the command to the group ``lake serve``."""
    gateway = args.command(
        serve,
        "gateway",
        "answer queries over Arrow Flight SQL; callers authenticate, and the policy decides",
        "lake serve gateway --identity identity.yaml --listen 0.0.0.0:8815 --tls-cert gateway.pem --tls-key gateway.key"
        "\n\nthe lake in LAKE_HOME, its broker in LAKE_BROKER; "
        "see docs/operations/gateway.md and identity.md beside it",
    )
    gateway.add_argument("--identity", metavar="FILE", required=True, help="who may vouch for callers, as YAML")
    gateway.add_argument("--listen", metavar="HOST:PORT", help="for callers with tokens")
    gateway.add_argument("--mtls-listen", metavar="HOST:PORT", help="for callers with certificates")
    gateway.add_argument("--tls-cert", metavar="FILE", help="the gateway's certificate chain, PEM")
    gateway.add_argument("--tls-key", metavar="FILE", help="its private key, PEM")
    gateway.add_argument("--tls-client-ca", metavar="FILE", help="the CA of callers' certificates, PEM")
    gateway.add_argument("--insecure", action="store_true", help="no TLS, on a loopback address only")
    gateway.add_argument(
        "--metrics", metavar="HOST:PORT", default="127.0.0.1:9464",
        help="health and metrics over plain HTTP; 'off' for none (default: %(default)s)",
    )  # fmt: skip
    gateway.add_argument(
        "--grace", type=float, default=30.0, metavar="SECONDS",
        help="how long results may go on after SIGTERM (default: %(default)g)",
    )  # fmt: skip
    usual = Settings()
    for option, what, default in (
        ("--sandboxes", "queries at a time", usual.sandboxes_most),
        ("--sandbox-memory", "MiB that one of them may use", usual.sandbox_memory // MIB),
        ("--slice-cache", "MiB of slices kept between queries, 0 for none", usual.slice_cache // MIB),
    ):
        gateway.add_argument(option, type=int, default=default, metavar="N", help=f"{what} (default: %(default)s)")
    gateway.set_defaults(run=_gateway)


def _gateway(arguments: argparse.Namespace) -> int:
    try:
        from lake.gateway.flight.process import GatewayProcess, StopSignals, harden, log_to_stderr
    except ModuleNotFoundError:
        raise UsageError("a gateway needs more packages", hint="pip install 'telemetry-lake[gateway]'") from None

    plan = _plan(arguments)
    memory = harden(lock=True)
    log_to_stderr()
    stop = StopSignals()
    return run_server("gateway", GatewayProcess(plan), stop, memory, arguments)


def _plan(arguments: argparse.Namespace) -> Plan:
    from lake.gateway.flight.process import Plan

    if arguments.grace < 0 or arguments.sandboxes < 1 or arguments.sandbox_memory < 64 or arguments.slice_cache < 0:
        raise UsageError("times and sizes are not negative, and a query has 64 MiB at least")
    settings = Settings(
        sandboxes_most=arguments.sandboxes,
        sandboxes_ready=min(arguments.sandboxes, Settings().sandboxes_ready),
        sandbox_memory=arguments.sandbox_memory * MIB,
        slice_cache=arguments.slice_cache * MIB,
    )
    health = None if arguments.metrics == "off" else place("--metrics", arguments.metrics)
    root, secrets = args.lake_path(arguments), args.secrets(arguments)
    return Plan(root, secrets, Path(arguments.identity), _addresses(arguments), health, settings)


def _addresses(arguments: argparse.Namespace) -> list[Address]:
    """Where callers come; each place with the files that it needs.

    Raises:
        UsageError: the options do not go together.
    """
    from lake.gateway.flight.door import Address

    if not arguments.listen and not arguments.mtls_listen:
        raise UsageError("the gateway listens nowhere", hint="give --listen HOST:PORT or --mtls-listen HOST:PORT")
    if bool(arguments.mtls_listen) != bool(arguments.tls_client_ca):
        raise UsageError("--mtls-listen and --tls-client-ca go together")
    if arguments.insecure:
        if arguments.mtls_listen or arguments.tls_cert or arguments.tls_key:
            raise UsageError("--insecure goes without TLS")
        host, port = place("--listen", arguments.listen)
        if not on_this_machine(host):
            raise UsageError("without TLS the gateway listens on a loopback address only", hint="127.0.0.1:8815")
        return [Address(host, port)]
    if not arguments.tls_cert or not arguments.tls_key:
        raise UsageError("callers' tokens and rows need TLS", hint="give --tls-cert and --tls-key")
    certificate, key = Path(arguments.tls_cert), Path(arguments.tls_key)
    found = []
    if arguments.listen:
        found.append(Address(*place("--listen", arguments.listen), certificate, key))
    if arguments.mtls_listen:
        certified = place("--mtls-listen", arguments.mtls_listen)
        found.append(Address(*certified, certificate, key, Path(arguments.tls_client_ca)))
    return found
