"""Results under way: of bounded size, released when clients go, stall, expire or when the gateway stops."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pyarrow.flight as fl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake.gateway.flight.results import sliced
from lake.gateway.service import GatewayService
from tests import world as w
from tests.gateway.flight.asking import COUNT, LONG, query, refusal
from tests.gateway.flight.doors import Opened, opened
from tests.gateway.served import Watch, serving


def started(client: fl.FlightClient, door: Opened, sql: str = LONG, **headers: str) -> Any:
    """A result that has begun to come."""
    options = door.options(**headers)
    (endpoint,) = client.get_flight_info(query(sql), options).endpoints
    reader = client.do_get(endpoint.ticket, options)
    reader.read_chunk()
    return reader


def rest(reader: Any) -> int:
    """Rows until the end."""
    rows = 0
    while True:
        try:
            rows += reader.read_chunk().data.num_rows
        except StopIteration:
            return rows


def settled(door: Opened) -> bool:
    """Whether nothing is under way any more, and nothing held."""
    ended = door.door.gate.wait_empty(60)
    return ended and door.metric("lake_gateway_streams") == 0 and door.service.pool.used == 0


@given(
    st.lists(st.text(max_size=40) | st.none(), max_size=60),
    st.integers(min_value=1, max_value=500),
)
def test_batches_are_cut_to_size(texts: list[str | None], most: int) -> None:
    """All rows in order, and no batch above the size but one of a single row."""
    whole = pa.record_batch({"a": pa.array(texts, pa.string()), "n": pa.array(range(len(texts)), pa.int32())})
    parts = list(sliced(whole, most))
    assert pa.Table.from_batches(parts) == pa.Table.from_batches([whole])
    assert all(part.nbytes <= most or part.num_rows <= 1 for part in parts)


def test_batches_on_the_wire_are_bounded(service: GatewayService) -> None:
    """Whatever the engine makes; the rows are those of the query, and all are counted."""
    with opened(service, batch=10_000) as door, fl.connect(door.url) as client:
        options = door.options()
        (endpoint,) = client.get_flight_info(query("SELECT a.* FROM events a, range(40)"), options).endpoints
        reader = client.do_get(endpoint.ticket, options)
        assert reader.schema.metadata[b"lake.receipt"].isdigit()
        sizes, rows = [], 0
        for chunk in reader:
            sizes.append(chunk.data.nbytes)
            rows += chunk.data.num_rows
        assert rows == 144 * 40
        assert max(sizes) <= 10_000
        assert door.door.gate.wait_empty(30)
        assert door.metric("lake_gateway_rows_total") == rows
        assert door.metric('lake_gateway_calls_total{code="ok",kind="query"}') == 1


@pytest.mark.parametrize("way", ["cancel", "drop the reader", "hang up"])
def test_a_client_that_goes_releases_everything(door: Opened, way: str) -> None:
    """Sandbox, slot and stream; the log says that the result was abandoned."""
    client = fl.connect(door.url)
    reader = started(client, door)
    assert door.service.pool.used == 1
    if way == "cancel":
        reader.cancel()
    del reader
    client.close()
    assert settled(door)
    assert door.metric('lake_gateway_calls_total{code="gone",kind="query"}') == 1


def test_a_client_that_goes_while_the_engine_computes_breaks_it_off(door: Opened) -> None:
    """Before there is a first row."""
    client = fl.connect(door.url)
    options = door.options()
    sql = "SELECT levenshtein(repeat('a', 200000), repeat(app, 20000)) FROM events"
    (endpoint,) = client.get_flight_info(query(sql), options).endpoints
    impatient = fl.FlightCallOptions(timeout=1.0, headers=[(b"authorization", f"Bearer {door.token()}".encode())])
    with pytest.raises(fl.FlightTimedOutError):
        client.do_get(endpoint.ticket, impatient).read_all()
    client.close()
    assert settled(door)
    assert door.metric('lake_gateway_calls_total{code="gone",kind="query"}') == 1


def test_a_client_that_takes_nothing_loses_its_query(service: GatewayService) -> None:
    """After a time; what it then reads is an error and not an end."""
    with opened(service, stalled=0.2) as door, fl.connect(door.url) as client:
        reader = started(client, door)
        (call,) = door.door.gate._inside
        while call._wish is not None:
            door.door.gate.look()
        _, document = refusal(lambda: rest(reader))
        assert document["error"] == "cancelled"
        assert settled(door)


def test_an_expired_credential_ends_a_stream(tmp_path: Any) -> None:
    """At the next batch."""
    watch = Watch()
    with serving(w.make(tmp_path), clock=watch, release_bytes=200_000) as service, opened(service) as door:
        with fl.connect(door.url) as client:
            reader = started(client, door)
            watch.now += timedelta(hours=2)
            kind, document = refusal(lambda: rest(reader))
            assert (kind, document["error"]) == (fl.FlightUnauthorizedError, "denied")
            assert "credential has expired" in document["message"]
        assert settled(door)


def test_a_policy_that_changes_ends_a_stream(tmp_path: Any) -> None:
    """As it does for every door."""
    lake = w.make(tmp_path)
    with serving(lake, release_bytes=200_000) as service, opened(service) as door, fl.connect(door.url) as client:
        reader = started(client, door)
        with lake.open() as own:
            own.apply_policy(w.POLICY.replace(f"{w.VERA}: {{roles: [all]}}", f"{w.VERA}: {{roles: []}}"))
        assert refusal(lambda: rest(reader))[1]["error"] == "denied"


def test_a_limit_ends_a_stream_with_its_name(door: Opened, client: fl.FlightClient) -> None:
    """More rows than the grant allows."""
    options = door.options("rolf", "study")
    (endpoint,) = client.get_flight_info(query("SELECT * FROM events"), options).endpoints
    _, document = refusal(lambda: client.do_get(endpoint.ticket, options).read_all())
    assert document["error"] == "limit_exceeded"


def test_a_gateway_that_stops_lets_results_end(door: Opened, client: fl.FlightClient) -> None:
    """New calls are told to try again; what runs goes on."""
    reader = started(client, door, "SELECT a.n FROM events a, events b, range(20)")
    closing = threading.Thread(target=door.door.close, args=(60.0,))
    closing.start()
    while not door.door.gate.closing:
        closing.join(0.01)
    with fl.connect(door.url) as other:
        kind, document = refusal(lambda: other.get_flight_info(query(COUNT), door.options()))
    assert (kind, document["message"]) == (fl.FlightUnavailableError, "the gateway is stopping")
    assert rest(reader) > 0
    closing.join(60)
    assert not closing.is_alive()
    assert settled(door)


def test_a_gateway_that_stops_breaks_off_what_does_not_end(service: GatewayService) -> None:
    """When the time of grace is over."""
    with opened(service) as door, fl.connect(door.url) as client:
        reader = started(client, door)
        failures: list[dict[str, Any]] = []
        reading = threading.Thread(target=lambda: failures.append(refusal(lambda: rest(reader))[1]))
        reading.start()
        assert door.door.close(0.0)
        reading.join(60)
        assert failures[0]["error"] == "cancelled"
        assert settled(door)
