"""Units taken while batches land, keys rotate and people are erased: each fits together and opens."""

from __future__ import annotations

import pytest

from lake.gateway.backup import Backups
from lake.rules import layout
from tests import world as w
from tests.gateway.keylakes import sound, without
from tests.gateway.units import back_up, checked, keep_roots, lose, restored, units
from tests.world import ADA, World, child, finished, landed, same_rows

EXPECTED = landed(w.known_rows())
BETWEEN = """
from datetime import datetime
from lake.gateway.keyplans import KeyScope
from tests.gateway.keylakes import keeping, later
from tests.gateway.units import back_up, units

def ingest(lake):
    rows = [w.row("EMP-NEW", datetime(2026, 9, 2), "focus", app="New-QX", n=n) for n in range(3)]
    lake.ingest("events", w.table(rows), batch_id="between")

ACTIONS = {
    "ingest": ingest,
    "keks": lambda lake: keeping(lake).rotate_keks(KeyScope()),
    "buckets": lambda lake: keeping(lake).rotate_buckets(keeping(lake).places(KeyScope())),
    "trim": lambda lake: keeping(lake).rotate_roots(["root-dss4"], units(world) / "keys"),
    "shred": lambda lake: keeping(lake).shred([w.ADA], units(world) / "keys"),
}
pins = 0

def act():
    with world.open(clock=later) as lake:
        ACTIONS[sys.argv[5]](lake)

def count(event, arguments):
    global pins
    pins += event == "lake.step" and arguments[0] == "backup.catalog-pinned"

sys.addaudithook(count)
sys.addaudithook(hook)
print(back_up(world).unit.id, pins)
"""


@pytest.mark.parametrize(
    "step",
    [
        "backup.catalog-pinned",
        pytest.param("backup.log-pinned", marks=pytest.mark.soak),
        pytest.param("backup.keys-written", marks=pytest.mark.soak),
    ],
)
@pytest.mark.parametrize("action", ["ingest", "keks", "buckets", "trim", "shred"])
def test_what_happens_between_two_snapshots_does_not_tear_a_unit(world: World, step: str, action: str) -> None:
    """A change of keys between the snapshots has all of them taken again; a batch does not; and the unit restores."""
    status, out, err = finished(child(world, BETWEEN, step, 1, action))
    assert status == 0, err
    unit, pins = out.split()
    changed = action != "ingest" and step != "backup.keys-written"
    assert int(pins) == 1 + changed
    if action in {"ingest", "keks", "buckets"} or changed:
        assert checked(world)["unit"] == unit
    keep_roots(world, store=True)
    new = lose(world)
    if action in {"trim", "shred"} and not changed:
        assert restored(new, unit)["closed_bucket_keys"] > 0  # it was taken just before
        return
    assert restored(new)["unit"] == unit
    assert same_rows(new.rows(), without(EXPECTED, ADA) if action == "shred" else EXPECTED)
    assert sound(new)


BUSY = """
from datetime import datetime
from lake.gateway.keyplans import KeyScope
from tests.gateway.keylakes import keeping, later

print("ready", flush=True)
sys.stdin.readline()
for turn in range(6):
    with world.open(clock=later) as lake:
        rows = [w.row(f"EMP-{turn}", datetime(2026, 9, 2), "focus", app="New-QX", n=turn)]
        lake.ingest("events", w.table(rows), batch_id=f"busy-{turn}")
        keeping(lake).rotate_keks(KeyScope())
        keeping(lake).rotate_buckets(keeping(lake).places(KeyScope()))
print("done")
"""


def test_units_of_a_busy_lake_all_open(world: World) -> None:
    """Another process lands and rotates as fast as it can; every unit that was taken meanwhile verifies."""
    busy = child(world, BUSY)
    assert busy.stdout is not None and busy.stdin is not None  # noqa: PT018
    assert busy.stdout.readline() == "ready\n"
    busy.stdin.write("go\n")
    busy.stdin.flush()
    taken = []
    while busy.poll() is None:
        taken.append(back_up(world).unit)
    assert finished(busy)[:2] == (0, "done\n")
    taken.append(back_up(world).unit)
    with world.open() as lake:
        checking = Backups(lake.home, lake.actor)
        for unit in taken:
            assert checking.verify(units(world), unit.id)["commits"] == unit.catalog_seq
    assert [unit.catalog_seq for unit in taken] == sorted(unit.catalog_seq for unit in taken)
    keep_roots(world, store=True)
    middle = taken[len(taken) // 2]
    new = lose(world)
    report = restored(new, middle.id)
    assert report["missing"] == 0
    assert len(new.rows()) >= len(EXPECTED)
    assert sound(new)
    assert (new.root / layout.DATA).is_dir()
