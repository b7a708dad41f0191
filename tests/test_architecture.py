"""The directions of imports are enforced, and the enforcement can fail."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def _lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [program, "--no-cache"],
        cwd=folder,
        env={"PYTHONPATH": str(folder), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages and their contracts, apart from the checkout."""
    folder = tmp_path_factory.mktemp("packages")
    for name in ("lake", "keys", "jobs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def test_the_packages_keep_every_contract(copy: Path) -> None:
    """As they are, no import goes the wrong way."""
    done = _lint_imports(copy)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("lake/sealed/objects/local.py", "from keys.envelope import seal"),
        ("lake/clear/reading/slice.py", "from keys.broker import Broker"),
        ("lake/clear/sandbox/execute.py", "import keys.control"),
        ("lake/clear/sandbox/guard.py", "from lake.clear.reading.slice import Slice"),
        ("lake/clear/landing/split.py", "from lake.clear.reading.decode import fragment"),
        ("lake/rules/policy.py", "import pyarrow"),
        ("lake/sealed/catalog/catalog.py", "import duckdb"),
        ("lake/gateway/planner.py", "import duckdb"),
        ("lake/gateway/query.py", "from cryptography.hazmat.primitives import hashes"),
        ("keys/broker.py", "from lake.errors import LakeError"),
        ("lake/gateway/home.py", "import jobs.cli"),
        ("jobs/sealed/sweep.py", "import duckdb"),
        ("lake/client/result.py", "from lake.gateway.query import QueryGateway"),
    ],
)
def test_an_import_across_a_boundary_is_noticed(copy: Path, file: str, line: str) -> None:
    """A planted import that crosses a trust boundary breaks a contract."""
    path = copy / file
    text = path.read_text()
    marker = "from __future__ import annotations\n"
    path.write_text(text.replace(marker, f"{marker}{line}\n", 1))
    try:
        done = _lint_imports(copy)
    finally:
        path.write_text(text)
    assert done.returncode != 0, line
    assert "BROKEN" in done.stdout
