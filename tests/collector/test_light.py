"""A collector loads no engine and no database: it has to be small on an employee's machine."""

from __future__ import annotations

import subprocess
import sys

SOURCE = """
import sys
import lake.collector, lake.collector.activitywatch, lake.collector.status
print(*sorted(sys.modules))
"""


def test_it_loads_no_engine() -> None:
    done = subprocess.run([sys.executable, "-c", SOURCE], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "lake.collector.collector" in loaded
    assert not {"pyarrow", "duckdb", "sqlalchemy", "numpy", "joserfc", "starlette", "lake.api", "lake.gateway"} & loaded
