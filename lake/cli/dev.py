"""``lake dev``: a company's set of processes on this machine, and the secrets of such a set."""

from __future__ import annotations

import argparse
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from lake.cli import arguments as args
from lake.cli.output import emit, say
from lake.errors import UnavailableError, UsageError

STATE = "lake-dev"
DOWN_SECONDS = 60.0


def register(subparsers: args.Subparsers) -> None:
    """Add the commands."""
    dev = args.group(subparsers, "dev", "run a company's set of processes on this machine")
    up = args.command(
        dev,
        "up",
        "start key service, object store, database, broker and gateway on loopback, and wait; Ctrl-C stops them",
        "lake dev up --state ./lake-dev --documents examples",
    )
    _state_option(up)
    up.add_argument(
        "--documents", metavar="DIR", help="contracts/*.yaml and policies/policy.yaml of it are put in force"
    )
    up.add_argument(
        "--store", choices=("juicefs", "local"), help="where the objects of a new lake lie (default: juicefs, over S3)"
    )
    up.add_argument(
        "--database",
        choices=("postgresql", "sqlite"),
        help="of a new lake (default: postgresql where it is installed)",
    )
    up.add_argument("--port", type=_port, metavar="N", help="the gateway's, of a new lake (default: a free one)")
    up.set_defaults(run=_up)
    status = args.command(dev, "status", "show where everything is", "lake dev status --state ./lake-dev")
    _state_option(status)
    status.set_defaults(run=_status)
    down = args.command(dev, "down", "stop what 'lake dev up' started", "lake dev down --state ./lake-dev")
    _state_option(down)
    down.set_defaults(run=_down)
    prepare = args.command(
        dev,
        "prepare",
        "make a lake ready for its processes: store, lake, rights, documents; does only what is still to do",
        "lake dev prepare --lake /srv/lake/main --provider operator.yaml --secrets ./secrets --documents ./examples",
    )
    prepare.add_argument("--secrets", metavar="DIR", help="folder with the credentials of the store")
    prepare.add_argument("--documents", metavar="DIR", help="contracts/*.yaml and policies/policy.yaml of it")
    for option, value, what in (
        ("--store", "URL", "s3://BUCKET/PREFIX"),
        ("--endpoint", "URL", "of the store's server"),
        ("--catalog-url", "URL", "PostgreSQL database of the catalog"),
        ("--keys-url", "URL", "PostgreSQL database of the key store"),
        ("--key-store", "DIR", "folder of the key store"),
    ):
        prepare.add_argument(option, metavar=value, default="", help=f"of a new lake: {what}")
    prepare.set_defaults(run=_prepare)
    secrets = args.command(
        dev,
        "secrets",
        "make every secret that a set of processes needs, in files of mode 0600; for Compose",
        "lake dev secrets --to ./secrets --name gateway.example.org --environment .env",
    )
    secrets.add_argument("--to", required=True, metavar="DIR", help="a folder that does not exist yet")
    secrets.add_argument(
        "--name", action="append", default=[], metavar="HOST", help="by which callers reach the gateway; repeatable"
    )
    secrets.add_argument(
        "--environment", metavar="FILE", help="write Compose's variables there: as whom the containers run"
    )
    secrets.set_defaults(run=_secrets)


def _state_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--state", metavar="DIR", default=STATE, help="folder of it all (default: ./lake-dev)")


def _port(text: str) -> int:
    port = int(text)
    if not 1 <= port <= 65_535:
        raise ValueError
    return port


def _up(arguments: argparse.Namespace) -> int:
    from lake.dev.stack import Stack, Stop, decide
    from lake.dev.state import State

    stop = Stop()
    state = State(Path(arguments.state))
    documents = Path(arguments.documents).absolute() if arguments.documents else None
    if documents is not None and not documents.is_dir():
        raise UsageError(f"{documents} is no folder")
    with state.running():
        if not state.made:
            state.make(decide(arguments.store or "juicefs", arguments.database or "", arguments.port, state, say))
        elif arguments.store or arguments.database or arguments.port:
            raise UsageError("--store, --database and --port are for a new lake", hint="this one has them already")
        stack = Stack(state, documents, stop, say)
        try:
            document = {"ready": True, **stack.document}
            state.announce(document)
            print(json.dumps(document) if arguments.json else _text(document), flush=True)
            stack.watch()
        finally:
            state.withdraw()
            stack.close()
    say("everything is stopped")
    return 0


def _text(document: dict[str, Any]) -> str:
    ca, gateway = document["ca"], document["gateway"]
    environments = document["environments"]
    lines = [
        f"{name:11} {document[name]}"
        for name in ("gateway", "health", "broker", "openbao", "s3", "postgresql", "lake", "logs")
        if name in document
    ]
    lines += [
        "",
        "to try it, each block in a shell of its own:",
        "",
        f"  . {environments['ingest']}",
        "  lake synth --employees 20 --rows 20000 --seed 7 --output rows.arrow",
        "  lake ingest rows.arrow --dataset desktop_events",
        "",
        f"  . {environments['gateway']}",
        "  lake token --user mira --purpose train_assistant --output mira.token",
        "",
        '  lake query "SELECT app, count(*) AS n FROM desktop_events GROUP BY app" \\',
        f"    --gateway {gateway} --ca {ca} --token-file mira.token",
        "",
        "Ctrl-C stops everything",
    ]
    return "\n".join(lines)


def _status(arguments: argparse.Namespace) -> int:
    document = _announced(arguments)
    emit(document, _text(document), as_json=arguments.json)
    return 0


def _down(arguments: argparse.Namespace) -> int:
    from lake.dev.state import State

    document = _announced(arguments)
    os.kill(document["pid"], signal.SIGTERM)
    state, deadline = State(Path(arguments.state)), time.monotonic() + DOWN_SECONDS
    while state.held:
        if time.monotonic() > deadline:
            raise UnavailableError("it is still stopping", hint=f"see {document['logs']}")
        time.sleep(0.1)
    emit({"stopped": True}, "everything is stopped", as_json=arguments.json)
    return 0


def _announced(arguments: argparse.Namespace) -> dict[str, Any]:
    from lake.dev.state import State

    state = State(Path(arguments.state))
    found = state.announced()
    if found is None:
        raise UsageError(f"nothing is up in {state.folder}", hint="lake dev up starts it")
    return found


def _prepare(arguments: argparse.Namespace) -> int:
    from lake.dev.prepare import Plan, prepare
    from lake.gateway.config import Elsewhere

    if bool(arguments.store) != bool(arguments.endpoint):
        raise UsageError("--store and --endpoint go together")
    plan = Plan(
        args.lake_path(arguments),
        args.key_secrets(arguments),
        Elsewhere(arguments.store, arguments.endpoint, arguments.catalog_url, arguments.keys_url),
        *(Path(given) if given else None for given in (arguments.secrets, arguments.documents, arguments.key_store)),
    )
    done: list[str] = []
    for step in prepare(plan):
        say(step)
        done.append(step)
    emit({"done": done}, "the lake is ready", as_json=arguments.json)
    return 0


def _secrets(arguments: argparse.Namespace) -> int:
    from lake.dev import secret_files

    owner = secret_files.containers_owner()
    folder = secret_files.make(Path(arguments.to), arguments.name, owner=owner if os.geteuid() == 0 else None)
    if arguments.environment:
        secret_files.write_environment(Path(arguments.environment), owner)
    say("keep a copy of this folder apart from the lake: without openbao.unseal nothing can ever be read")
    emit({"secrets": str(folder)}, f"made the secrets in {folder}", as_json=arguments.json)
    return 0
