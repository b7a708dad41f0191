"""``lake sql``: a shell for queries, on an embedded lake or through a gateway."""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lake.cli import arguments as args
from lake.cli import connecting
from lake.cli.output import private_file, say, table
from lake.cli.query import WRITERS, write_table
from lake.cli.sql_input import source, statements
from lake.errors import UsageError

if TYPE_CHECKING:
    from lake.api import Connection
    from lake.client.remote import RemoteConnection
    from lake.client.statements import ShownTable

ROWS = 100
_FORMATS = tuple(name for name in WRITERS if name != "table")
HELP = r"""A statement ends with a semicolon. Ctrl-C breaks off a query, Ctrl-D leaves.
\d               tables that you may read
\d TABLE         its columns
\timing          say how long queries take, or stop to
\o FILE          write the next result to FILE (.csv, .json, .arrow, .parquet) instead of showing it
\purpose [NAME]  say for what you ask, or ask for something else
\q               leave
\?               this help"""


def register(subparsers: args.Subparsers) -> None:
    """Add the command."""
    shell = args.command(
        subparsers,
        "sql",
        "a shell for queries as a user, for a purpose",
        "lake sql --gateway grpc+tls://lake.example:8815 --token-file ~/.lake-token --purpose train_assistant",
    )
    connecting.add_options(shell)
    shell.add_argument("--rows", metavar="N", type=int, default=ROWS, help=f"show at most N rows (default: {ROWS})")
    shell.add_argument("--history", metavar="FILE", help="keep what you type in FILE (mode 0600); default: in memory")
    shell.set_defaults(run=_sql)


def _sql(arguments: argparse.Namespace) -> int:
    if arguments.rows < 1:
        raise UsageError("--rows is at least 1")
    with closing(Shell(arguments)) as shell:
        lines = source(Path(arguments.history) if arguments.history else None, shell.names)
        if sys.stdin.isatty():
            say(r"a statement ends with a semicolon; \? helps")
        return shell.run(lines, interactive=sys.stdin.isatty())


class Shell:
    """One connection, and what its user has set."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arguments = arguments
        self._connection = connecting.connected(arguments)
        self._purpose: str | None = arguments.purpose
        self._names: Mapping[str, Sequence[str]] | None = None
        self._timing = False
        self._output: Path | None = None

    def run(self, lines: Any, *, interactive: bool) -> int:
        """Run what comes, to the end.

        Returns:
            An exit code: a script stops at its first error, with that error's.
        """
        for statement in statements(lines, interactive=interactive):
            if statement == "\\q":
                break
            try:
                self._command(statement) if statement.startswith("\\") else self._query(statement)
            except Exception as error:
                if not isinstance(error, connecting.Told):
                    raise
                say(f"error: {error.message}" + (f" ({error.hint})" if error.hint else ""))
                if not interactive:
                    return error.exit_code
            except KeyboardInterrupt:
                say("cancelled")
                if not interactive:
                    return 130
        return 0

    def names(self) -> Mapping[str, Sequence[str]]:
        """Columns by table, for completion; none while they cannot be asked for."""
        if self._names is None:
            try:
                self._names = {found.name: found.schema.names for found in self._connection.tables()}
            except Exception as error:
                if not isinstance(error, connecting.Told):
                    raise
                return {}
        return self._names

    def close(self) -> None:
        """Give everything back."""
        self._connection.close()

    def _query(self, sql: str) -> None:
        started = time.monotonic()
        _Query(self._connection, lambda: self._show(sql)).finish()
        if self._timing:
            say(f"{time.monotonic() - started:.3f} s")

    def _show(self, sql: str) -> None:
        output, self._output = self._output, None
        with closing(self._connection.sql(sql, progress=True)) as result:
            if output is not None:
                with private_file(output) as file:
                    rows = WRITERS[output.suffix[1:]](result, file)
                say(f"{rows:,} rows in {output}, in the clear: it is yours to protect now")
            elif self._arguments.json:
                WRITERS["json"](result, sys.stdout.buffer)
            else:
                write_table(result, sys.stdout.buffer, self._arguments.rows)
        sys.stdout.flush()

    def _command(self, line: str) -> None:
        command, _, rest = line.partition(" ")
        rest = rest.strip().rstrip(";").strip()
        match command, rest:
            case "\\d", "":
                self._tell([{"table": found.name, "description": found.description} for found in self._tables()])
            case "\\d", _:
                self._describe(rest)
            case "\\timing", "":
                self._timing = not self._timing
                say(f"timing is {'on' if self._timing else 'off'}")
            case "\\o", _:
                self._next_output(rest)
            case "\\purpose", "":
                say(self._purpose or "the purpose of the token")
            case "\\purpose", _:
                self._ask_for(rest)
            case "\\?", "":
                say_lines(HELP)
            case _:
                raise UsageError(f"there is no command {command[:20]}", hint=r"\? shows them")

    def _tables(self) -> Sequence[ShownTable]:
        return self._connection.tables()

    def _describe(self, name: str) -> None:
        found = next((one for one in self._tables() if one.name == name), None)
        if found is None:
            raise UsageError("there is no such table that you may read", hint=r"\d shows them")
        self._tell([{"column": field.name, "type": str(field.type)} for field in found.schema])

    def _tell(self, rows: Sequence[Mapping[str, Any]]) -> None:
        print(table(rows), flush=True)

    def _next_output(self, name: str) -> None:
        file = Path(name).expanduser()
        if file.suffix[1:] not in _FORMATS:
            raise UsageError("the file's name says its format", hint=" ".join(f".{kind}" for kind in _FORMATS))
        self._output = file

    def _ask_for(self, purpose: str) -> None:
        opened = connecting.connected(self._arguments, purpose)
        self._connection.close()
        self._connection, self._purpose, self._names = opened, purpose, None
        say(f"the purpose is {purpose}")


def say_lines(text: str) -> None:
    """Several lines on stderr."""
    for line in text.splitlines():
        print(line, file=sys.stderr)


class _Query:
    """A query in a thread of its own, so that Ctrl-C is heard whatever the engine does."""

    def __init__(self, connection: Connection | RemoteConnection, work: Any) -> None:
        self._connection = connection
        self._work = work
        self._error: BaseException | None = None
        self._done = threading.Event()

    def finish(self) -> None:
        """Wait for it; what went wrong is raised here.

        Raises:
            KeyboardInterrupt: it was broken off.
        """
        thread = threading.Thread(target=self._run, name="lake-sql")
        thread.start()
        interrupted = False
        while not self._done.is_set():
            try:
                self._done.wait()
            except KeyboardInterrupt:
                interrupted = True
                self._connection.cancel()
        thread.join()
        if interrupted:
            raise KeyboardInterrupt
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
            self._error = error
        finally:
            self._done.set()
