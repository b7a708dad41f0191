"""DuckLake with ``ENCRYPTED`` as a side of its own: run by the Python of an environment that :func:`environment` makes.

Its extension is there for DuckDB 1.5.5 alone, so it does not share an environment with the lake. The module imports
nothing that such an environment lacks.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

PACKAGES = (
    "duckdb==1.5.5",
    "duckdb-extension-ducklake==1.5.5",
    "duckdb-extension-httpfs==1.5.5",
    "pyarrow==26.0.1",
)
BATCH_ROWS = 122_880
PARTITIONS = "employee, sensitivity"
INSTALL_SECONDS = 300


def environment(place: Path) -> Path | None:
    """The Python of an environment with DuckLake, made at ``place`` if it is not there; None where it cannot be."""
    ready = place / "packages.txt"
    python = place / "bin" / "python"
    if ready.is_file() and ready.read_text("ascii") == "\n".join(PACKAGES):
        return python
    ready.unlink(missing_ok=True)
    try:
        venv.create(place, with_pip=True, clear=True)
        subprocess.run(
            [
                python,
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--only-binary",
                ":all:",
                *PACKAGES,
            ],
            check=True,
            timeout=INSTALL_SECONDS,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    ready.write_text("\n".join(PACKAGES), "ascii")
    return python


class DuckLake:
    """A lake of DuckLake in a folder, its files encrypted, filled from plaintext files.

    Args:
        setup: ``folder``, ``threads``, and ``source``: SQL that reads the rows.
    """

    def __init__(self, setup: Mapping[str, Any]) -> None:
        import duckdb

        packages = Path(sysconfig.get_path("purelib"))
        self._engine = duckdb.connect()
        for name in ("httpfs", "ducklake"):  # httpfs brings OpenSSL's ciphers, which are far quicker than the built-in
            (file,) = packages.glob(f"duckdb_extension_{name}/extensions/v*/{name}.duckdb_extension")
            self._engine.execute(f"LOAD '{file}'")
        folder = Path(setup["folder"])
        folder.mkdir(parents=True)
        self._engine.execute(f"SET threads = {int(setup['threads'])}")
        self._engine.execute(
            f"ATTACH 'ducklake:{folder / 'catalog.ducklake'}' AS store (DATA_PATH '{folder / 'data'}', ENCRYPTED)"
        )
        self._engine.execute(f"CREATE TABLE store.events AS {setup['source']} LIMIT 0")
        self._engine.execute(f"ALTER TABLE store.events SET PARTITIONED BY ({PARTITIONS})")
        self._engine.execute(f"INSERT INTO store.events {setup['source']}")
        self._engine.execute("CREATE TEMP VIEW events AS SELECT * FROM store.events")
        self._plaintext_files_must_not_be(folder)

    @staticmethod
    def _plaintext_files_must_not_be(folder: Path) -> None:
        files = list((folder / "data").rglob("*.parquet"))
        if not files or any(file.read_bytes()[:4] != b"PARE" for file in files):
            sys.exit("DuckLake did not encrypt its files")

    def answer(self, question: Mapping[str, Any]) -> list[Any]:
        """The question, over the view ``events``."""
        reader = self._engine.sql(question["sql"]).to_arrow_reader(BATCH_ROWS)
        return list(reader)


class Asked:
    """The process with DuckLake, from outside: questions go there, seconds and answers come back."""

    def __init__(self, python: Path, root: Path, setup: Mapping[str, Any]) -> None:
        self._process = subprocess.Popen(
            [python, "-m", "bench.ducklake"],
            cwd=root,
            env={name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._tell(setup)

    def ask(self, question: Mapping[str, Any], keep: Path | None = None) -> None:
        """Have it answer; the answer goes to an Arrow file if one is named."""
        self._tell({"question": dict(question), "keep": None if keep is None else str(keep)})

    def peak_bytes(self) -> int:
        """Of its resident memory so far."""
        return int(self._tell({"peak": True})["peak_bytes"])

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        self._process.stdin.close()
        self._process.wait()

    def _tell(self, wish: Mapping[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        self._process.stdin.write(json.dumps(wish) + "\n")
        self._process.stdin.flush()
        return self._said()

    def _said(self) -> dict[str, Any]:
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the process with DuckLake has ended")
        found: dict[str, Any] = json.loads(line)
        return found


def _serve(answer: Callable[[Mapping[str, Any]], list[Any]]) -> None:
    """Answer lines of JSON until the input ends."""
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        wish = json.loads(line)
        if "question" not in wish:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            print(json.dumps({"peak_bytes": peak}), flush=True)
            continue
        batches = answer(wish["question"])
        if wish["keep"]:
            _keep(batches, wish["keep"])
        print(json.dumps({"rows": sum(batch.num_rows for batch in batches)}), flush=True)


def _keep(batches: list[Any], path: str) -> None:
    import pyarrow as pa

    rows = pa.Table.from_batches(batches)
    with pa.OSFile(path, "wb") as file, pa.ipc.new_file(file, rows.schema) as writer:
        writer.write_table(rows)


if __name__ == "__main__":
    _serve(DuckLake(json.loads(sys.stdin.readline())).answer)
