"""``lake synth``: realistic telemetry of people who do not exist."""

from __future__ import annotations

import argparse
import sys

from lake.cli import arguments as args
from lake.cli.output import emit, progress
from lake.errors import UsageError


def register(subparsers: args.Subparsers) -> None:
    """Add the command."""
    synth = args.command(
        subparsers,
        "synth",
        "write generated desktop telemetry, for trying and testing",
        "lake synth --employees 50 --rows 100000 --seed 7 --output rows.arrow",
    )
    synth.add_argument("--employees", type=int, default=50)
    synth.add_argument("--rows", type=int, default=100_000)
    synth.add_argument("--seed", type=int, default=1)
    synth.add_argument("--format", choices=("arrow", "parquet", "ndjson"), default="arrow")
    synth.add_argument("--output", metavar="FILE", required=True, help="file to write; - for stdout")
    synth.set_defaults(run=_synth)


def _synth(arguments: argparse.Namespace) -> int:
    from lake.clear.landing.export import write_rows
    from lake.clear.landing.synth import synthesise

    if arguments.employees < 1 or arguments.rows < 1:
        raise UsageError("--employees and --rows take a number from 1 on")
    reader = synthesise(arguments.employees, arguments.rows, arguments.seed)
    with progress("rows", arguments.rows) as advance:
        if arguments.output == "-":
            write_rows(reader, sys.stdout.buffer, arguments.format, advance)
            return 0
        try:
            with open(arguments.output, "wb") as sink:  # noqa: PTH123 - a path as the user typed it
                write_rows(reader, sink, arguments.format, advance)
        except OSError:
            raise UsageError(f"{arguments.output} cannot be written") from None
    document = {"output": arguments.output, "rows": arguments.rows, "employees": arguments.employees}
    emit(document, f"{arguments.rows:,} rows in {arguments.output}", as_json=arguments.json)
    return 0
