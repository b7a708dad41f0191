"""Every call: nobody gets in without a credential, and no error says more than it should."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pyarrow.flight as fl
import pytest

from lake.errors import IntegrityError, UnavailableError
from lake.gateway.identity.local_tokens import Wanted
from lake.gateway.identity.rules import IdentityRules
from lake.gateway.service import GatewayService
from lake.wire import flight_sql as wire
from tests import world as w
from tests.gateway.flight.asking import COUNT, ask, query, refusal
from tests.gateway.flight.doors import Opened, opened

CANARY = "canary-7d1f at /var/lib/lake/secret"
PATH = fl.FlightDescriptor.for_path("events")
EMPTY = pa.schema([("a", pa.int8())])


def put(client: fl.FlightClient, options: Any) -> Any:
    """A DoPut that waits for the answer."""
    writer, reader = client.do_put(query(COUNT), EMPTY, options)
    writer.done_writing()
    try:
        return reader.read()
    finally:
        writer.close()


CALLS: dict[str, Callable[[fl.FlightClient, Any], Any]] = {
    "info": lambda client, options: client.get_flight_info(query(COUNT), options),
    "get": lambda client, options: client.do_get(fl.Ticket(b"x"), options).read_all(),
    "action": lambda client, options: list(client.do_action(fl.Action("CloseSession", b""), options)),
    "unknown action": lambda client, options: list(client.do_action(fl.Action("Shutdown", b""), options)),
    "actions": lambda client, options: list(client.list_actions(options)),
    "flights": lambda client, options: list(client.list_flights(b"", options)),
    "put": put,
    "exchange": lambda client, options: client.do_exchange(query(COUNT), options)[1].read_all(),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("header", [None, b"Bearer x.y.z", b"Basic dTpw", b"Negotiate x", b""])
def test_no_call_works_without_a_credential(
    door: Opened, client: fl.FlightClient, name: str, header: bytes | None
) -> None:
    """None, a wrong one, and what is none: one answer, and it does not say why."""
    options = fl.FlightCallOptions(headers=[] if header is None else [(b"authorization", header)])
    kind, document = refusal(lambda: CALLS[name](client, options))
    assert kind is fl.FlightUnauthenticatedError
    assert (document["error"], document["message"]) == ("unauthenticated", "not authenticated")
    assert door.door.gate.inside == 0


def test_why_somebody_is_refused_is_counted(door: Opened, client: fl.FlightClient) -> None:
    """By a word of a closed set, in the metrics alone."""
    for header, reason in ((None, "missing"), (b"Bearer x", "malformed"), (b"Bearer x.y.z", "malformed")):
        options = fl.FlightCallOptions(headers=[] if header is None else [(b"authorization", header)])
        before = door.metric(f'lake_gateway_unauthenticated_total{{reason="{reason}"}}')
        refusal(lambda options=options: CALLS["actions"](client, options))  # type: ignore[misc]
        assert door.metric(f'lake_gateway_unauthenticated_total{{reason="{reason}"}}') == before + 1


@pytest.mark.parametrize("name", ["unknown action", "flights", "put", "exchange"])
def test_what_a_lake_does_not_do_is_refused_in_words(door: Opened, client: fl.FlightClient, name: str) -> None:
    """By who may come in, too."""
    kind, document = refusal(lambda: CALLS[name](client, door.options()))
    assert (kind, document["error"], document["retryable"]) == (fl.FlightServerError, "usage", False)


def test_what_is_no_command_is_refused(door: Opened, client: fl.FlightClient) -> None:
    """Paths, rubbish, and messages that are something else."""
    results = wire.pack(wire.ActionCancelQueryResult(result=1))
    for descriptor in (PATH, *map(fl.FlightDescriptor.for_command, (b"", b"\xff\xff", b"SELECT 1", results))):
        _, document = refusal(lambda given=descriptor: client.get_flight_info(given, door.options()))  # type: ignore[misc]
        assert document["error"] == "usage"


def test_a_schema_is_given_or_nothing_is_said(door: Opened, client: fl.FlightClient) -> None:
    """pyarrow tells errors of this call in its own words; none of ours are among them."""
    found = client.get_schema(query("SELECT app, n FROM events"), door.options()).schema
    assert found == pa.schema([("app", pa.string()), ("n", pa.int32())])
    for descriptor, options in (
        (query("SELECT canary FROM nowhere"), door.options()),
        (PATH, door.options()),
        (query("SELECT app FROM events"), fl.FlightCallOptions()),
    ):
        with pytest.raises((pa.ArrowException, OSError, TypeError)) as caught:
            client.get_schema(descriptor, options)
        for word in ("canary", "nowhere", "lake/", "/work", "server.py"):
            assert word not in str(caught.value)


def test_a_handshake_gives_the_token_back(door: Opened, client: fl.FlightClient) -> None:
    """User and password, the token as the password; the header that comes back lets in."""
    name, value = client.authenticate_basic_token("whoever", door.token("stu", "study"))
    options = fl.FlightCallOptions(headers=[(name, value)])
    assert ask(client, options, wire.CommandStatementQuery(query=COUNT)).to_pylist() == [{"n": 66}]
    kind, _ = refusal(lambda: client.authenticate_basic_token("stu", "wrong"))
    assert kind is fl.FlightUnauthenticatedError


def test_a_purpose_is_chosen_by_a_header(door: Opened, client: fl.FlightClient) -> None:
    """Of several one must be, and only of those that the token has."""
    both = ("study", "incident")
    for purpose, count in (("study", 66), ("incident", 66)):
        options = door.options("stu", *both, x_lake_purpose=purpose)
        assert ask(client, options, wire.CommandStatementQuery(query=COUNT)).to_pylist() == [{"n": count}]
    for options in (door.options("stu", *both), door.options("stu", *both, x_lake_purpose="own_data")):
        kind, _ = refusal(lambda options=options: client.get_flight_info(query(COUNT), options))  # type: ignore[misc]
        assert kind is fl.FlightUnauthenticatedError


def test_a_role_is_chosen_by_a_header(door: Opened, client: fl.FlightClient) -> None:
    """Two of them grant the same table, so one is to be named."""
    options = door.options("dual", "study")
    _, document = refusal(lambda: client.get_flight_info(query(COUNT), options))
    assert "role" in document["message"] + document["hint"]
    counts = {}
    for role in ("student", "cohort"):
        options = door.options("dual", "study", x_lake_role=role)
        (counts[role],) = ask(client, options, wire.CommandStatementQuery(query=COUNT)).column("n").to_pylist()
    assert counts["student"] != counts["cohort"]


def test_what_is_not_granted_looks_like_what_does_not_exist(door: Opened, client: fl.FlightClient) -> None:
    """The same class, code, message and hint, the name aside."""
    answers = []
    for table in ("moods", "nowhere"):
        asked, options = query(f"SELECT * FROM {table}"), door.options("stu", "study")  # noqa: S608
        kind, document = refusal(lambda asked=asked, options=options: client.get_flight_info(asked, options))  # type: ignore[misc]
        text = json.dumps({name: document[name] for name in ("error", "message", "hint", "retryable")})
        answers.append((kind, text.replace(table, "TABLE")))
    assert answers[0] == answers[1]
    assert answers[0][0] is fl.FlightUnauthorizedError


@pytest.mark.parametrize("error", [ValueError(CANARY), KeyError(CANARY), pa.ArrowInvalid(CANARY), OSError(2, CANARY)])
@pytest.mark.parametrize("name", ["describe", "run", "tables"])
def test_errors_that_should_not_occur_say_nothing(
    door: Opened, name: str, error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither to the caller nor to the log, which has the id and the place."""
    message: Any = wire.CommandStatementQuery(query=COUNT)
    if name == "tables":
        message = wire.CommandGetTables()

    def broken(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(GatewayService, name, broken)
    with caplog.at_level(logging.INFO), fl.connect(door.url) as client:
        kind, document = refusal(lambda: ask(client, door.options(), message))
    assert kind is fl.FlightInternalError
    assert document["message"] == "an error that should not occur"
    assert CANARY not in caplog.text + json.dumps(document)
    assert f"{document['id']}: {type(error).__name__} at test_calls.py" in caplog.text


def test_errors_of_the_lake_are_told_by_code_alone(
    door: Opened, client: fl.FlightClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has the rest, under the id that the caller has."""
    for error, kind, retryable in (
        (UnavailableError("the object data/x.parquet cannot be read"), fl.FlightUnavailableError, True),
        (IntegrityError("the object data/x.parquet is not what was written"), fl.FlightInternalError, False),
    ):

        def broken(*_: Any, error: Exception = error, **__: Any) -> Any:
            raise error

        monkeypatch.setattr(GatewayService, "run", broken)
        with caplog.at_level(logging.INFO):
            found, document = refusal(lambda: ask(client, door.options(), wire.CommandStatementQuery(query=COUNT)))
        assert (found, document["error"], document["retryable"]) == (kind, error.code, retryable)
        assert "parquet" not in json.dumps(document)
        assert f"{document['id']}: {error.code}: the object data/x.parquet" in caplog.text


def test_sql_is_bounded(service: GatewayService) -> None:
    """By characters, and a command by bytes; nothing of it comes back."""
    with opened(service, sql=100, command=300) as door, fl.connect(door.url) as client:
        for length, words in ((101, "has 101 characters, at most 100"), (400, "at most 300 bytes")):
            sql = ("SELECT 'canary'" + " " * 1000)[:length]
            _, document = refusal(lambda sql=sql: client.get_flight_info(query(sql), door.options()))  # type: ignore[misc]
            assert words in document["message"] + document["hint"]
            assert "canary" not in document["message"]


def test_so_many_calls_are_let_in(service: GatewayService) -> None:
    """Of one caller and of all; who is one too many is told to try again, and not kept waiting."""
    with opened(service, calls=2, calls_each=1) as door, fl.connect(door.url) as client:
        readers = []
        for user, purpose in ((w.VERA, "incident"), ("stu", "study")):
            options = door.options(user, purpose)
            sql = "SELECT a.n, b.ts FROM events a, events b, range(400)"
            info = client.get_flight_info(query(sql), options)
            readers.append(client.do_get(info.endpoints[0].ticket, options))
            readers[-1].read_chunk()
            kind, document = refusal(lambda options=options: client.get_flight_info(query(COUNT), options))  # type: ignore[misc]
            assert (kind, document["error"], document["retryable"]) == (
                fl.FlightUnavailableError, "unavailable", True
            )  # fmt: skip
            assert "you have 1 calls" in document["message"]
            assert list(client.do_action(fl.Action("CloseSession", b""), options))
        _, document = refusal(lambda: client.get_flight_info(query(COUNT), door.options("coco", "study")))
        assert "too many calls" in document["message"]
        for reader in readers:
            reader.cancel()
        assert door.door.gate.wait_empty(30)
        assert client.get_flight_info(query(COUNT), door.options("coco", "study")).endpoints


def test_a_token_that_has_expired_lets_nobody_in(door: Opened, client: fl.FlightClient) -> None:
    """Nor does one of another lake, or of local tokens where they are off."""
    old = door.tokens.sign(
        Wanted("stu", ("study",)),
        "0" * 32,
        w.NOW - timedelta(days=2),
    ).text
    options = fl.FlightCallOptions(headers=[(b"authorization", f"Bearer {old}".encode())])
    assert refusal(lambda: list(client.list_actions(options)))[0] is fl.FlightUnauthenticatedError
    with opened(door.service, rules=IdentityRules()) as other, fl.connect(other.url) as there:
        assert refusal(lambda: list(there.list_actions(door.options())))[0] is fl.FlightUnauthenticatedError
