"""``lake dataset``: collection contracts."""

from __future__ import annotations

import argparse

from lake.cli import arguments as args
from lake.cli.output import emit, table
from lake.person import person


def register(subparsers: args.Subparsers) -> None:
    """Add the commands."""
    group = subparsers.add_parser("dataset", help="add and show collection contracts")
    commands = group.add_subparsers(metavar="COMMAND", required=True)
    add = args.command(
        commands,
        "add",
        "put a collection contract in force",
        "lake dataset add examples/contracts/mouse.yaml --lake ./mylake",
    )
    add.add_argument("contract", metavar="CONTRACT.yaml")
    add.set_defaults(run=_add)
    listing = args.command(commands, "list", "list the datasets", "lake dataset list --lake ./mylake")
    listing.set_defaults(run=_list)
    show = args.command(
        commands, "show", "show what a dataset collects, as employees are told", "lake dataset show mouse_events"
    )
    show.add_argument("dataset")
    show.set_defaults(run=_show)


def _add(arguments: argparse.Namespace) -> int:
    text = args.read_text(arguments.contract)
    with args.open_lake(arguments) as lake:
        contract, added = lake.contracts.add(text, arguments.contract, person())
    document = {"dataset": contract.dataset, "version": contract.version, "digest": contract.digest, "added": added}
    done = "in force now" if added else "was in force already"
    emit(document, f"{contract.dataset} version {contract.version}: {done}", as_json=arguments.json)
    return 0


def _list(arguments: argparse.Namespace) -> int:
    with args.open_lake(arguments) as lake:
        rows = [
            {
                "dataset": c.dataset,
                "version": c.version,
                "event_types": len(c.events),
                "fields": len(c.fields),
                "title": c.title,
            }
            for c in lake.contracts.newest().values()
        ]
    emit(rows, table(rows), as_json=arguments.json)
    return 0


def _show(arguments: argparse.Namespace) -> int:
    with args.open_lake(arguments) as lake:
        contract = lake.contracts.get(arguments.dataset)
    events = [
        {"event": e.name, "sensitivity": e.sensitivity, "fields": ", ".join(e.fields), "notice": e.notice}
        for e in contract.events.values()
    ]
    fields = [
        {"field": f.name, "type": f.type.value, "sensitivity": f.sensitivity, "notice": f.notice}
        for f in contract.fields.values()
    ]
    document = {
        "dataset": contract.dataset,
        "version": contract.version,
        "title": contract.title,
        "notice": contract.notice,
        "purposes": contract.purposes,
        "retention_days": dict(contract.retention),
        "events": events,
        "fields": fields,
    }
    kept = ", ".join(f"sensitivity {level} for {days} days" for level, days in contract.retention.items())
    lines = [
        f"{contract.title} ({contract.dataset}, version {contract.version})",
        contract.notice,
        f"Used for: {', '.join(contract.purposes)}. Kept: {kept}.",
        "",
        table(events),
        "",
        table(fields),
    ]
    emit(document, "\n".join(lines), as_json=arguments.json)
    return 0
