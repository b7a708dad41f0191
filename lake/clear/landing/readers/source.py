"""The way in for files: which reader takes what, and which files a folder has for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

from lake.clear.landing.readers.activitywatch import ActivityWatchSource
from lake.clear.landing.readers.balabit import FILE_NAME, BalabitSource
from lake.clear.landing.readers.columnar import ColumnarSource
from lake.clear.landing.readers.csv_mapped import CsvSource
from lake.clear.landing.readers.inputs import Input
from lake.clear.landing.readers.keylog import KeylogSource
from lake.clear.landing.readers.mapping import CsvMapping, parse_mapping
from lake.clear.landing.readers.names import IMPORTERS
from lake.clear.landing.readers.ndjson import NdjsonSource
from lake.clear.landing.readers.options import ReadOptions, Source
from lake.errors import UsageError
from lake.rules.contract import Contract

__all__ = ["IMPORTERS", "CsvMapping", "ReadOptions", "Source", "expand", "open_source", "parse_mapping"]

_SUFFIXES = {
    "ndjson": (".ndjson", ".jsonl", ".ndjson.gz", ".jsonl.gz", ".ndjson.zst", ".jsonl.zst"),
    "parquet": (".parquet",),
    "arrow": (".arrow", ".arrows", ".ipc", ".feather"),
    "csv": (".csv", ".csv.gz", ".csv.zst"),
    "keylog": (".csv", ".csv.gz", ".csv.zst"),
    "activitywatch": (".json", ".json.gz", ".json.zst"),
}
_BY_SUFFIX = ("ndjson", "parquet", "arrow", "csv")
"""Importers that a suffix is enough to choose; the others read one form of CSV or JSON and are asked for by name."""

_READERS: dict[str, Callable[[Input, Contract], Source]] = {
    "balabit": BalabitSource,
    "activitywatch": ActivityWatchSource,
    "keylog": KeylogSource,
    "ndjson": NdjsonSource,
    "parquet": lambda source, contract: ColumnarSource(source, contract, parquet=True),
    "arrow": lambda source, contract: ColumnarSource(source, contract, parquet=False),
    "csv": CsvSource,
}


def open_source(
    path: Path, importer: str | None, contract: Contract, options: ReadOptions, *, stream: BinaryIO | None = None
) -> Source:
    """A reader for one file, or for ``stream`` under the name ``path``. Nothing is read before it is iterated.

    Args:
        importer: one of ``IMPORTERS``, or None to go by the suffix.
        stream: bytes to read in place of the file, compressed if the name says so; it stays open.

    Raises:
        UsageError: unknown importer or suffix, or the importer needs an option that is not given. Iterating raises
            MalformedInputError where the bytes are not what they claim to be, and UsageError where there are none.
    """
    chosen = importer if importer is not None else _by_suffix(path)
    if chosen not in _READERS:
        raise UsageError(f"no importer is named {chosen[:64]!r}", hint=f"one of: {', '.join(IMPORTERS)}")
    return _READERS[chosen](Input(path, stream, options), contract)


def expand(paths: Sequence[Path], importer: str | None) -> list[Path]:
    """The files to read: each file as given, each folder as the files below it that the importer takes, sorted.

    Raises:
        UsageError: a path does not exist, or a folder has no such file.
    """
    if importer is not None and importer not in IMPORTERS:
        raise UsageError(f"no importer is named {importer[:64]!r}", hint=f"one of: {', '.join(IMPORTERS)}")
    files: list[Path] = []
    for path in paths:
        if not path.is_dir():
            if not path.exists():
                raise UsageError(f"{path} does not exist")
            files.append(path)
            continue
        inside = sorted(file for file in path.rglob("*") if file.is_file() and _takes(importer, file))
        if not inside:
            raise UsageError(f"{path} has no files for {importer or 'any importer'}", hint="check --importer")
        files += inside
    return files


def _takes(importer: str | None, file: Path) -> bool:
    if importer == "balabit":
        return FILE_NAME.fullmatch(file.name) is not None
    names = _BY_SUFFIX if importer is None else (importer,)
    return any(file.name.endswith(_SUFFIXES[name]) for name in names)


def _by_suffix(path: Path) -> str:
    for name in _BY_SUFFIX:
        if path.name.endswith(_SUFFIXES[name]):
            return name
    raise UsageError(f"{path.name}: the suffix does not say what this is", hint=f"say which: {', '.join(IMPORTERS)}")
