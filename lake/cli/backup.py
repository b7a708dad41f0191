"""``lake backup`` and ``lake restore``: catalog, key store and audit log as one unit."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lake.cli import arguments as args
from lake.cli.output import emit, progress, say, table
from lake.errors import UsageError


def register(subparsers: args.Subparsers) -> None:
    """Add the commands."""
    backup = args.command(
        subparsers,
        "backup",
        "write catalog, key store and audit log as one encrypted unit; data objects stay where they are",
        "lake backup --lake ./mylake --to /backup/mylake\n  lake backup list --from /backup/mylake",
    )
    backup.add_argument("--to", metavar="DIR", help="folder of the units; parts that have not changed are kept once")
    backup.set_defaults(run=_backup)
    commands = backup.add_subparsers(metavar="COMMAND")
    listing = args.command(
        commands, "list", "list the units in a folder; needs no key", "lake backup list --from /backup/mylake"
    )
    _source(listing)
    listing.set_defaults(run=_list)
    verify = args.command(
        commands,
        "verify",
        "open every part and every wrap of a unit; writes no plaintext",
        "lake backup verify --lake ./mylake --from /backup/mylake",
    )
    _source(verify)
    verify.add_argument("--id", metavar="ID", help="of the unit (default: the newest)")
    verify.set_defaults(run=_verify)
    restore = args.command(
        subparsers,
        "restore",
        "make a lake of a backup, in a folder that is empty or holds nothing but data/",
        "lake restore --from /backup/mylake --lake ./restored --key-file mylake.key --roots /safe/mylake",
    )
    _source(restore)
    restore.add_argument("--id", metavar="ID", help="of the unit; needed for one that is older than a shredding")
    restore.add_argument(
        "--roots",
        metavar="DIR",
        help="of a lake's own key store: folder with device.secret, and keystore.bin if it survived",
    )
    restore.add_argument("--audit", metavar="DIR", help="surviving copy of the audit log: its later entries are kept")
    restore.add_argument("--key-store", metavar="DIR", help="folder for the key store (default: inside the lake)")
    restore.add_argument("--catalog-url", metavar="URL", default="", help="database of the catalog (default: a file)")
    restore.add_argument("--keys-url", metavar="URL", default="", help="database of the key store (default: a file)")
    restore.set_defaults(run=_restore)


def _source(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--from", dest="place", metavar="DIR", required=True, help="folder of the units")


def _backup(arguments: argparse.Namespace) -> int:
    from lake.gateway.backup import Backups, unit_document

    if not arguments.to:
        raise UsageError("no folder is named", hint="give --to DIR")
    with args.open_lake(arguments) as lake, progress("parts") as advance:
        taken = Backups(lake.home, lake.actor, advance).take(Path(arguments.to))
    document = {**unit_document(taken.unit), "parts": taken.parts, "written": taken.written, "opened": taken.opened}
    text = f"unit {taken.unit.id}: {_contents(document)}; {taken.parts:,} parts, {taken.written:,} of them new"
    emit(document, text, as_json=arguments.json)
    return 0


def _list(arguments: argparse.Namespace) -> int:
    from lake.gateway.backup import list_units

    found, damaged = list_units(Path(arguments.place))
    columns = ("unit", "lake", "at", "commits", "entries", "objects")
    text = table([{**one, "at": _moment(one["at"])} for one in found], columns)
    emit({"units": found, "damaged": damaged}, text, as_json=arguments.json)
    for message in damaged.values():
        say(f"lake: {message}")
    return 4 if damaged else 0


def _verify(arguments: argparse.Namespace) -> int:
    from lake.gateway.backup import Backups

    with args.open_lake(arguments) as lake, progress("parts") as advance:
        document = Backups(lake.home, lake.actor, advance).verify(Path(arguments.place), arguments.id)
    counts = ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in document.items() if name not in {"unit", "at"})
    emit(document, f"unit {document['unit']} is whole: {counts}", as_json=arguments.json)
    return 0


def _restore(arguments: argparse.Namespace) -> int:
    from lake.api import operator_name
    from lake.gateway.backup_restore import Target, restore_unit

    def path(given: str | None) -> Path | None:
        return Path(given) if given else None

    target = Target(
        args.lake_path(arguments),
        path(arguments.key_store),
        arguments.catalog_url,
        arguments.keys_url,
        path(arguments.roots),
        path(arguments.audit),
    )
    with progress("parts") as advance:
        document = restore_unit(
            Path(arguments.place),
            target,
            args.key_secrets(arguments),
            user=operator_name(),
            unit_id=arguments.id,
            progress=advance,
        )
    emit(document, "\n".join(_told(document)), as_json=arguments.json)
    return 0


def _told(report: dict[str, Any]) -> list[str]:
    lines = [
        f"restored unit {report['unit']} of {_moment(report['at'])} to {report['folder']}: {_contents(report)}",
        "what was done after that moment is lost; the restoration is recorded in the audit log",
    ]
    if report["entries_recovered"]:
        lines.append(f"{report['entries_recovered']:,} later audit entries were kept from the surviving log")
    if report["closed_keks"] or report["closed_bucket_keys"]:
        lines.append(
            f"{report['closed_keks']:,} KEKs under {report['closed_bucket_keys']:,} bucket keys were destroyed since:"
            " their files do not open"
        )
    if report["erased_again"]:
        lines.append(f"{report['erased_again']:,} employees who were erased since are erased here too")
    if report["missing"]:
        lines += [f"{report['missing']:,} objects are missing:", *(f"  {key}" for key in report["missing_objects"])]
    if report["orphans"]:
        lines.append(
            f"{report['orphans']:,} objects landed after the backup: their keys were in the lost catalog only;"
            " send their batches again, then 'lake jobs sweep'"
        )
    return [*lines, "next: 'lake doctor'"]


def _contents(document: dict[str, Any]) -> str:
    return f"{document['commits']:,} commits, {document['entries']:,} audit entries, {document['objects']:,} objects"


def _moment(at: int) -> str:
    return datetime.fromtimestamp(at / 1_000_000, UTC).isoformat(timespec="seconds")
