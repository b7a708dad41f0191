"""The server killed at every step of an upload: the batch is there wholly or not at all, and sent again it is once."""

from __future__ import annotations

import signal
import subprocess

import pytest

from tests import world as w
from tests.gateway.receiving.killed import upload
from tests.world import World

SERVING = """
from lake.gateway.flight.door import Address
from lake.gateway.receiving.process import Receiving

with world.open(settings=w.small_settings(threads=1)) as lake:
    receiving = Receiving(lake.home, "ingest-host", [Address("127.0.0.1", 0)])
    if step:
        sys.addaudithook(hook)
    print(receiving.addresses[0], flush=True)
    sys.stdin.readline()
    assert receiving.close()
print("closed", flush=True)
"""
BEFORE = [
    ("ingest.judged", 1),
    ("ingest.object-written", 1),
    ("ingest.object-written", 2),
    ("ingest.objects-durable", 1),
    ("audit.journal-written", 1),
    ("audit.journal-synced", 2),
    ("ingest.announced", 1),
]
AFTER = [
    ("ingest.committed", 1),
    ("ingest.anchored", 1),
    ("ingest.audited", 1),
    ("receiving.landed", 1),
    ("receiving.recorded", 1),
]


def serve(world: World, step: str = "", turn: int = 1) -> tuple[subprocess.Popen[str], str]:
    """A server as a process, and its address."""
    process = w.child(world, SERVING, step, turn)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


@pytest.mark.parametrize("crash", [*BEFORE, *AFTER], ids=lambda crash: f"{crash[0]}-{crash[1]}")
def test_a_kill_leaves_a_batch_whole_or_absent(world: World, crash: tuple[str, int]) -> None:
    """No answer comes, and whoever sends the batch again has it there once, with a receipt that says so."""
    sender = upload(world)
    process, address = serve(world, *crash)
    assert sender.send(address) is None
    assert w.finished(process)[0] == -signal.SIGKILL
    assert sender.numbers() == ([1, 2] if crash in AFTER else [])
    process, address = serve(world)
    answer = sender.send(address)
    assert answer is not None
    assert answer["repeated"] == (crash in AFTER)
    assert answer["receipt"]["levels"] == {"1": {"rows": 1, "files": 1}, "3": {"rows": 1, "files": 1}}
    assert w.finished(process)[:2] == (0, "closed\n")
    assert sender.numbers() == [1, 2]


def test_the_control_of_this_file(world: World) -> None:
    """Without a kill the same server lands the batch, and ends in order."""
    sender = upload(world)
    process, address = serve(world)
    answer = sender.send(address)
    assert answer is not None
    assert not answer["repeated"]
    assert w.finished(process)[:2] == (0, "closed\n")
