"""``lake serve ingest``: the process that takes batches from collectors, and gives them leases."""

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
    from lake.gateway.receiving.process import ReceivingPlan

_LANDING = 32
"""MiB of rows that one batch gathers before it is split."""


def register(serve: args.Subparsers) -> None:
    """Add the command to the group ``lake serve``."""
    ingest = args.command(
        serve,
        "ingest",
        "take batches from collectors over HTTP, and over Arrow Flight; give them leases",
        "lake serve ingest --listen 0.0.0.0:8444 --tls-cert ingest.pem --tls-key ingest.key"
        "\n\nthe lake in LAKE_HOME, its broker in LAKE_BROKER; devices are enrolled with 'lake device'; "
        "see docs/operations/ingest-server.md",
    )
    ingest.add_argument("--listen", metavar="HOST:PORT", help="for devices with tokens")
    ingest.add_argument("--mtls-listen", metavar="HOST:PORT", help="for devices with certificates")
    ingest.add_argument("--flight-listen", metavar="HOST:PORT", help="for bulk over Arrow Flight, with tokens")
    ingest.add_argument("--tls-cert", metavar="FILE", help="the server's certificate chain, PEM")
    ingest.add_argument("--tls-key", metavar="FILE", help="its private key, PEM, mode 0600")
    ingest.add_argument("--tls-client-ca", metavar="FILE", help="the CA of devices' certificates, PEM")
    ingest.add_argument("--insecure", action="store_true", help="no TLS, on a loopback address only")
    ingest.add_argument(
        "--metrics", metavar="HOST:PORT", default="127.0.0.1:9465",
        help="health and metrics over plain HTTP; 'off' for none (default: %(default)s)",
    )  # fmt: skip
    ingest.add_argument(
        "--grace", type=float, default=30.0, metavar="SECONDS",
        help="how long batches under way may go on after SIGTERM (default: %(default)g)",
    )  # fmt: skip
    for option, what, default in (
        ("--uploads", "batches under way at a time", 128),
        ("--uploads-each", "of one device", 4),
        ("--landing", "batches that land at a time, each in a thread", 2),
        ("--body", "MiB of one body as it is sent", 16),
        ("--buffered", "MiB of bodies in memory at a time", 256),
        ("--connections", "open connections", 1024),
    ):
        ingest.add_argument(option, type=int, default=default, metavar="N", help=f"{what} (default: %(default)s)")
    ingest.set_defaults(run=_ingest)


def _ingest(arguments: argparse.Namespace) -> int:
    try:
        from lake.gateway.flight.process import StopSignals, harden, log_to_stderr
        from lake.gateway.receiving.process import ReceivingProcess
    except ModuleNotFoundError:
        raise UsageError("an ingest server needs more packages", hint="pip install 'telemetry-lake[ingest]'") from None

    plan = _plan(arguments)
    memory = harden(lock=True)
    log_to_stderr()
    stop = StopSignals()
    return run_server("ingest server", ReceivingProcess(plan), stop, memory, arguments)


def _plan(arguments: argparse.Namespace) -> ReceivingPlan:
    from lake.api import operator_name
    from lake.gateway.receiving.limits import ReceivingLimits
    from lake.gateway.receiving.process import ReceivingPlan

    numbers = (arguments.uploads, arguments.uploads_each, arguments.landing, arguments.body, arguments.connections)
    if arguments.grace < 0 or min(numbers) < 1 or arguments.buffered < arguments.body:
        raise UsageError("times are not negative, numbers are 1 or more, and a body fits into what is buffered")
    limits = ReceivingLimits(
        body=arguments.body * MIB,
        uploads=arguments.uploads,
        uploads_each=arguments.uploads_each,
        buffered=arguments.buffered * MIB,
        connections=arguments.connections,
        landing=arguments.landing,
    )
    health = None if arguments.metrics == "off" else place("--metrics", arguments.metrics)
    addresses, bulk = _addresses(arguments)
    settings = Settings(landing_bytes=_LANDING * MIB)
    root, secrets = args.lake_path(arguments), args.secrets(arguments)
    return ReceivingPlan(root, secrets, operator_name(), addresses, bulk, health, settings, limits)


def _addresses(arguments: argparse.Namespace) -> tuple[list[Address], list[Address]]:
    """Where devices come over HTTP, and over Flight; each place with the files that it needs.

    Raises:
        UsageError: the options do not go together.
    """
    from lake.gateway.flight.door import Address

    if not arguments.listen and not arguments.mtls_listen:
        raise UsageError("the server listens nowhere", hint="give --listen HOST:PORT or --mtls-listen HOST:PORT")
    if bool(arguments.mtls_listen) != bool(arguments.tls_client_ca):
        raise UsageError("--mtls-listen and --tls-client-ca go together")
    plain = [("--listen", arguments.listen)] if arguments.listen else []
    flight = [("--flight-listen", arguments.flight_listen)] if arguments.flight_listen else []
    if arguments.insecure:
        if arguments.mtls_listen or arguments.tls_cert or arguments.tls_key:
            raise UsageError("--insecure goes without TLS")
        for option, text in [*plain, *flight]:
            if not on_this_machine(place(option, text)[0]):
                raise UsageError("without TLS the server listens on a loopback address only", hint="127.0.0.1:8444")
        return [Address(*place(*each)) for each in plain], [Address(*place(*each)) for each in flight]
    if not arguments.tls_cert or not arguments.tls_key:
        raise UsageError("what devices send needs TLS", hint="give --tls-cert and --tls-key")
    own = Path(arguments.tls_cert), Path(arguments.tls_key)
    addresses = [Address(*place(*each), *own) for each in plain]
    if arguments.mtls_listen:
        addresses.append(Address(*place("--mtls-listen", arguments.mtls_listen), *own, Path(arguments.tls_client_ca)))
    return addresses, [Address(*place(*each), *own) for each in flight]
