"""Many at once: all land, within a bound of memory, or are told to come again; and a server that stops."""

from __future__ import annotations

import http.client
import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from lake.settings import MIB
from tests import world as w
from tests.gateway.receiving.site import DEVICES, NDJSON, Site, heard, ndjson, packed, site_of, wait_for
from tests.keys.remote.hosts import Authority, Identity
from tests.world import World


def test_many_at_once_land_each_once(own: Site) -> None:
    """Sixteen batches of two devices, each sent twice at a time and twice after another."""
    senders = [own.device(name) for name in DEVICES]
    for sender in senders:
        sender.renew()

    def send(number: int) -> list[dict[str, Any]]:
        sender = senders[number % 2]
        body = ndjson(sender.rows(number))
        found = []
        while len(found) < 2:
            answer = sender.send(body, batch=f"crowd-{number}")
            if answer.status == 200:
                found.append(answer.document)
            else:
                assert (answer.status, answer.headers["retry-after"]) in {(429, "2"), (503, "2")}
        return found

    with ThreadPoolExecutor(32) as pool:
        answers = [answer for each in pool.map(send, [*range(16), *range(16)]) for answer in each]
    assert Counter(answer["repeated"] for answer in answers) == {False: 16, True: 48}
    assert len({answer["signature"] for answer in answers}) == 16
    assert own.numbers() == list(range(16))
    assert (own.receiving.budget.uploads, own.receiving.budget.buffered) == (0, 0)


def test_who_has_too_many_batches_under_way_is_told_to_come_again(
    template: World, tmp_path: Path, authority: Authority, identity: Identity
) -> None:
    """One device cannot take all the room, nor can bytes that are only announced; afterwards there is room again."""
    limits = {"uploads": 3, "uploads_each": 2, "buffered": 3000, "body": 2000}
    with site_of(w.copy(template, tmp_path), authority, identity, **limits) as own:
        ada, ben = own.device("ada-1"), own.device("ben-1")
        body = ndjson(ada.rows(1))
        requests = [ada.raw(body), ada.raw(body)]
        with own.socket() as first, own.socket() as second:
            for number, connection in enumerate((first, second), 1):
                connection.sendall(requests[number - 1][:-1])
                wait_for(lambda number=number: own.receiving.budget.uploads == number)  # type: ignore[misc]
            refused = ada.send(body)
            assert (refused.status, refused.document["code"], refused.headers["retry-after"]) == (429, "busy", "2")
            assert refused.document["retryable"]
            assert ben.send(ndjson(ben.rows(2))).status == 200
            with own.socket() as large:
                large.sendall(ben.raw(b"x" * 2000)[:-1])
                wait_for(lambda: own.receiving.budget.buffered > 2000)
                third = ben.send(b"x" * 1500)
                assert (third.status, third.document["code"]) == (429, "busy")
            for number, connection in enumerate((first, second)):
                connection.sendall(requests[number][-1:])
                assert heard(connection).status == 200
        wait_for(lambda: not own.receiving.budget.uploads)
        assert ada.send(body).status == 200
        assert own.entries("ingest.refused") == []
        assert own.receiving.budget.buffered == 0


def test_a_server_that_stops_ends_what_is_under_way(
    template: World, tmp_path: Path, authority: Authority, identity: Identity
) -> None:
    """New requests get 503 and come again; the body that comes is taken to its end."""
    world = w.copy(template, tmp_path)
    with site_of(world, authority, identity) as own:
        device = own.device()
        device.renew()
        body = ndjson(device.rows(9))
        kept = own.connection()
        kept.request("GET", "/readyz")
        assert kept.getresponse().read() == b'{"ready":true}'
        request = device.raw(body)
        with own.socket() as connection:
            connection.sendall(request[:-1])
            wait_for(lambda: own.receiving.budget.uploads == 1)
            closing = ThreadPoolExecutor(1)
            closed = closing.submit(own.receiving.close, 30.0)
            wait_for(lambda: own.receiving._application.stopping)
            kept.request("GET", "/readyz")
            ready = kept.getresponse()
            assert (ready.status, ready.read()) == (503, b'{"ready":false,"code":"stopping"}')
            kept.request("POST", "/v1/batches", body, device.request(body))
            refused = kept.getresponse()
            assert (refused.status, refused.getheader("retry-after")) == (503, "2")
            kept.close()
            connection.sendall(request[-1:])
            assert heard(connection).status == 200
            assert closed.result(60)
            closing.shutdown()
        with pytest.raises(ConnectionRefusedError):
            own.socket()
    assert [row["n"] for row in world.rows("SELECT n FROM events WHERE app = 'Sent-QX'")] == [9]


def test_a_log_that_refuses_stops_everything(own: Site) -> None:
    """No record, no rows: 503 until somebody sets it right, and not ready."""
    device = own.device()
    device.renew()
    own.lake.home.log._failed = True
    answer = device.send(ndjson(device.rows(1)))
    assert (answer.status, answer.document["retryable"], answer.headers["retry-after"]) == (503, True, "2")
    assert own.ask("GET", "/readyz").status == 503
    assert device.renew("focus").status == 503
    own.lake.home.log._failed = False
    assert device.send(ndjson(device.rows(1))).status == 200
    assert own.numbers() == [1]


@pytest.mark.soak
def test_memory_under_a_hundred_uploads(
    template: World, tmp_path: Path, authority: Authority, identity: Identity
) -> None:
    """A hundred bodies at once, of which not all have room: the process holds what its limits say."""
    limits = {"uploads": 100, "uploads_each": 100, "buffered": 24 * MIB, "body": 4 * MIB}
    with site_of(w.copy(template, tmp_path), authority, identity, **limits) as own:
        memory_bound(own, uploads=100, rows=20_000, most=700 * MIB)


def test_memory_under_some_uploads(template: World, tmp_path: Path, authority: Authority, identity: Identity) -> None:
    """The same with less."""
    limits = {"uploads": 100, "uploads_each": 100, "buffered": 2 * MIB, "body": MIB}
    with site_of(w.copy(template, tmp_path), authority, identity, **limits) as own:
        memory_bound(own, uploads=24, rows=3_000, most=400 * MIB)


def memory_bound(own: Site, *, uploads: int, rows: int, most: int) -> None:
    """Send as many bodies at once until all have landed, and look at how the process grows meanwhile."""
    device = own.device()
    device.renew()
    chance, (one,) = random.Random(3), device.rows(1)
    body = packed(ndjson([one | {"big": chance.getrandbits(62)} for _ in range(rows)]), "zstd")
    before = resident()
    highest = before
    over = threading.Event()

    def watch() -> None:
        nonlocal highest
        while not over.wait(0.01):
            highest = max(highest, resident())
            assert own.receiving.budget.buffered <= own.receiving._limits.buffered

    def send(number: int) -> int:
        busy = 0
        while True:
            try:
                answer = device.send(body, NDJSON, "zstd", batch=f"much-{number}")
            except (ConnectionError, http.client.HTTPException):
                continue
            if answer.status == 200:
                return busy
            assert answer.status in {429, 503}, answer.content
            busy += 1

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with ThreadPoolExecutor(uploads) as pool:
            list(pool.map(send, range(uploads)))
    finally:
        over.set()
        watcher.join()
    assert highest - before < most, (highest - before) // MIB
    assert own.metric("lake_ingest_rows_total") == uploads * rows


def resident() -> int:
    """Bytes that this process has in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
