"""How far a long read has come: a function that is called, or a line on the terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lake.errors import UsageError

Progress = Callable[[int, int], None] | bool | None
"""Called with the rows and the bytes so far; True shows them on stderr if that is a terminal."""


@contextmanager
def reporting(progress: Progress) -> Iterator[Callable[[int, int], None]]:
    """What is to be called after each batch."""
    if progress is True and sys.stderr.isatty():
        with _line() as show:
            yield show
    elif progress is None or isinstance(progress, bool):
        yield lambda _rows, _size: None
    elif callable(progress):
        yield progress
    else:
        raise UsageError("progress is a function of rows and bytes, True, False or None")


@contextmanager
def _line() -> Iterator[Callable[[int, int], None]]:
    from rich.console import Console  # noqa: PLC0415 - only for a terminal
    from rich.filesize import decimal  # noqa: PLC0415
    from rich.progress import Progress as Bar  # noqa: PLC0415
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("waiting for rows")
        yield lambda rows, size: bar.update(task, description=f"{rows:,} rows, {decimal(size)}")
