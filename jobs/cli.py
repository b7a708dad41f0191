"""``lake jobs``, and ``lake keys rekey``: the commands that the jobs add to the command line."""

from __future__ import annotations

import argparse
from datetime import timedelta
from typing import Any

from jobs import rekey_cli, retention_cli, run_cli, upkeep_cli
from lake.cli import arguments as args
from lake.cli.output import emit, progress, table
from lake.errors import UsageError

MAX_GRACE_HOURS = 1_000_000


def register(subparsers: Any) -> None:
    """Add the commands; found through the entry point ``telemetry_lake.commands``."""
    group = subparsers.add_parser("jobs", help="run the jobs that keep a lake in order")
    commands = group.add_subparsers(metavar="COMMAND", required=True)
    sweep = args.command(
        commands,
        "sweep",
        "list objects that no batch owns, and remove them with --yes",
        "lake jobs sweep --lake ./mylake --yes",
    )
    sweep.add_argument("--grace-hours", type=float, default=24.0, help="leave younger objects alone (default: 24)")
    sweep.add_argument("--yes", action="store_true", help="remove them; without it nothing is changed")
    sweep.set_defaults(run=_sweep)
    run_cli.register(commands)
    retention_cli.register(commands)
    upkeep_cli.register(commands)
    rekey_cli.register(subparsers)


def _sweep(arguments: argparse.Namespace) -> int:
    from jobs.sealed import sweep  # noqa: PLC0415 - loaded when it is run

    if not 0 <= arguments.grace_hours <= MAX_GRACE_HOURS:
        raise UsageError("--grace-hours takes a number from 0 on")
    with args.open_lake(arguments) as lake:
        planned = sweep.plan(lake.home, timedelta(hours=arguments.grace_hours))
        removed = 0
        if arguments.yes and (planned.orphans or planned.uploads):
            with progress("orphans", len(planned.orphans)) as advance:
                removed = sweep.execute(lake.home, planned, lake.actor, advance)
    rows = [{"object": orphan.key, "bytes": orphan.length} for orphan in planned.orphans]
    uploads = len(planned.uploads)
    document = {"orphans": rows, "waiting": planned.waiting, "uploads": uploads, "removed": removed}
    done = f"{removed} removed" if arguments.yes else "nothing was changed; --yes removes them"
    found = f"{len(rows)} orphans ({planned.bytes:,} bytes), {planned.waiting} too young, {uploads} unfinished uploads"
    text = f"{table(rows)}\n{found}; {done}"
    emit(document, text, as_json=arguments.json)
    return 0
