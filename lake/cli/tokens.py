"""``lake token``: a token of the lake's own, for who has no identity provider."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lake.cli import arguments as args
from lake.cli.output import emit, private_file, say
from lake.clock import timestamp
from lake.errors import UsageError

if TYPE_CHECKING:
    from lake.gateway.identity.local_tokens import Issued, Wanted


def register(subparsers: args.Subparsers) -> None:
    """Add the command."""
    token = args.command(
        subparsers,
        "token",
        "make a token with which a user asks the gateway; needs the lake's key",
        "lake token --user mira --purpose train_assistant --for 8h",
    )
    token.add_argument("--user", required=True, help="who, as the policy names them")
    token.add_argument("--purpose", action="append", default=[], help="what for; may be repeated")
    token.add_argument("--purposes", nargs="+", default=[], metavar="PURPOSE", help="several at once")
    token.add_argument("--role", help="bind it to one of the user's roles")
    token.add_argument("--for", dest="lifetime", default="8h", metavar="TIME", help="90s, 15m, 8h or 30d (default: 8h)")
    token.add_argument("--output", metavar="FILE", help="write it here (mode 0600) instead of stdout")
    token.set_defaults(run=_token)


def _token(arguments: argparse.Namespace) -> int:
    wanted, issued = _issued(arguments)
    shown = {"token": issued.text}
    if arguments.output:
        with private_file(Path(arguments.output)) as file:
            file.write(issued.text.encode())
        shown = {"output": arguments.output}
    document = {
        **shown,
        "id": issued.token_id,
        "user": wanted.user,
        "purposes": list(wanted.purposes),
        "role": wanted.role,
        "expires": timestamp(issued.expires),
    }
    say(f"until {timestamp(issued.expires)}, whoever has this token is {wanted.user} to the gateway")
    emit(document, "" if arguments.output else issued.text, as_json=arguments.json)
    return 0


def _issued(arguments: argparse.Namespace) -> tuple[Wanted, Issued]:
    try:
        from lake.gateway.identity.durations import parse_duration
        from lake.gateway.identity.local_tokens import Wanted, issue
    except ModuleNotFoundError:
        raise UsageError("tokens need joserfc", hint="pip install 'telemetry-lake[gateway]'") from None
    lifetime = parse_duration(arguments.lifetime)
    if lifetime is None:
        raise UsageError("--for takes a length of time such as 90s, 15m, 8h or 30d")
    purposes = tuple(dict.fromkeys([*arguments.purpose, *arguments.purposes]))
    wanted = Wanted(arguments.user, purposes, arguments.role, lifetime)
    wanted.check()
    with args.open_lake(arguments) as lake:
        return wanted, issue(lake.home, lake.actor, wanted)
