"""Tickets and cancellation: good once, for one caller and purpose, for a short time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.flight as fl
import pytest

from lake.gateway.flight.desk import Desk
from lake.gateway.flight.limits import FlightLimits
from lake.gateway.observe.metrics import Metrics
from lake.gateway.service import GatewayService
from lake.wire import flight_sql as wire
from tests import world as w
from tests.gateway.flight.asking import COUNT, LONG, act, cancel, query, refusal
from tests.gateway.flight.doors import Opened, opened
from tests.gateway.served import serving


def ticket_of(client: fl.FlightClient, options: fl.FlightCallOptions, sql: str = COUNT) -> fl.Ticket:
    """A ticket for a statement."""
    (endpoint,) = client.get_flight_info(query(sql), options).endpoints
    return endpoint.ticket


def test_what_is_not_good_is_refused_in_one_way(door: Opened, client: fl.FlightClient) -> None:
    """Used, another's, for another purpose, in another role, guessed, and no ticket at all."""
    own = door.options("stu", "study", "incident", x_lake_purpose="study")
    ticket = ticket_of(client, own)
    used = ticket_of(client, own)
    assert client.do_get(used, own).read_all().to_pylist() == [{"n": 66}]
    guessed = fl.Ticket(wire.pack(wire.TicketStatementQuery(statement_handle=b"\x01" * 32)))
    refusals = [
        refusal(lambda tried=tried, options=options: client.do_get(tried, options).read_all())  # type: ignore[misc]
        for tried, options in (
            (used, own),
            (ticket, door.options()),
            (ticket, door.options("stu", "study", "incident", x_lake_purpose="incident")),
            (ticket, door.options("stu", "study", x_lake_role="student")),
            (guessed, own),
            (fl.Ticket(b""), own),
            (fl.Ticket(b"SELECT 1"), own),
            (fl.Ticket(wire.pack(wire.CommandStatementQuery(query=COUNT))), own),
        )
    ]
    assert {kind for kind, _ in refusals} == {fl.FlightUnauthorizedError}
    assert len({(document["error"], document["message"], document["hint"]) for _, document in refusals}) == 1
    # None of these attempts has used it up.
    assert client.do_get(ticket, own).read_all().to_pylist() == [{"n": 66}]


def test_a_ticket_says_nothing(door: Opened, client: fl.FlightClient) -> None:
    """Neither SQL nor names nor a user; two for the same query have nothing in common."""
    options = door.options()
    tickets = [ticket_of(client, options, "SELECT app FROM events").ticket for _ in range(2)]
    for ticket in tickets:
        handle = wire.unpack(ticket).statement_handle
        assert len(handle) == 32
        for word in (b"SELECT", b"events", w.VERA.encode(), b"incident"):
            assert word not in ticket
    assert tickets[0] != tickets[1]


def test_a_ticket_lapses(service: GatewayService) -> None:
    """By a clock that only goes forward."""
    seconds = [0.0]
    desk = Desk(service, FlightLimits(), Metrics(), lambda: seconds[0])
    with opened(service) as door, fl.connect(door.url) as client:
        for server in door.door._servers:
            server.desk = desk
        early, late = (ticket_of(client, door.options()) for _ in range(2))
        seconds[0] = 59.0
        assert client.do_get(early, door.options()).read_all().num_rows == 1
        seconds[0] = 60.0
        assert refusal(lambda: client.do_get(late, door.options()).read_all())[0] is fl.FlightUnauthorizedError


def test_the_decision_is_taken_again(tmp_path: Path) -> None:
    """A policy that changes between GetFlightInfo and DoGet counts."""
    lake = w.make(tmp_path)
    with serving(lake) as service, opened(service) as door, fl.connect(door.url) as client:
        ticket = ticket_of(client, door.options("stu", "study"))
        with lake.open() as own:
            own.apply_policy(w.POLICY.replace("stu: {roles: [student]}", "stu: {roles: []}"))
        kind, document = refusal(lambda: client.do_get(ticket, door.options("stu", "study")).read_all())
        assert (kind, document["error"]) == (fl.FlightUnauthorizedError, "denied")


def test_a_query_is_divided_over_endpoints(door: Opened, client: fl.FlightClient) -> None:
    """As many as asked for at most; together they are the whole, each is good once, and each has a receipt."""
    options = door.options(x_lake_endpoints="4")
    sql = "SELECT employee, ts, n FROM events"
    info = client.get_flight_info(query(sql), options)
    assert len(info.endpoints) == 4
    tables = [client.do_get(endpoint.ticket, options).read_all() for endpoint in info.endpoints]
    (whole,) = client.get_flight_info(query(sql), door.options()).endpoints
    expected = client.do_get(whole.ticket, options).read_all()
    found = pa.concat_tables(table.replace_schema_metadata(None) for table in tables)
    assert sorted(map(repr, found.to_pylist())) == sorted(map(repr, expected.to_pylist()))
    receipts = {table.schema.metadata[b"lake.receipt"] for table in tables}
    assert len(receipts) == 4
    assert all(receipt.isdigit() for receipt in receipts)
    for endpoint in info.endpoints:
        refusal(lambda ticket=endpoint.ticket: client.do_get(ticket, options).read_all())  # type: ignore[misc]
    assert len(client.get_flight_info(query(COUNT), options).endpoints) == 1


def by_info(client: fl.FlightClient, options: fl.FlightCallOptions, info: fl.FlightInfo) -> int:
    """The older way to cancel."""
    request = wire.ActionCancelQueryRequest(info=info.serialize())
    (answer,) = act(client, options, "CancelQuery", wire.pack(request))
    return int(wire.unpack(answer).result)


@pytest.mark.parametrize("way", [cancel, by_info])
def test_a_query_is_cancelled_by_its_caller_alone(
    door: Opened, client: fl.FlightClient, way: Callable[..., int]
) -> None:
    """Others are told what they are told of queries that never were; then the stream ends with a word for it."""
    info = client.get_flight_info(query(LONG), door.options())
    reader = client.do_get(info.endpoints[0].ticket, door.options())
    reader.read_chunk()
    with fl.connect(door.url) as other:
        for options in (door.options("stu", "study"), door.options(w.VERA, "study")):
            assert way(other, options, info) == wire.NOT_CANCELLABLE
        assert way(other, door.options(), info) == wire.CANCELLED

    def rest() -> None:
        while True:
            reader.read_chunk()

    kind, document = refusal(rest)
    assert (kind, document["error"]) == (fl.FlightServerError, "cancelled")
    assert door.door.gate.wait_empty(30)
    assert way(client, door.options(), info) == wire.NOT_CANCELLABLE


def test_a_ticket_is_void_when_its_query_is_cancelled(door: Opened, client: fl.FlightClient) -> None:
    """Before it was used."""
    info = client.get_flight_info(query(COUNT), door.options())
    assert cancel(client, door.options(), info) == wire.CANCELLED
    refusal(lambda: client.do_get(info.endpoints[0].ticket, door.options()).read_all())


@pytest.mark.parametrize("kind", ["CancelQuery", "CancelFlightInfo"])
@pytest.mark.parametrize("body", [b"\xff", b"x" * 2_000_000, wire.pack(wire.CommandGetCatalogs())])
def test_rubbish_cancels_nothing(door: Opened, client: fl.FlightClient, kind: str, body: bytes) -> None:
    """It is refused in words."""
    _, document = refusal(lambda: act(client, door.options(), kind, body))
    assert document["error"] == "usage"


def test_no_tickets_cancel_nothing(door: Opened, client: fl.FlightClient) -> None:
    """An empty request names none."""
    answer = wire.CancelFlightInfoResult(status=wire.NOT_CANCELLABLE).SerializeToString()
    assert act(client, door.options(), "CancelFlightInfo", b"") == [answer]
