"""Sixty-four clients at once for minutes, some of them hostile: no honest query fails, and nothing is left behind."""

from __future__ import annotations

import json
import os
import random
import secrets
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from keys.errors import KeysError
from lake.client.remote import RemoteConnection, connect_remote
from lake.errors import LakeError
from lake.gateway.identity.local_tokens import LocalTokens, Wanted
from tests import world as w

SECONDS = float(os.environ.get("LAKE_SOAK_SECONDS", "300"))
CLIENTS, HOSTILE = 64, 3
QUERIES = (
    "SELECT count(*) AS n FROM events",
    "SELECT app, count(*) AS n, sum(n) AS s FROM events GROUP BY app ORDER BY app",
    "SELECT employee, max(n) AS m FROM events WHERE sensitivity <= 2 GROUP BY employee ORDER BY employee",
    "SELECT n, ts FROM events WHERE n > 10 ORDER BY ts",
    "SELECT count(*) AS n FROM events a JOIN events b ON a.n = b.n",
)
WIDE = "SELECT a.n, b.ts FROM events a, events b, range(400)"
BOMBS = (
    "SELECT length(repeat('x', 3000000000)) FROM events",
    "SELECT len(range(500000000)) FROM events",
    "SELECT levenshtein(repeat('a', 200000), repeat('b', 200000)) FROM events",
    "SELECT count(*) FROM range(1000000000000)",
    "SELECT count(*) FROM events a, events b, events c, events d, events e",
    "SELECT '" + "x" * 200_000 + "'",
    "SELECT * FROM events a, events b, range(10000)",
)
POLICY = f"""
purposes: {{incident: Incidents}}
roles:
  all: {{grants: [{w.GRANT_ALL}]}}
  bounded:
    grants: [{{dataset: events, purposes: [incident], sensitivity: 4, limits: {{seconds: 3, bytes: 100000000}}}}]
users:
"""
USERS = "".join(
    f"  client{number}: {{roles: [{'bounded' if number < HOSTILE else 'all'}]}}\n" for number in range(CLIENTS)
)


@dataclass
class Tally:
    """What the clients saw."""

    answers: int = 0
    attacks: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    slowest: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[w.World, dict[str, Any], subprocess.Popen[str]]]:
    """A lake and a gateway process over it."""
    world = w.make(tmp_path, policy=POLICY + USERS)
    identity = tmp_path / "identity.yaml"
    identity.write_text("local_tokens: true\n")
    identity.chmod(0o600)
    place = ["--lake", str(world.root), "--key-file", str(world.key), "--identity", str(identity), "--json"]
    listen = ["--insecure", "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--sandbox-memory", "256"]
    with (tmp_path / "gateway.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "lake.cli.main", "serve", "gateway", *place, *listen],
            env={**os.environ, "PYTHONPATH": str(w.ROOT)},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    assert process.stdout is not None
    try:
        yield world, json.loads(process.stdout.readline()), process
    finally:
        process.kill()
        process.communicate()


def tokens(world: w.World) -> list[str]:
    """A token for each client, by the real clock."""
    with world.open(clock=lambda: datetime.now(UTC)) as lake:
        issuer = LocalTokens(lake.home.config.lake, lake.home.control.token_key())
        return [
            issuer.sign(
                Wanted(f"client{number}", ("incident",), None, timedelta(hours=2)),
                secrets.token_hex(16),
                datetime.now(UTC),
            ).text
            for number in range(CLIENTS)
        ]


def honest(connection: RemoteConnection, expected: dict[str, Any], tally: Tally, end: float, seed: int) -> None:
    """Ask, and compare; every error is a failure."""
    rng = random.Random(seed)
    while time.monotonic() < end:
        sql = rng.choice(QUERIES)
        start = time.monotonic()
        try:
            right = connection.sql(sql).arrow().to_pylist() == expected[sql]
            said = "another answer"
        except (LakeError, KeysError) as error:
            right, said = False, f"{error.code}: {error.message}"
        with tally.lock:
            tally.answers += right
            tally.slowest = max(tally.slowest, time.monotonic() - start)
            if not right:
                tally.failures.append(said)


def hostile(url: str, token: str, tally: Tally, end: float, seed: int) -> None:
    """Bombs, results that are cancelled, results that are left, and texts that are too long."""
    rng = random.Random(seed)
    while time.monotonic() < end:
        kind = rng.choice(("bomb", "cancel", "leave"))
        with connect_remote(url, token=token) as connection:
            try:
                result = connection.sql(rng.choice(BOMBS) if kind == "bomb" else WIDE)
                batches = result.batches()
                next(batches)
                if kind == "cancel":
                    result.cancel()
                if kind != "leave":
                    list(batches)
                said = kind
            except (LakeError, KeysError) as error:
                said = f"{kind}: {error.code}"
        with tally.lock:
            tally.attacks[said] += 1


def family(pid: int) -> list[int]:
    """A process and all below it."""
    below: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            below.setdefault(parent, []).append(int(folder.name))
    found = [pid]
    for one in found:
        found += below.get(one, [])
    return found


def resident(pids: list[int]) -> int:
    """Bytes of memory that processes hold, shared ones counted in part (PSS)."""
    total = 0
    for pid in pids:
        try:
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
        except OSError:
            continue
    return total


@pytest.mark.soak
def test_honest_clients_notice_nothing_of_hostile_ones(
    site: tuple[w.World, dict[str, Any], subprocess.Popen[str]],
) -> None:
    """Prints what was asked and answered, the slowest answer, and the memory of all of the gateway's processes."""
    world, ready, process = site
    url = ready["addresses"][0]
    who = tokens(world)
    tally, peak, early = Tally(), 0, 0
    with connect_remote(url, token=who[-1]) as connection:
        expected = {sql: connection.sql(sql).arrow().to_pylist() for sql in QUERIES}
    begin = time.monotonic()
    end = begin + SECONDS
    connections = [connect_remote(url, token=token, patience=120.0) for token in who[HOSTILE:]]
    threads = [
        threading.Thread(target=honest, args=(connection, expected, tally, end, number))
        for number, connection in enumerate(connections)
    ]
    threads += [
        threading.Thread(target=hostile, args=(url, who[number], tally, end, number)) for number in range(HOSTILE)
    ]
    for thread in threads:
        thread.start()
    while time.monotonic() < end:
        time.sleep(min(1.0, SECONDS / 20))
        held = resident(family(process.pid))
        peak = max(peak, held)
        if time.monotonic() < begin + SECONDS / 4:
            early = max(early, held)
    for thread in threads:
        thread.join()
    for connection in connections:
        connection.close()
    with urllib.request.urlopen(f"{ready['health']}/metrics", timeout=30) as answer:  # noqa: S310
        used = [line for line in answer.read().decode().splitlines() if line.startswith("lake_gateway_sandboxes_used ")]
    print(
        f"{SECONDS:g} s, {CLIENTS} clients, {HOSTILE} hostile: {tally.answers} honest answers, "
        f"{len(tally.failures)} failures, slowest {tally.slowest:.1f} s; attacks {dict(tally.attacks)}; "
        f"memory {early >> 20} MiB in the first quarter, {peak >> 20} MiB at most"
    )
    assert not tally.failures, Counter(tally.failures)
    assert tally.attacks.total() > 0
    assert used == ["lake_gateway_sandboxes_used 0.0"]
    assert peak < early * 1.5 + (256 << 20)
    children = [pid for pid in family(process.pid) if pid != process.pid]
    process.send_signal(signal.SIGTERM)
    process.wait(60)
    assert [pid for pid in children if Path(f"/proc/{pid}").exists()] == []
