"""Every test that docs/cases.md names is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_NAMED = re.compile(r"\]\(\.\./(?P<file>tests/[\w/]+\.py)\) `(?P<test>test_\w+)`")


def test_every_named_test_exists() -> None:
    """File and function, for each case that has one."""
    found = _NAMED.findall((ROOT / "docs" / "cases.md").read_text("utf-8"))
    assert len(found) > 80
    missing = [f"{file}::{test}" for file, test in found if f"def {test}(" not in (ROOT / file).read_text("utf-8")]
    assert missing == []
