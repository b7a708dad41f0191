"""``lake keys rekey``: which files are meant, the plan, and the run."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from lake.cli import arguments as args
from lake.cli.keys_run import needs_scope, scope_of
from lake.cli.output import emit, progress
from lake.errors import UsageError

if TYPE_CHECKING:
    from lake.api import Lake
    from lake.sealed.catalog.upkeep import FileScope


def register(subparsers: Any) -> None:
    """Add the command to ``lake keys``."""
    rekey = args.command(
        args.group(subparsers, "keys", "look after keys: rotate, suspend, shred, back up, verify"),
        "rekey",
        "write data anew under fresh DEKs: the answer to a key that somebody may know; acts with --yes",
        "lake keys rekey --released-to mira --from 2026-11-01 --to 2026-11-03 --yes",
    )
    rekey.add_argument("--employee", action="append", metavar="ID", help="files of this employee; may be repeated")
    rekey.add_argument("--level", type=int, action="append", choices=(1, 2, 3, 4), help="files of this sensitivity")
    rekey.add_argument("--month", action="append", metavar="YYYY-MM", help="files of this month; may be repeated")
    rekey.add_argument("--all", action="store_true", help="every file")
    rekey.add_argument(
        "--released-to", metavar="USER", help="files of partitions whose keys were released to this user"
    )
    rekey.add_argument("--from", dest="first", metavar="TIME", help="with --released-to: from this time on (UTC)")
    rekey.add_argument("--to", dest="last", metavar="TIME", help="with --released-to: up to this time (UTC)")
    rekey.add_argument("--resume", action="store_true", help="finish the run that was cut off")
    rekey.add_argument("--dry-run", action="store_true", help="say how much it would be, and change nothing")
    rekey.add_argument("--yes", action="store_true", help="do it; without it nothing is changed")
    rekey.set_defaults(run=_rekey)


def _rekey(arguments: argparse.Namespace) -> int:
    from jobs.clear import rekey  # noqa: PLC0415 - loaded when it is run

    with args.open_lake(arguments) as lake:
        scope = _scope(arguments, lake)
        if scope is None:
            emit({"resumed": None}, "there is nothing to finish", as_json=arguments.json)
            return 0
        planned = rekey.plan(lake.home, scope)
        if arguments.dry_run or not (arguments.yes or arguments.resume):
            text = (
                f"{planned.files:,} files ({planned.bytes:,} bytes) of {planned.employees:,} employees would be"
                " written anew; nothing was changed, --yes does it"
            )
            emit({**asdict(planned), "changed": False}, text, as_json=arguments.json)
            return 0
        with progress("files", planned.files) as advance:
            operation = rekey.Rekey(lake.home, lake.actor, advance).run(scope)
    files, rows = operation.detail["files"], operation.detail["rows"]
    text = (
        f"{files:,} files with {rows:,} rows were written anew. Objects that were replaced stay for queries under way:"
        " 'lake jobs sweep' removes them. Copies that somebody took before are not reached"
    )
    document = {**asdict(planned), "operation": operation.id, "files": files, "rows": rows, "changed": True}
    emit(document, text, as_json=arguments.json)
    return 0


def _scope(arguments: argparse.Namespace, lake: Lake) -> FileScope | None:
    from jobs.clear.rekey import Rekey  # noqa: PLC0415
    from lake.gateway.reconcile import released_to  # noqa: PLC0415
    from lake.sealed.catalog.upkeep import FileScope  # noqa: PLC0415

    named = scope_of(arguments)
    some = any((named.employees, named.sensitivities, named.months, arguments.all))
    if sum(map(bool, (some, arguments.released_to, arguments.resume))) > 1:
        raise UsageError("say in one way which files", hint="a scope, --all, --released-to or --resume")
    if (arguments.first or arguments.last) and not arguments.released_to:
        raise UsageError("--from and --to go with --released-to")
    if arguments.resume:
        unfinished = Rekey(lake.home, lake.actor).unfinished()
        return None if unfinished is None else unfinished[0]
    if arguments.released_to:
        partitions, up_to = released_to(lake.home, arguments.released_to, args.interval(arguments))
        return FileScope(partitions=partitions, up_to=up_to)
    needs_scope(arguments, named)
    numbers = None
    if named.employees is not None:
        found = lake.home.directory.find(named.employees)
        if len(found) != len(named.employees):
            raise UsageError("an employee who is named is not known to the lake", hint="check the ids")
        numbers = frozenset(subject.number for subject in found.values())
    return FileScope(numbers, named.sensitivities, named.months)
