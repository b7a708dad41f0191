"""``lake freeze-reads`` and ``unfreeze-reads``: no key of a sensitivity and above is released."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lake.cli import arguments as args
from lake.cli.collection import told
from lake.person import person

if TYPE_CHECKING:
    from lake.gateway.collection.freezing import Freezing


def register(subparsers: args.Subparsers) -> None:
    """Add the commands."""
    stop = args.command(
        subparsers,
        "freeze-reads",
        "release no key of a sensitivity and above, at once; running queries stop at their next part",
        'lake freeze-reads --dss 3 --reason "account of mira may be stolen"',
    )
    stop.add_argument("--dss", type=int, required=True, choices=(1, 2, 3, 4), help="the lowest sensitivity")
    stop.add_argument("--reason", required=True, help="why, in 10 to 500 characters")
    stop.set_defaults(run=freeze)
    again = args.command(
        subparsers,
        "unfreeze-reads",
        "ask to end that; a second person ends it with the same command",
        'lake unfreeze-reads 00112233445566778899aabbccddeeff --reason "the account is closed"',
    )
    again.add_argument("id", metavar="ID", help="as 'lake freeze-reads' showed it")
    again.add_argument("--reason", default="", help="why, in 10 to 500 characters; for who asks first")
    again.set_defaults(run=unfreeze)


def freeze(arguments: argparse.Namespace, by: str | None = None) -> int:
    """Freeze; ``by`` is for who knows better than the operating system who is there."""
    with _freezing(arguments) as freezing:
        return told(
            arguments, freezing.freeze(by or person(), arguments.dss, arguments.reason), "reads are frozen since"
        )


def unfreeze(arguments: argparse.Namespace, by: str | None = None) -> int:
    """Ask, or approve."""
    with _freezing(arguments) as freezing:
        one = freezing.unfreeze(by or person(), arguments.id, arguments.reason)
    waits = "waits for a second person; frozen since"
    return told(arguments, one, waits if one.ended is None else "ended; was frozen since")


@contextmanager
def _freezing(arguments: argparse.Namespace) -> Iterator[Freezing]:
    from lake.gateway.collection.freezing import Freezing

    with args.open_lake(arguments) as lake:
        yield Freezing(lake.home, lake.actor)
