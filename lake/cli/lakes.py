"""``lake init``, ``status``, ``doctor``, ``upgrade``: a lake as a whole."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lake.cli import arguments as args
from lake.cli.output import emit, progress, say, table


def register(subparsers: args.Subparsers) -> None:
    """Add the commands."""
    init = args.command(subparsers, "init", "make a new lake", "lake init --lake ./mylake --key-file ~/mylake.key")
    init.add_argument("--key-store", metavar="DIR", help="folder for the key store (default: inside the lake)")
    init.add_argument("--store", default="", metavar="URL", help="S3 place of the data files: s3://BUCKET/PREFIX")
    init.add_argument("--endpoint", default="", metavar="URL", help="the S3 server, if it is not AWS's own")
    init.add_argument("--catalog-url", default="", metavar="URL", help="PostgreSQL database of the catalog")
    init.add_argument("--keys-url", default="", metavar="URL", help="PostgreSQL database of the key store")
    init.add_argument(
        "--single-approver",
        action="store_true",
        help="for trials: one person puts contracts in force, for datasets without rows; cannot be changed later",
    )
    init.set_defaults(run=_init)
    status = args.command(subparsers, "status", "show what the lake holds", "lake status --lake ./mylake --json")
    status.set_defaults(run=_status)
    doctor = args.command(
        subparsers, "doctor", "check every key, row, object and audit entry", "lake doctor --lake ./mylake"
    )
    doctor.set_defaults(run=_doctor)
    upgrade = args.command(
        subparsers, "upgrade", "bring the databases to this version's form", "lake upgrade --lake ./mylake"
    )
    upgrade.set_defaults(run=_upgrade)


def _init(arguments: argparse.Namespace) -> int:
    from lake import api

    path, paths = args.lake_path(arguments), args.secrets(arguments)
    fresh = paths.key_file is not None and not paths.key_file.exists()
    api.create(
        path,
        key_file=paths.key_file,
        passphrase_file=paths.passphrase_file,
        provider_file=paths.provider_file,
        key_store=arguments.key_store,
        store=arguments.store,
        endpoint=arguments.endpoint,
        catalog_url=arguments.catalog_url,
        keys_url=arguments.keys_url,
        single_approver=arguments.single_approver,
    )
    if fresh:
        say(f"made the key file {paths.key_file}: keep a copy apart from the lake; without it nothing can be read")
    document = {"lake": str(path.absolute()), "key_file_made": fresh}
    emit(document, f"made a lake in {path}", as_json=arguments.json)
    return 0


def status_document(lake: Any) -> dict[str, Any]:
    """What ``lake status`` shows."""
    home = lake.home
    policy = lake.policies.current()
    return {
        "lake": home.config.lake,
        "created": home.config.created,
        "datasets": {name: contract.version for name, contract in lake.contracts.newest().items()},
        "policy": policy.digest if policy else None,
        "contents": home.catalog.summary(),
        "counts": {**home.catalog.counts(), **home.key_store.counts()},
        "audit_entries": home.log.size,
    }


def _status(arguments: argparse.Namespace) -> int:
    with args.open_lake(arguments) as lake:
        document = status_document(lake)
    columns = ("dataset", "sensitivity", "employees", "files", "rows", "bytes", "first", "last")
    lines = [
        f"lake {document['lake']}, made {document['created']}",
        f"policy in force: {document['policy'] or 'none: nobody may read'}",
        "contracts: " + (", ".join(f"{name} v{v}" for name, v in document["datasets"].items()) or "none"),
        "",
        table(document["contents"], columns),
        "",
        ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in document["counts"].items()),
        f"{document['audit_entries']:,} audit entries",
    ]
    emit(document, "\n".join(lines), as_json=arguments.json)
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
    from lake.gateway.doctor import DAMAGE, UNCHECKED, Doctor

    with args.open_lake(arguments) as lake, progress("files", lake.home.catalog.counts()["files"]) as advance:
        findings = list(Doctor(lake.home, advance).examine())
    document = [{"check": f.check, "state": f.state, "message": f.message} for f in findings]
    text = "\n".join(f"{finding.state:8} {finding.check}: {finding.message}" for finding in findings)
    emit(document, text, as_json=arguments.json)
    states = {finding.state for finding in findings}
    return 4 if DAMAGE in states else 5 if UNCHECKED in states else 0


def _upgrade(arguments: argparse.Namespace) -> int:
    from lake.gateway.home import upgrade

    path = args.lake_path(arguments)
    upgrade(Path(path))
    emit({"upgraded": str(path)}, f"{path} has this version's form", as_json=arguments.json)
    return 0
