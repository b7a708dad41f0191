"""A collector killed at every step between taking an event and the lake's word for it: each event lands once."""

from __future__ import annotations

from pathlib import Path

import pytest

from lake.collector import Collector
from tests.collector.lab import Lab, upload
from tests.collector.processes import packed
from tests.forking import run

LIFE = """
import sys
from pathlib import Path
from tests.collector.processes import arm, step_through, unpacked
arm(sys.argv[3], int(sys.argv[4]))
step_through(unpacked(sys.argv[1]), Path(sys.argv[2]), range(1, 9))
"""
STEPS = (
    ("collector.lease_saved", 1),
    ("collector.answered", 1),
    ("collector.answered", 3),
    ("collector.acknowledged", 1),
    ("spool.keyed", 1),
    ("spool.opened", 2),
    ("spool.appended", 3),
    ("spool.drafted", 2),
    ("spool.stored", 1),
    ("spool.stored", 3),
    ("spool.closed", 2),
    ("spool.saved", 3),
    ("spool.done", 2),
)


@pytest.mark.parametrize(("step", "turn"), STEPS)
def test_killed_at_a_step_each_event_lands_once(lab: Lab, tmp_path: Path, step: str, turn: int) -> None:
    settings = lab.settings()
    said = tmp_path / "said"
    done = run(LIFE, packed(settings), said, step, turn)
    assert done.returncode == -9, done.stderr
    taken = [int(line) for line in said.read_text().split()] if said.exists() else []
    collector = Collector(settings)
    upload(collector)
    landed = lab.site.numbers()
    # What was being taken when it died was told to nobody, and may be there or not.
    assert landed in (taken, [*taken, len(taken) + 1])
    assert collector.counts.get("recorded", 0) == len(landed)
    assert collector.counts.get("sent", 0) == len(landed)
    assert collector.spool.size == 0
    collector.spool.close()
