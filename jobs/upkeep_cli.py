"""``lake jobs quarantine``: the files that a scrub found damaged."""

from __future__ import annotations

import argparse
from datetime import UTC
from typing import Any

from lake.cli import arguments as args
from lake.cli.output import emit, table
from lake.clock import timestamp
from lake.errors import IntegrityError


def register(commands: Any) -> None:
    """Add the command to ``lake jobs``."""
    quarantine = args.command(
        commands,
        "quarantine",
        "list files that a scrub found damaged, which no query reads; exit code 4 if there are any",
        "lake jobs quarantine --json",
    )
    quarantine.set_defaults(run=_quarantine)


def _quarantine(arguments: argparse.Namespace) -> int:
    with args.open_lake(arguments) as lake:
        found = lake.home.quarantine.listed()
    rows = [
        {
            "file": one.file_id,
            "dataset": one.dataset,
            "damage": one.reason,
            "since": timestamp(one.since.replace(tzinfo=UTC)),
        }
        for one in found
    ]
    emit(rows, table(rows), as_json=arguments.json)
    return IntegrityError.exit_code if rows else 0
