"""``lake exposure``: who can read an employee's rows now."""

from __future__ import annotations

import argparse
from typing import Any

from lake.cli import arguments as args
from lake.cli.output import emit, table
from lake.errors import UsageError


def register(subparsers: args.Subparsers) -> None:
    """Add the command."""
    command = args.command(
        subparsers,
        "exposure",
        "who can read an employee's rows of a sensitivity now; exit code 1 if more than they should",
        "lake exposure --employee E00001 --dss 4 --max 3 --lake ./mylake",
    )
    command.add_argument("--employee", required=True)
    command.add_argument("--dss", type=int, choices=(1, 2, 3, 4), required=True, help="sensitivity of the rows")
    command.add_argument("--policy", metavar="POLICY.yaml", help="ask of this policy instead of the one in force")
    command.add_argument("--max", type=int, metavar="N", help="users, groups and doors that there may be")
    command.add_argument(
        "--allow",
        nargs="*",
        metavar="WHO",
        help="those who may: users, group:NAME, door:NAME; nobody if none is named",
    )
    command.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from lake.gateway.exposure import exceeding, exposure

    if arguments.max is not None and arguments.max < 0:
        raise UsageError("--max takes a number from 0 on")
    with args.open_lake(arguments) as lake:
        policy = (
            lake.policies.check(args.read_text(arguments.policy), arguments.policy)
            if arguments.policy
            else lake.policies.current()
        )
        document = exposure(lake.home, policy, lake.actor, arguments.employee, arguments.dss)
    beyond = exceeding(document["who"], arguments.max, arguments.allow)
    document["exceeding"] = beyond
    emit(document, _text(document), as_json=arguments.json)
    return 1 if beyond else 0


def _text(document: dict[str, Any]) -> str:
    summary = f"{len(document['who'])} can read rows of sensitivity {document['sensitivity']}"
    shown = ("who", "dataset", "purpose", "role", "line", "employee id", "masks", "files today", "if")
    lines = [table(document["ways"], shown), "", summary]
    if document["exceeding"]:
        lines.append(f"more than they should: {', '.join(document['exceeding'])}")
    return "\n".join(lines)
