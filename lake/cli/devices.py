"""``lake device``: which devices may collect, and the tokens with which they show who they are."""

from __future__ import annotations

import argparse
import hashlib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lake.cli import arguments as args
from lake.cli.output import emit, private_file, say, table
from lake.clock import timestamp
from lake.errors import UsageError
from lake.sealed.catalog.rows import moment

if TYPE_CHECKING:
    from lake.api import Lake
    from lake.gateway.collection.devices import Devices
    from lake.gateway.collection.interface import Device


def register(subparsers: args.Subparsers) -> None:
    """Add the commands."""
    commands = args.group(subparsers, "device", "devices that may collect: enrol, list, retire, give a token")
    enrol = args.command(
        commands,
        "enrol",
        "let a device collect of one employee; again with other words, it moves",
        "lake device enrol laptop-7 --employee E00001 --region eu --team sales",
    )
    enrol.add_argument("device", metavar="DEVICE")
    enrol.add_argument("--employee", required=True, metavar="ID")
    enrol.add_argument("--region", required=True, metavar="NAME")
    enrol.add_argument("--team", required=True, metavar="NAME")
    enrol.add_argument("--certificate", metavar="FILE", help="its client certificate (PEM), if it shows one")
    enrol.set_defaults(run=_enrol)
    shown = args.command(commands, "list", "show the devices that may collect", "lake device list --json")
    shown.set_defaults(run=_list)
    retire = args.command(
        commands,
        "retire",
        "let a device collect no more; its tokens and leases end at once",
        "lake device retire laptop-7",
    )
    retire.add_argument("device", metavar="DEVICE")
    retire.set_defaults(run=_retire)
    token = args.command(
        commands,
        "token",
        "make a token with which a device shows who it is; needs the lake's key",
        "lake device token laptop-7 --for 90d --output laptop-7.token",
    )
    token.add_argument("device", metavar="DEVICE")
    token.add_argument("--for", dest="lifetime", default="90d", metavar="TIME", help="8h or 30d (default: 90d)")
    token.add_argument("--output", metavar="FILE", help="write it here (mode 0600) instead of stdout")
    token.set_defaults(run=_token)


def _enrol(arguments: argparse.Namespace) -> int:
    certificate = _fingerprint(arguments.certificate) if arguments.certificate else ""
    with _devices(arguments) as (lake, devices):
        one = devices.enrol(
            lake.actor,
            arguments.device,
            employee=arguments.employee,
            region=arguments.region,
            team=arguments.team,
            certificate=certificate,
        )
    emit(_document(one), f"{one.name} may collect", as_json=arguments.json)
    return 0


def _list(arguments: argparse.Namespace) -> int:
    with _devices(arguments) as (_, devices):
        known = devices.known()
    found = [
        _document(one) | {"enrolled": timestamp(moment(known.since[tag]).replace(tzinfo=UTC))}
        for tag, one in known.live.items()
    ]
    found.sort(key=lambda one: str(one["device"]))
    columns = ("device", "employee", "region", "team", "enrolled")
    emit(found, table(found, columns), as_json=arguments.json)
    return 0


def _retire(arguments: argparse.Namespace) -> int:
    with _devices(arguments) as (lake, devices):
        one = devices.retire(lake.actor, arguments.device)
    emit(_document(one), f"{one.name} may not collect any more", as_json=arguments.json)
    return 0


def _token(arguments: argparse.Namespace) -> int:
    try:
        from lake.gateway.collection.device_tokens import DeviceTokens
        from lake.gateway.identity.durations import parse_duration
    except ModuleNotFoundError:
        raise UsageError("tokens need joserfc", hint="pip install 'telemetry-lake[gateway]'") from None
    lifetime = parse_duration(arguments.lifetime)
    if lifetime is None:
        raise UsageError("--for takes a length of time such as 8h or 30d")
    with _devices(arguments) as (lake, devices):
        issued = DeviceTokens(lake.home, devices).issue(lake.actor, arguments.device, lifetime)
    shown = {"token": issued.text}
    if arguments.output:
        with private_file(Path(arguments.output)) as file:
            file.write(issued.text.encode())
        shown = {"output": arguments.output}
    document = {**shown, "id": issued.token_id, "device": arguments.device, "expires": timestamp(issued.expires)}
    say(f"until {timestamp(issued.expires)}, whoever has this token is {arguments.device} to the lake")
    emit(document, "" if arguments.output else issued.text, as_json=arguments.json)
    return 0


@contextmanager
def _devices(arguments: argparse.Namespace) -> Iterator[tuple[Lake, Devices]]:
    from lake.gateway.collection.devices import Devices

    with args.open_lake(arguments) as lake:
        yield lake, Devices(lake.home)


def _document(one: Device) -> dict[str, Any]:
    return {
        "device": one.name,
        "employee": one.employee,
        "region": one.region,
        "team": one.team,
        "certificate": one.certificate or None,
        "tag": one.tag,
    }


def _fingerprint(path: str) -> str:
    try:
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(args.read_text(path).strip())).hexdigest()
    except ValueError:
        raise UsageError(f"{path} is no certificate in PEM") from None
