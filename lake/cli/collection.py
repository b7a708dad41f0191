"""``lake pause``, ``resume``, ``opt-out``, ``halt-status``: stopping collection, and showing that it has stopped.

Who does it is the operating system's user of this process, whatever the environment says.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from lake.cli import arguments as args
from lake.cli.output import emit, table
from lake.clock import timestamp
from lake.errors import UsageError
from lake.person import person

if TYPE_CHECKING:
    from lake.api import Lake
    from lake.gateway.collection.halts import Halts
    from lake.gateway.collection.status import DeviceStatus, HaltStatus
    from lake.rules.halt import Halt


def register(subparsers: args.Subparsers) -> None:
    """Add the commands."""
    stop = args.command(
        subparsers,
        "pause",
        "stop collection at once: nothing that is captured from now on lands, whatever a collector does",
        'lake pause --scope team:sales --types key --reason "works council, ticket 4711"',
    )
    stop.add_argument(
        "--scope", required=True, metavar="SCOPE",
        help="global, programme:DATASET, region:NAME, team:NAME or employee:ID",
    )  # fmt: skip
    stop.add_argument("--types", metavar="A,B", help="only these event types (default: all)")
    stop.add_argument(
        "--backlog",
        choices=("drop", "accept-before-pause"),
        default="drop",
        help="what becomes of what was captured before and comes later (default: drop)",
    )
    stop.add_argument("--reason", required=True, help="why, in 10 to 500 characters")
    stop.set_defaults(run=pause)
    out = args.command(
        subparsers,
        "opt-out",
        "stop collection of one employee for good, and request that their rows be purged",
        'lake opt-out --employee E00001 --reason "written objection of 2026-11-27"',
    )
    out.add_argument("--employee", required=True, metavar="ID")
    out.add_argument("--reason", default="the employee objects", help="in 10 to 500 characters")
    out.set_defaults(run=opt_out)
    again = args.command(
        subparsers,
        "resume",
        "ask to end a pause; a second person ends it with the same command",
        'lake resume 00112233445566778899aabbccddeeff --reason "ticket 4711 is solved"',
    )
    again.add_argument("id", metavar="ID", help="as 'lake halt-status' shows it")
    again.add_argument("--reason", default="", help="why, in 10 to 500 characters; for who asks first")
    again.set_defaults(run=resume)
    status = args.command(
        subparsers,
        "halt-status",
        "show pauses and whether every collector has provably stopped; exit code 1 if one has not",
        "lake halt-status --json",
    )
    status.set_defaults(run=halt_status)


def pause(arguments: argparse.Namespace, by: str | None = None) -> int:
    """Pause; ``by`` is for who knows better than the operating system who is there."""
    from lake.rules.halt import Backlog, Order, parse_scope

    scope = parse_scope(arguments.scope)
    if scope is None:
        raise UsageError(
            "--scope is none", hint="global, programme:DATASET, region:NAME, team:NAME or employee:ID"
        )  # fmt: skip
    types = None if arguments.types is None else frozenset(arguments.types.split(","))
    order = Order(scope, arguments.reason, types, Backlog(arguments.backlog))
    with halts_of(arguments) as (_, halts):
        return told(arguments, halts.order(by or person(), order), "paused since")


def opt_out(arguments: argparse.Namespace, by: str | None = None) -> int:
    """Record an opt-out."""
    from lake.rules.halt import EventKind, Order, Scope, ScopeKind

    order = Order(Scope(ScopeKind.EMPLOYEE, arguments.employee), arguments.reason)
    with halts_of(arguments) as (_, halts):
        return told(
            arguments, halts.order(by or person(), order, EventKind.OPT_OUT), "a purge is requested; paused since"
        )


def resume(arguments: argparse.Namespace, by: str | None = None) -> int:
    """Ask, or approve."""
    with halts_of(arguments) as (_, halts):
        one = halts.resume(by or person(), arguments.id, arguments.reason)
    return told(
        arguments, one, "waits for a second person; paused since" if one.ended is None else "ended; was paused since"
    )


def halt_status(arguments: argparse.Namespace) -> int:
    """Show."""
    from lake.gateway.collection.status import Statuses
    from lake.rules.halt import ScopeKind

    with halts_of(arguments) as (lake, halts):
        found = Statuses(lake.home, halts, halts.devices).all()
        frozen = [one for one in halts.known().lasting() if one.order.scope.kind is ScopeKind.READS]
    document = [{**halt_document(status.halt), **_status(status)} for status in found]
    document += map(halt_document, frozen)
    text = [*map(_shown, found), *map(_frozen, frozen)]
    emit(document, "\n\n".join(text) or "nothing is paused", as_json=arguments.json)
    return 1 if any(not status.halted for status in found) else 0


@contextmanager
def halts_of(arguments: argparse.Namespace) -> Iterator[tuple[Lake, Halts]]:
    """The pauses of the lake that is named."""
    from lake.gateway.collection.devices import Devices
    from lake.gateway.collection.halts import Halts

    with args.open_lake(arguments) as lake:
        yield lake, Halts(lake.home, Devices(lake.home))


def told(arguments: argparse.Namespace, one: Halt, text: str) -> int:
    """Print what became of an order."""
    emit(halt_document(one), f"{one.id}: {text} {_time(one.begun.at)}", as_json=arguments.json)
    return 0


def halt_document(one: Halt) -> dict[str, Any]:
    """An order, for ``--json``."""
    order = one.order
    return {
        "id": one.id,
        "kind": str(one.begun.kind),
        "scope": str(order.scope),
        "types": None if order.types is None else sorted(order.types),
        "backlog": str(order.backlog),
        "reason": order.reason,
        "ordered_by": one.begun.by,
        "since": _time(one.begun.at),
        "resume_asked_by": one.asked.by if one.asked else None,
        "ended_by": one.ended.by if one.ended else None,
        "ended": _time(one.ended.at) if one.ended else None,
    }


def _status(status: HaltStatus) -> dict[str, Any]:
    states = [one.state(status.now) for one in status.devices]
    return {
        "provably_halted": status.halted,
        "halted_at": _time(status.bound) if status.halted else None,
        "halted_by": None if status.halted else _time(status.bound),
        "leases_outstanding_at_pause": sum(one.leases for one in status.devices),
        "acknowledged": states.count("acknowledged"),
        "expired": states.count("expired"),
        "lease_runs": states.count("lease runs"),
        "still_sending": states.count("still sending"),
        "refused_batches": sum(one.refused for one in status.devices),
        "devices": [_device(one, status.now) for one in status.devices],
    }


def _device(one: DeviceStatus, now: datetime) -> dict[str, Any]:
    return {
        "device": one.device.name,
        "state": one.state(now),
        "lease_over": _time(one.ends),
        "acknowledged": _time(one.acknowledged),
        "refused": one.refused,
        "last_refused": _time(one.last_refused),
    }


def _shown(status: HaltStatus) -> str:
    halt = status.halt
    types = "" if halt.order.types is None else f" for {', '.join(sorted(halt.order.types))}"
    lines = [f"{halt.id}: {halt.order.scope}{types} is paused since {_time(halt.begun.at)} ({halt.begun.by})"]
    if status.halted:
        lines.append(f"provably halted at {_time(status.bound)}")
    else:
        names = ", ".join(f"{one.device.name} ({one.state(status.now)})" for one in status.exceptions)
        lines.append(f"not halted yet: {names}; leases are over at {_time(status.bound)}")
    if status.devices:
        lines.append(table([_device(one, status.now) for one in status.devices]))
    return "\n".join(lines)


def _frozen(halt: Halt) -> str:
    level, since = halt.order.scope.name, _time(halt.begun.at)
    return f"{halt.id}: reads of sensitivity {level} and above are frozen since {since} ({halt.begun.by})"


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else timestamp(moment.replace(tzinfo=UTC))
