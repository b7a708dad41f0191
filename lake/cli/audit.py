"""``lake audit``: verify, show, blast-radius, subject-report, reconcile."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from lake.cli import arguments as args
from lake.cli.output import emit, table
from lake.errors import UsageError


def register(subparsers: args.Subparsers) -> None:
    """Add the commands."""
    group = subparsers.add_parser("audit", help="verify the audit log and ask it who read what")
    commands = group.add_subparsers(metavar="COMMAND", required=True)
    verify = args.command(
        commands, "verify", "recompute the whole log; needs no key", "lake audit verify --lake ./mylake"
    )
    verify.set_defaults(run=_verify)
    show = args.command(commands, "show", "show entries", "lake audit show --type query.deny --lake ./mylake")
    show.add_argument("--type", help="entries of this type only, such as query.outcome")
    show.add_argument("--user", help="entries of this user only")
    show.add_argument("--details", action="store_true", help="open the sealed details, such as the SQL")
    show.add_argument("--limit", type=int, default=50, help="the newest so many (default: 50)")
    _interval_options(show)
    show.set_defaults(run=_show)
    radius = args.command(
        commands,
        "blast-radius",
        "what a user could read, which keys were released, whose rows were read",
        "lake audit blast-radius --user mira --from 2026-11-01 --to 2026-11-30 --lake ./mylake",
    )
    radius.add_argument("--user", required=True)
    _interval_options(radius)
    radius.set_defaults(run=_blast_radius)
    books = args.command(
        commands,
        "reconcile",
        "compare the broker's own book of released keys with the log; exit code 4 if they differ",
        "lake audit reconcile --lake ./mylake",
    )
    books.set_defaults(run=_reconcile)
    subject = args.command(
        commands,
        "subject-report",
        "for an employee: what was collected, and when and why it was read",
        "lake audit subject-report --employee E00001 --lake ./mylake",
    )
    subject.add_argument("--employee", required=True)
    subject.add_argument("--with-identities", action="store_true", help="name the readers (see CJEU C-579/21)")
    _interval_options(subject)
    subject.set_defaults(run=_subject_report)


def _interval_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--from", dest="first", metavar="TIME", help="from this time on (UTC)")
    parser.add_argument("--to", dest="last", metavar="TIME", help="up to this time (UTC); a day counts whole")


def _reports(lake: Any) -> Any:
    from lake.gateway.reports import Reports

    return Reports(lake.home, lake.policies, lake.actor)


def _verify(arguments: argparse.Namespace) -> int:
    from lake.gateway.doctor import verify_audit

    document = verify_audit(args.lake_path(arguments))
    text = (
        f"{document['size']} entries, {document['files']} files, {document['signed_heads']} signed heads: all hold\n"
        f"root {document['root']}\nkey  {document['key']}"
    )
    emit(document, text, as_json=arguments.json)
    return 0


def _show(arguments: argparse.Namespace) -> int:
    if arguments.limit < 1:
        raise UsageError("--limit takes a number from 1 on")
    with args.open_lake(arguments) as lake:
        rows = _reports(lake).show(
            args.interval(arguments),
            kind=arguments.type,
            user=arguments.user,
            details=arguments.details,
            limit=arguments.limit,
        )
    common = ("index", "time", "type", "user")
    readable = [{**{name: row[name] for name in common}, "what": _what(row, common)} for row in rows]
    emit(rows, table(readable), as_json=arguments.json)
    return 0


def _what(row: dict[str, Any], common: tuple[str, ...]) -> str:
    return " ".join(f"{name}={value}" for name, value in row.items() if name not in common and value not in ("", []))


def _blast_radius(arguments: argparse.Namespace) -> int:
    with args.open_lake(arguments) as lake:
        document = _reports(lake).blast_radius(arguments.user, args.interval(arguments))
    rows = []
    for name, meaning in (
        ("could", "granted by a policy in force"),
        ("unwrapped", f"{document['unwrapped']['keys']} keys released"),
        ("did", f"{document['did']['rows_released']} rows released"),
        ("possibly", f"{len(document['possibly']['open_intents'])} queries without final outcome"),
    ):
        part = document[name]
        levels = "; ".join(
            f"{dataset}: " + ", ".join(f"level {level}: {count}" for level, count in found.items())
            for dataset, found in part["by_dataset"].items()
        )
        rows.append({"what": name, "employees": part["employees"], "by level": levels, "meaning": meaning})
    text = f"{table(rows)}\n\n{document['queries']} queries, {document['denials']} denials"
    emit(document, text, as_json=arguments.json)
    return 0


def _reconcile(arguments: argparse.Namespace) -> int:
    from lake.gateway.reconcile import reconcile

    with args.open_lake(arguments) as lake:
        found = reconcile(lake.home, lake.actor)
    counts = (
        f"{found.releases:,} releases of {found.keys:,} keys; {found.intents:,} INTENTs,"
        f" {found.unused:,} of them without keys"
    )
    emit(asdict(found), "\n".join([counts, *(found.differences or ["the two books agree"])]), as_json=arguments.json)
    return 4 if found.differences else 0


def _subject_report(arguments: argparse.Namespace) -> int:
    with args.open_lake(arguments) as lake:
        document = _reports(lake).subject_report(
            arguments.employee, args.interval(arguments), identities=arguments.with_identities
        )

    def readable(rows: list[dict[str, Any]]) -> str:
        flat = [
            {name: ", ".join(map(str, value)) if isinstance(value, list) else value for name, value in row.items()}
            for row in rows
        ]
        return table(flat)

    text = f"collected\n{readable(document['collected'])}\n\nread\n{readable(document['reads'])}"
    emit(document, text, as_json=arguments.json)
    return 0
