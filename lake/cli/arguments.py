"""Arguments that several commands share, and how a lake is opened from them."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lake.clock import parse_timestamp
from lake.errors import UsageError
from lake.settings import Secrets

if TYPE_CHECKING:
    from lake.api import Lake
    from lake.gateway.reports import Interval

Subparsers = Any
"""argparse's own type is private."""


class _Variable(argparse.Action):
    """An option that stands for an environment variable of this process: whatever opens a lake reads it there."""

    def __call__(
        self,
        _parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        _option: str | None = None,
    ) -> None:
        os.environ[str(self.const)] = str(values)
        setattr(namespace, self.dest, values)


def shared() -> argparse.ArgumentParser:
    """Options of every command."""
    parent = argparse.ArgumentParser(add_help=False)
    group = parent.add_argument_group("lake")
    group.add_argument("--lake", metavar="PATH", help="folder of the lake (default: LAKE_HOME)")
    group.add_argument("--key-file", metavar="FILE", help="key file that opens the key store (default: LAKE_KEY_FILE)")
    group.add_argument(
        "--passphrase-file", metavar="FILE", help="file with the passphrase (default: LAKE_PASSPHRASE_FILE)"
    )
    group.add_argument(
        "--provider",
        metavar="FILE",
        help="provider file of a key service (default: LAKE_PROVIDER_FILE)",
    )
    for option, kind, what in (
        ("--broker", "ADDRESS", "broker to ask instead of the key store: unix:PATH or tls:HOST:PORT"),
        ("--broker-ca", "FILE", "over TLS: the CA of the broker's certificate"),
        ("--broker-cert", "FILE", "over TLS: this host's certificate"),
        ("--broker-key", "FILE", "over TLS: its private key"),
    ):
        name = f"LAKE_{option[2:].replace('-', '_').upper()}"
        text = f"{what} (default: {name})"
        group.add_argument(option, metavar=kind, help=text, action=_Variable, const=name)
    group.add_argument("--json", action="store_true", help="print one JSON document on stdout")
    return parent


def command(subparsers: Subparsers, name: str, summary: str, example: str) -> argparse.ArgumentParser:
    """A command with the shared options and an example in its help."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=f"example:\n  {example}",
        parents=[shared()],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser


def group(subparsers: Subparsers, name: str, summary: str) -> Subparsers:
    """The subcommands of a group such as ``lake keys``; made when first asked for, so that the jobs can add to it."""
    made: dict[str, Subparsers] = subparsers.__dict__.setdefault("lake_groups", {})
    if name not in made:
        made[name] = subparsers.add_parser(name, help=summary).add_subparsers(metavar="COMMAND", required=True)
    return made[name]


def lake_path(arguments: argparse.Namespace) -> Path:
    """The lake that is meant.

    Raises:
        UsageError: none is named, or one that is not a local folder.
    """
    place = arguments.lake or os.environ.get("LAKE_HOME")
    if not place:
        raise UsageError("no lake is named", hint="give --lake PATH or set LAKE_HOME")
    if "://" in place:
        raise UsageError("only lakes in a local folder can be opened by this version", hint="give a path")
    return Path(place)


def secrets(arguments: argparse.Namespace) -> Secrets:
    """The files that open the key store; options win over the environment."""
    if arguments.broker and (arguments.key_file or arguments.passphrase_file or arguments.provider):
        raise UsageError("--broker is given, and a way to open the key store too", hint="give one of them")
    return _with_options(Secrets.from_environment(), arguments)


def key_secrets(arguments: argparse.Namespace) -> Secrets:
    """The same for who must open the key store itself, whatever broker is named."""
    environment = {name: value for name, value in os.environ.items() if name != "LAKE_BROKER"}
    return _with_options(Secrets.from_environment(environment), arguments)


def _with_options(found: Secrets, arguments: argparse.Namespace) -> Secrets:
    if arguments.key_file or arguments.passphrase_file:
        key, passphrase = arguments.key_file, arguments.passphrase_file
        found = Secrets(Path(key) if key else None, Path(passphrase) if passphrase else None, found.provider_file)
    if arguments.provider:
        found = replace(found, provider_file=Path(arguments.provider))
    return found


def open_lake(arguments: argparse.Namespace) -> Lake:
    """The lake, opened by its operator."""
    from lake import api

    paths = secrets(arguments)
    return api.open(
        lake_path(arguments),
        key_file=paths.key_file,
        passphrase_file=paths.passphrase_file,
        provider_file=paths.provider_file,
    )


def read_text(path: str) -> str:
    """A document given as a file.

    Raises:
        UsageError: it cannot be read as UTF-8 text.
    """
    try:
        return Path(path).read_text("utf-8")
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist") from None
    except (OSError, UnicodeDecodeError):
        raise UsageError(f"{path} cannot be read as UTF-8 text") from None


def moment(text: str | None, option: str) -> datetime | None:
    """A time given as RFC 3339 or as a day.

    Raises:
        UsageError: it is neither.
    """
    if text is None:
        return None
    try:
        return parse_timestamp(text)
    except (ValueError, OverflowError):
        raise UsageError(f"{option} takes a time such as 2026-11-01 or 2026-11-01T09:00:00Z") from None


def interval(arguments: argparse.Namespace) -> Interval:
    """What ``--from`` and ``--to`` say; a day that ends it counts whole."""
    from lake.gateway.reports import Interval

    last = moment(arguments.last, "--to")
    if last is not None and len(arguments.last) <= len("2026-11-01"):
        last = last.replace(hour=23, minute=59, second=59, microsecond=999_999)
    return Interval(moment(arguments.first, "--from"), last)
