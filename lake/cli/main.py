"""``lake``: parse, dispatch, and turn every error into one clear line and an exit code.

0 done, 1 failed, 2 usage, 3 denied by policy, 4 integrity violated, 5 try again later.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import sys
from importlib.metadata import entry_points

from lake import __version__
from lake.cli.output import say
from lake.errors import LakeError

EXTENSIONS = "telemetry_lake.commands"
"""Entry points that add commands: the jobs, which the lake itself does not import."""


@functools.cache
def build_parser(*, extended: bool = True) -> argparse.ArgumentParser:
    """The whole command line; without the extensions if they are not wanted."""
    from lake.cli import (
        audit,
        backup,
        break_glass,
        collect,
        collection,
        contracts,
        datasets,
        dev,
        devices,
        exposure,
        freezing,
        holds,
        ingest,
        keys,
        lakes,
        policies,
        query,
        report,
        serve,
        sql,
        store,
        synth,
        tokens,
    )

    parser = argparse.ArgumentParser(
        prog="lake",
        description="An encrypted telemetry data lake with access controls.",
        epilog="exit codes: 0 done, 1 failed, 2 usage, 3 denied by policy, 4 integrity violated, 5 try again later",
    )
    parser.add_argument("--version", action="version", version=f"telemetry-lake {__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    asking = (query, sql, audit, report)
    administration = (keys, backup, store, serve, dev, tokens, synth)
    collecting = (contracts, collection, devices, freezing, holds, collect)
    for module in (lakes, datasets, ingest, policies, exposure, break_glass, *collecting, *asking, *administration):
        module.register(subparsers)
    if extended:
        for extension in sorted(entry_points(group=EXTENSIONS), key=lambda point: point.name):
            extension.load()(subparsers)
    return parser


def run(arguments: list[str] | None = None) -> None:
    """The console script."""
    from keys.memory import harden

    # A core dump of this process would hold keys and rows, and so would a debugger's look at it.
    harden(lock=False)
    sys.exit(main(arguments))


def main(arguments: list[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit code.
    """
    from keys.errors import KeysError

    given = sys.argv[1:] if arguments is None else arguments
    # Looking for extensions reads every installed package's metadata; the commonest command does without.
    parsed = build_parser(extended=given[:1] != ["query"]).parse_args(given)
    try:
        code = parsed.run(parsed)
        sys.stdout.flush()
    except (LakeError, KeysError) as error:
        _complain(error.code, error.message, error.hint, error.details, as_json=parsed.json)
        return error.exit_code
    except KeyboardInterrupt:
        _complain("interrupted", "interrupted; run the command again to go on", "", {}, as_json=parsed.json)
        return 130
    except BrokenPipeError:
        # The reader has gone; nothing more can be said on stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else "the system refused it"
        place = f"{error.filename}: " if isinstance(error.filename, str) else ""
        _complain("system", f"{place}{reason}", "", {}, as_json=parsed.json)
        return 1
    except Exception as error:  # noqa: BLE001 - its text and its traceback could carry rows or keys
        message = f"an error that should not occur ({type(error).__name__} at {_place(error)})"
        _complain(
            "internal", message, "report it with these words; 'lake doctor' checks the lake", {}, as_json=parsed.json
        )
        return 1
    return int(code or 0)


def _place(error: Exception) -> str:
    """File and line where an error was raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}" if trace else "unknown"  # noqa: PTH119


def _complain(code: str, message: str, hint: str, details: dict[str, str | int], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"error": code, "message": message, "hint": hint, **details}, ensure_ascii=False))
    say(f"lake: {message}")
    if hint:
        say(f"hint: {hint}")


if __name__ == "__main__":
    run()
