"""``lake hold``: place, release and list legal holds.

Who does it is the operating system's user of this process, whatever the environment says.
"""

from __future__ import annotations

import argparse
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from lake.cli import arguments as args
from lake.cli.output import emit, table
from lake.errors import UsageError
from lake.person import person

if TYPE_CHECKING:
    from lake.api import Lake
    from lake.rules.hold import Hold

ID = "00112233445566778899aabbccddeeff"


def register(subparsers: args.Subparsers) -> None:
    """Add the commands."""
    commands = args.group(subparsers, "hold", "legal holds: what no purge and no shredding may take")
    place = args.command(
        commands,
        "place",
        "hold rows back from every purge and shredding, at once",
        'lake hold place --employee E100001 --reason "claim 17/26 before the labour court" --review 2027-01-31',
    )
    place.add_argument("--employee", metavar="ID", help="rows of this employee (default: of all)")
    place.add_argument("--dataset", metavar="NAME", help="rows of this dataset (default: of all)")
    place.add_argument("--from", dest="first", metavar="TIME", help="rows captured from then on, UTC")
    place.add_argument("--to", dest="last", metavar="TIME", help="rows captured before then, UTC")
    place.add_argument("--all", action="store_true", help="everything: without it name something")
    place.add_argument("--review", metavar="DAY", required=True, help="when somebody has to look at it again")
    place.set_defaults(run=_place)
    release = args.command(
        commands,
        "release",
        "ask for a release, or agree to one that another person has asked for",
        f'lake hold release {ID} --reason "the claim was settled"',
    )
    release.add_argument("id", metavar="ID", help="as 'lake hold list' shows it")
    release.set_defaults(run=_release)
    for parser in (place, release):
        parser.add_argument("--reason", required=True, help="why, in 10 to 500 characters")
    listing = args.command(commands, "list", "show holds; exit code 1 if a review is overdue", "lake hold list --json")
    listing.add_argument("--released", action="store_true", help="those that were released too")
    listing.set_defaults(run=_list)


def _place(arguments: argparse.Namespace) -> int:
    from lake.gateway.holds import HoldDesk
    from lake.rules.hold import HoldScope

    named = (arguments.employee, arguments.dataset, arguments.first, arguments.last)
    if bool(arguments.all) == any(named):
        raise UsageError("say what is held, in one way", hint="--employee, --dataset, --from and --to, or --all")
    try:
        review = date.fromisoformat(arguments.review)
    except ValueError:
        raise UsageError("--review takes a day such as 2027-01-31") from None
    scope = HoldScope(
        arguments.employee, arguments.dataset, _moment(arguments.first, "--from"), _moment(arguments.last, "--to")
    )
    with args.open_lake(arguments) as lake:
        hold = HoldDesk(lake.home).place(person(), scope, arguments.reason, review)
        return _told(arguments, lake, hold)


def _moment(text: str | None, option: str) -> datetime | None:
    found = args.moment(text, option)
    return None if found is None else found.replace(tzinfo=None)


def _release(arguments: argparse.Namespace) -> int:
    from lake.gateway.holds import HoldDesk

    with args.open_lake(arguments) as lake:
        return _told(arguments, lake, HoldDesk(lake.home).release(person(), arguments.id, arguments.reason))


def _told(arguments: argparse.Namespace, lake: Lake, hold: Hold) -> int:
    from lake.gateway.holds import hold_document

    document = hold_document(hold, lake.home.clock().astimezone(UTC).date())
    text = f"{hold.id}: {document['state']}, to be reviewed on {document['review']}"
    if document["state"] == "release asked":
        text += "; another person has to agree: 'lake hold release'"
    emit(document, text, as_json=arguments.json)
    return 0


def _list(arguments: argparse.Namespace) -> int:
    from lake.gateway.holds import HoldDesk, hold_document

    with args.open_lake(arguments) as lake:
        today = lake.home.clock().astimezone(UTC).date()
        holds = HoldDesk(lake.home).standing().holds.values()
    documents = [hold_document(hold, today) for hold in holds if hold.active or arguments.released]
    rows = [one | {"placed_by": one["placed"]["by"], "placed": one["placed"]["at"]} for one in documents]
    columns = ("id", "state", "employee", "dataset", "from", "to", "review", "overdue", "placed_by", "placed")
    emit(documents, table(rows, columns), as_json=arguments.json)
    return 1 if any(one["overdue"] for one in documents) else 0
