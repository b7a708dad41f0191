"""``lake serve broker``: the process that alone opens the key store, for gateways and ingest hosts to ask."""

from __future__ import annotations

import argparse
import json
import logging
import signal
from contextlib import closing
from pathlib import Path

from lake.cli import arguments as args
from lake.cli import serve_gateway, serve_ingest
from lake.errors import UsageError

MAX_PORT = 65_535


def register(subparsers: args.Subparsers) -> None:
    """Add the commands."""
    serve = args.group(subparsers, "serve", "run a part of the lake as a process of its own")
    serve_gateway.register(serve)
    serve_ingest.register(serve)
    broker = args.command(
        serve,
        "broker",
        "hand out keys to gateways and ingest hosts, which cannot open the key store",
        "lake serve broker --lake /etc/lake --key-file /etc/lake/key --socket /run/lake/broker.sock --peers peers.yaml"
        "\n\npeers.yaml:\n  uids: {1001: gateway, 1002: ingest, 1003: operator}\n"
        "  certificates: {gateway.example.org: gateway}\n"
        '  limits: {per_level: {"4": 500}, per_principal: 20000}',
    )
    broker.add_argument(
        "--socket", metavar="PATH", help="listen on this Unix socket, in a folder that only its owner can write"
    )
    broker.add_argument("--listen", metavar="HOST:PORT", help="listen there, with mutual TLS 1.3")
    broker.add_argument("--tls-cert", metavar="FILE", help="the broker's certificate chain, PEM")
    broker.add_argument("--tls-key", metavar="FILE", help="its private key, PEM, mode 0600")
    broker.add_argument("--tls-client-ca", metavar="FILE", help="the CA of the hosts' certificates, PEM")
    broker.add_argument(
        "--peers", metavar="FILE", required=True, help="roles by uid or certificate name, and limits, as YAML"
    )
    broker.set_defaults(run=_broker)


def _broker(arguments: argparse.Namespace) -> int:
    from lake.gateway import broker_process as process
    from lake.gateway.home import open_keys

    memory = process.harden(lock=True)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    place, files = _place(arguments), _tls_files(arguments)
    peers, limits = process.load_peers(Path(arguments.peers))
    with closing(open_keys(args.lake_path(arguments), args.key_secrets(arguments), limits=limits)) as keys:
        if isinstance(place, Path):
            server = process.on_socket(keys, place, peers)
        else:
            server = process.on_tls(keys, place, files, peers)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: server.stop())
        document = {"ready": True, "address": server.address, "memory": memory}
        text = ", ".join(f"{name.replace('_', ' ')} {state}" for name, state in memory.items())
        print(
            json.dumps(document) if arguments.json else f"the broker listens at {server.address} ({text})", flush=True
        )
        server.serve()
    return 0


def _place(arguments: argparse.Namespace) -> Path | tuple[str, int]:
    """Where to listen."""
    if bool(arguments.socket) == bool(arguments.listen):
        raise UsageError("the broker listens at one place", hint="give --socket PATH or --listen HOST:PORT")
    if arguments.socket:
        return Path(arguments.socket)
    host, _, port = str(arguments.listen).rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > MAX_PORT:
        raise UsageError("--listen takes HOST:PORT, such as 0.0.0.0:8443")
    return host.strip("[]"), int(port)


def _tls_files(arguments: argparse.Namespace) -> tuple[Path, Path, Path]:
    """Certificate, key, and the CA of the hosts; for TLS all of them, for a Unix socket none."""
    given = (arguments.tls_cert, arguments.tls_key, arguments.tls_client_ca)
    if bool(arguments.listen) != all(given) or (arguments.socket and any(given)):
        raise UsageError("--listen takes --tls-cert, --tls-key and --tls-client-ca, and --socket none of them")
    certificate, key, ca = (Path(path or ".") for path in given)
    return certificate, key, ca
