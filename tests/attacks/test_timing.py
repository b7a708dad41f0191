"""Time, class by class: how long an answer, a refusal or a failure takes does not tell hidden values apart.

The worlds are those of test_two_worlds.py: as many rows in the same files, other hidden values. How many rows a policy
hides does show in how long their files take to read; docs/threat-model.md says so.
"""

from __future__ import annotations

import random
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests import world as w
from tests.attacks.doors import Door, embedded
from tests.attacks.test_two_worlds import GRANTS, _other

CLASSES = {
    "answers": (
        "SELECT count(*) AS n FROM events",
        "SELECT app, sum(n) AS s FROM events GROUP BY app ORDER BY app",
        "SELECT n, ts FROM events ORDER BY ts",
        "SELECT count(*) AS n FROM events WHERE n > 400",
    ),
    "refusals": ("SELECT nothing FROM events", "SELECT * FROM moods", "SELECT getvariable('x')", "SELECT FROM FROM"),
    "failures": (
        "SELECT count(*) FROM events WHERE error(app) IS NULL",
        "SELECT CAST(app AS DATE) FROM events",
        "SELECT sum(big * 2) FROM events",
        "SELECT chr(n) FROM events",
    ),
}
ROUNDS = 25


def seconds(door: Door, sql: str) -> float:
    """How long the whole of it takes."""
    start = time.perf_counter()
    door.ask("quin", "study", sql)
    return time.perf_counter() - start


def first_is_faster(first: Door, second: Door, queries: tuple[str, ...], other: tuple[str, ...]) -> float:
    """In which share of pairs the first is faster; each pair in either order by turns."""
    faster = 0
    for turn in range(ROUNDS):
        for sql, beside in zip(queries, other, strict=True):
            if turn % 2:
                later = seconds(second, beside)
                faster += seconds(first, sql) < later
            else:
                faster += seconds(first, sql) < seconds(second, beside)
    return faster / (ROUNDS * len(queries))


@pytest.mark.soak
@pytest.mark.parametrize("kind", ["row filter", "sensitivity", "column", "mask"])
def test_time_does_not_tell_worlds_apart(tmp_path: Path, kind: str) -> None:
    """A hundred pairs of each class: neither world is the faster one in more than three of four."""
    rng = random.Random(f"timing {kind}")
    grant = f"{{dataset: events, purposes: [study], {GRANTS[kind]}}}"
    policy = w.POLICY.replace("quick:\n    grants: [", f"quick:\n    grants: [{grant}] #")
    rows = w.known_rows()[:72]
    others = [_other(kind, one, rng) for one in rows]
    with ExitStack() as stack:
        first, second = (
            stack.enter_context(embedded(w.make(tmp_path / name, rows=sent, policy=policy)))
            for name, sent in (("one", rows), ("two", others))
        )
        shares = {name: first_is_faster(first, second, asked, asked) for name, asked in CLASSES.items()}
        print(f"{kind}: " + ", ".join(f"{name} {share:.2f}" for name, share in shares.items()))
        assert all(0.25 <= share <= 0.75 for share in shares.values()), shares
        # The control: the same measure does tell a refusal from an answer.
        assert first_is_faster(first, second, CLASSES["refusals"], CLASSES["answers"]) > 0.9
