"""Memory does not grow with a delivery or a result: ten times the rows take about the same."""

from __future__ import annotations

from pathlib import Path

import pytest

import lake
from tests import world as w
from tests.world import World, child, finished

MIB = 1024 * 1024
# VmHWM is of the child alone; getrusage would start from the peak of the process that forked it.
INGEST = """
from lake.clear.landing.synth import synthesise
with world.open(settings=w.small_settings(landing_bytes=16 << 20)) as lake_:
    report = lake_.ingest("desktop_events", synthesise(5, int(sys.argv[5]), 7, days=60, batch_rows=16_384))
print(report.rows, int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024)
"""
EXPORT = """
rows = 0
with world.connect("vera", "incident_response", settings=w.small_settings(release_bytes=4 << 20)) as connection:
    for batch in connection.sql("SELECT * FROM desktop_events").batches():
        rows += batch.num_rows
print(rows, int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024)
"""


def prepared(folder: Path) -> World:
    """A lake with the example contract, and a policy that shows all of it."""
    world = World(folder / "lake", folder / "key")
    lake.create(world.root, key_file=world.key, single_approver=True)
    grant = "{dataset: desktop_events, purposes: [incident_response], sensitivity: 4, employee_id: real}"
    roles = f"roles: {{all: {{grants: [{grant}]}}}}"
    policy = f"purposes: {{incident_response: x}}\n{roles}\nusers: {{vera: {{roles: [all]}}}}"
    with world.open() as opened:
        opened.add_contract((w.ROOT / "examples" / "contracts" / "desktop.yaml").read_text())
        opened.apply_policy(policy)
    return world


def measure(world: World, source: str, argument: object) -> tuple[int, int]:
    """Rows and the peak of the resident memory of a child, in bytes."""
    status, out, err = finished(child(world, source, "", 1, argument))
    assert status == 0, err
    assert len(out.split()) == 2, out[:400]
    rows, peak = out.split()
    return int(rows), int(peak)


def bound(few: int) -> float:
    """What many rows may take, in bytes, if few take so much."""
    return few * 1.25 + 64 * MIB


def check(folder: Path, few: int, many: int) -> None:
    """Compare the peaks of ingest and of export for few and for many rows."""
    (folder / "few").mkdir()
    (folder / "many").mkdir()
    small, large = prepared(folder / "few"), prepared(folder / "many")
    # How far threads happen to be ahead of each other adds to a peak: the lowest of three exports counts.
    for source, arguments, times in ((INGEST, (few, many), 1), (EXPORT, ("", ""), 3)):
        first = min(measure(small, source, arguments[0]) for _ in range(times))
        second = measure(large, source, arguments[1])
        for _ in range(times - 1):
            if second[1] >= bound(first[1]):
                second = min(second, measure(large, source, arguments[1]))
        print(f"{first[0]} rows: {first[1] // MIB} MiB, {second[0]} rows: {second[1] // MIB} MiB")
        assert (first[0], second[0]) == (few, many)
        assert second[1] < bound(first[1])


def test_ten_times_the_rows_take_no_more_memory(tmp_path: Path) -> None:
    """Ingest and export of 2,500,000 rows peak about where those of 250,000 do."""
    check(tmp_path, 250_000, 2_500_000)


@pytest.mark.soak
def test_many_millions_take_no_more_memory(tmp_path: Path) -> None:
    """The same for 1 and 10 million rows."""
    check(tmp_path, 1_000_000, 10_000_000)
