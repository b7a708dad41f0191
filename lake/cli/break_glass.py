"""``lake break-glass``: request, approve, revoke and list access in an emergency.

Who asks and who approves is the operating system's user of this process, whatever the environment says.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from lake.cli import arguments as args
from lake.cli.output import emit, table
from lake.clock import timestamp
from lake.errors import UsageError
from lake.person import person

if TYPE_CHECKING:
    from lake.api import Lake
    from lake.gateway.elevations import Elevations
    from lake.rules.elevation import Elevation


def register(subparsers: args.Subparsers) -> None:
    """Add the commands."""
    commands = args.group(subparsers, "break-glass", "access in an emergency: ask for it, approve it, end it")
    ask = args.command(
        commands,
        "request",
        "ask for a door of the policy; a second person has to approve",
        'lake break-glass request open_all --purpose incident --for 2h --reason "ticket 4711: find the leak"',
    )
    ask.add_argument("door", metavar="DOOR", help="a name under break_glass in the policy")
    ask.add_argument("--purpose", required=True, help="what for")
    ask.add_argument("--reason", required=True, help="why, in 10 to 500 characters")
    ask.add_argument("--for", dest="lasting", required=True, metavar="TIME", help="how long, such as 30m or 2h")
    ask.add_argument("--user", help="who is to get it (default: you)")
    ask.set_defaults(run=request)
    yes = args.command(
        commands,
        "approve",
        "say yes as the second person; it is in force at once",
        "lake break-glass approve 00112233445566778899aabbccddeeff",
    )
    yes.set_defaults(run=approve)
    end = args.command(
        commands,
        "revoke",
        "end it now, or withdraw the request",
        "lake break-glass revoke 00112233445566778899aabbccddeeff",
    )
    end.set_defaults(run=revoke)
    for parser in (yes, end):
        parser.add_argument("id", metavar="ID", help="as 'lake break-glass list' shows it")
    shown = args.command(
        commands, "list", "show what was asked for and what became of it", "lake break-glass list --active"
    )
    shown.add_argument("--active", action="store_true", help="only what is in force; exit code 1 if something is")
    shown.set_defaults(run=show)


def request(arguments: argparse.Namespace, by: str | None = None) -> int:
    """Ask; ``by`` is for who knows better than the operating system who is there."""
    from lake.rules.elevation import Wish
    from lake.rules.elevation_document import parse_length

    lasting = parse_length(arguments.lasting)
    if lasting is None:
        raise UsageError("--for takes a length of time such as 30m or 2h")
    wish = Wish(arguments.door, arguments.purpose, arguments.reason, lasting, arguments.user)
    with _elevations(arguments) as (lake, elevations):
        one = elevations.request(lake.policies.current(), by or person(), wish)
    return _told(arguments, one, f"{one.id}: waits for an approval until {_time(one.expires)}")


def approve(arguments: argparse.Namespace, by: str | None = None) -> int:
    """Approve."""
    with _elevations(arguments) as (lake, elevations):
        one = elevations.approve(lake.policies.current(), by or person(), arguments.id)
    return _told(arguments, one, f"{one.id}: {one.asked.user} holds {one.asked.role} until {_time(one.expires)}")


def revoke(arguments: argparse.Namespace, by: str | None = None) -> int:
    """Revoke, as an operator: whoever can open the lake can end this."""
    with _elevations(arguments) as (lake, elevations):
        one = elevations.revoke(lake.policies.current(), by or person(), arguments.id, operator=True)
    return _told(arguments, one, f"{one.id}: ended")


def show(arguments: argparse.Namespace) -> int:
    """List, what is in force first."""
    from lake.rules.elevation import State

    with _elevations(arguments) as (lake, elevations):
        found, policy = elevations.all(), lake.policies.current()
        now = _now(lake)
    documents = []
    for one in reversed(found):
        document = _document(one, now)
        if document["state"] == State.ACTIVE and not (policy and one.allowed(policy.break_glass)):
            document["state"] = "closed by the policy"
        documents.append(document)
    documents.sort(key=lambda document: document["state"] != State.ACTIVE)
    open_now = [document for document in documents if document["state"] == State.ACTIVE]
    shown = open_now if arguments.active else documents
    columns = ("id", "state", "user", "door", "purpose", "asked_by", "approved_by", "expires", "reason")
    emit(shown, table(shown, columns), as_json=arguments.json)
    return 1 if arguments.active and open_now else 0


@contextmanager
def _elevations(arguments: argparse.Namespace) -> Iterator[tuple[Lake, Elevations]]:
    from lake.gateway.elevations import Elevations

    with args.open_lake(arguments) as lake:
        yield lake, Elevations(lake.home)


def _now(lake: Lake) -> datetime:
    return lake.home.clock().astimezone(UTC).replace(tzinfo=None)


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else timestamp(moment.replace(tzinfo=UTC))


def _document(one: Elevation, now: datetime) -> dict[str, Any]:
    asked, approved, ended = one.asked, one.approved, one.ended
    return {
        "id": one.id,
        "state": str(one.state(now)),
        "user": asked.user,
        "door": asked.door,
        "role": asked.role,
        "purpose": asked.purpose,
        "reason": asked.reason,
        "seconds": asked.lasting // timedelta(seconds=1),
        "asked_by": one.requested.by,
        "asked": _time(one.requested.at),
        "approved_by": approved.by if approved else None,
        "approved": _time(approved.at) if approved else None,
        "expires": _time(one.expires),
        "ended_by": ended.by if ended else None,
        "ended": _time(ended.at) if ended else None,
    }


def _told(arguments: argparse.Namespace, one: Elevation, text: str) -> int:
    last = max(event.at for event in (one.requested, one.approved, one.ended) if event)
    emit(_document(one, last), text, as_json=arguments.json)
    return 0
