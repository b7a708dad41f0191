"""Choosing a reader, and the files of a folder."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest

from lake.clear.landing.readers.source import IMPORTERS, ReadOptions, expand, open_source
from lake.errors import MalformedInputError, UsageError
from lake.rules.contract import Contract


def _touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"{}")


def test_a_folder_is_searched_for_what_the_importer_takes(tmp_path: Path) -> None:
    """Files of other kinds are passed by, the rest is sorted; a named file is taken as it is."""
    _touch(tmp_path, "b.ndjson.gz", "a.parquet", "u/session_1.csv.gz", "u/notes.csv", "readme.md", "aw.json")

    def names(importer: str | None) -> list[str]:
        return [file.name for file in expand([tmp_path], importer)]

    assert names(None) == ["a.parquet", "b.ndjson.gz", "notes.csv", "session_1.csv.gz"]
    assert names("balabit") == ["session_1.csv.gz"]
    assert names("activitywatch") == ["aw.json"]
    assert expand([tmp_path / "readme.md"], None) == [tmp_path / "readme.md"]


def test_nothing_to_read_is_a_mistake(tmp_path: Path) -> None:
    """A path that does not exist, a folder without such files and an unknown importer are named."""
    for path, importer in ((tmp_path / "gone", None), (tmp_path, None), (tmp_path, "balabit"), (tmp_path, "excel")):
        with pytest.raises(UsageError):
            expand([path], importer)


def test_every_importer_can_be_opened(desktop: Contract) -> None:
    """Each name that is offered has a reader, whose first columns are the contract's."""
    for importer in IMPORTERS:
        source = open_source(
            Path("u/session_1.csv"), importer, desktop, ReadOptions(employee="E1"), stream=io.BytesIO()
        )
        assert source.schema.names[:3] == ["employee", "ts", "type"]


def test_an_unknown_kind_is_a_mistake(desktop: Contract) -> None:
    """Neither an unknown suffix nor an unknown importer is guessed."""
    for name, importer in (("a.xlsx", None), ("a.json", None), ("a.gz", None), ("a.csv", "excel")):
        with pytest.raises(UsageError):
            open_source(Path(name), importer, desktop, ReadOptions())


@pytest.mark.parametrize("name", ["a.ndjson", "a.ndjson.gz", "a.csv", "a.parquet", "a.arrow"])
def test_files_that_are_missing_or_empty(desktop: Contract, tmp_path: Path, name: str) -> None:
    """A file that is not there is the caller's mistake, one without a byte is malformed."""
    with pytest.raises(UsageError, match="cannot be opened"):
        list(open_source(tmp_path / name, None, desktop, ReadOptions()))
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(MalformedInputError, match=r"is empty|cannot be read"):
        list(open_source(tmp_path / name, None, desktop, ReadOptions()))


PEAK = """
import resource, sys
from pathlib import Path
from lake.clear.landing.readers.source import ReadOptions, open_source
from lake.rules.contract import parse_contract

class Repeated:
    def __init__(self, head, body, tail, times):
        self.parts = iter([head, *([body] * times), tail])
        self.rest = b""
    def seekable(self):
        return False
    def read(self, size=-1):
        while len(self.rest) < size and (part := next(self.parts, None)) is not None:
            self.rest += part
        data, self.rest = self.rest[:size], self.rest[size:]
        return data

name, importer, times = sys.argv[1], sys.argv[2], int(sys.argv[3])
parts = {
    "a.ndjson": (b"", b'{"employee":"E1","seq":1,"app":"' + b"a" * 900 + b'","other":1}\\n', b""),
    "a.csv": (b"employee,app,other\\n", b"E1," + b"a" * 900 + b",1\\n", b""),
    "a.json": (
        b'{"buckets":{"b":{"type":"currentwindow","events":[{"data":{}}',
        b',{"timestamp":"2026-07-01T09:00:00Z","duration":1,"data":{"app":"' + b"a" * 900 + b'"}}',
        b"]}}}",
    ),
}[name]
contract = parse_contract(Path("examples/contracts/desktop.yaml").read_text())
options = ReadOptions(employee="E1", batch_rows=1000)
source = open_source(Path(name), importer or None, contract, options, stream=Repeated(*parts, times))
rows = sum(batch.num_rows for batch in source)
assert rows >= times, rows
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.parametrize(("name", "importer"), [("a.ndjson", ""), ("a.csv", ""), ("a.json", "activitywatch")])
def test_memory_does_not_grow_with_the_input(name: str, importer: str) -> None:
    """Ten times the rows (27 MB more) leave the process's largest size as it was."""

    def peak(times: int) -> int:
        root = Path(__file__).resolve().parents[4]
        command = [sys.executable, "-c", PEAK, name, importer, str(times)]
        return int(subprocess.run(command, cwd=root, capture_output=True, check=True).stdout)

    small, large = peak(3_000), peak(30_000)
    assert large < small + 12_000
