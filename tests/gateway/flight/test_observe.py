"""Metrics, health and traces: counts and codes, and nothing of what was asked or read."""

from __future__ import annotations

import re
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.flight as fl
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from lake.errors import AuditUnavailableError, DeniedError, UsageError
from lake.gateway.observe import tracing
from lake.gateway.observe.health import HealthServer
from lake.gateway.observe.metrics import Metrics
from lake.wire import flight_sql as wire
from tests import world as w
from tests.gateway.flight.asking import ask, bind, prepare, refusal
from tests.gateway.flight.doors import Opened

LABELS = {"kind", "code", "reason", "le"}
SECRETS = (w.VERA, "stu", "study", "events", "Mail-QX", w.ADA, "count(", "SELECT")


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    """Spans of this process, in memory."""
    found = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(found))
    tracing.use_tracer(provider.get_tracer("test"))
    yield found
    tracing.use_tracer(None)
    provider.shutdown()


def busy(door: Opened, client: fl.FlightClient) -> None:
    """Calls of every kind, with and without success."""
    options = door.options("stu", "study")
    sql = "SELECT count(*) AS n FROM events WHERE app = 'Mail-QX'"
    ask(client, options, wire.CommandStatementQuery(query=sql))
    ask(client, options, wire.CommandGetTables())
    handle = prepare(client, options, "SELECT n FROM events WHERE app = ?").prepared_statement_handle
    bind(client, options, handle, pa.record_batch({"1": ["Mail-QX"]}))
    ask(client, options, wire.CommandPreparedStatementQuery(prepared_statement_handle=handle))
    ask(client, door.options(x_lake_endpoints="2"), wire.CommandStatementQuery(query="SELECT n FROM events"))
    refusal(lambda: ask(client, options, wire.CommandStatementQuery(query="SELECT * FROM moods")))
    refusal(lambda: list(client.list_actions()))
    assert door.door.gate.wait_empty(30)


def test_metrics_count_and_tell_nothing(door: Opened, client: fl.FlightClient) -> None:
    """Labels are words of closed sets."""
    busy(door, client)
    text = door.metrics.text().decode()
    assert set(re.findall(r'[{,](\w+)="', text)) <= LABELS
    assert set(re.findall(r'kind="(\w+)"', text)) <= {
        "handshake", "metadata", "describe", "query", "prepare", "bind", "close", "cancel", "other"
    }  # fmt: skip
    for word in SECRETS:
        assert word not in text
    assert door.metric('lake_gateway_calls_total{code="ok",kind="query"}') == 4
    assert door.metric('lake_gateway_calls_total{code="denied",kind="describe"}') == 1
    assert door.metric('lake_gateway_unauthenticated_total{reason="missing"}') == 1
    assert door.metric("lake_gateway_rows_total") > len(w.known_rows())


def test_figures_are_read_when_they_are_asked_for() -> None:
    """A gauge for each."""
    metrics = Metrics()
    figures = {"sandboxes_used": 1.0}
    metrics.watch(lambda: figures)
    assert b"\nlake_gateway_sandboxes_used 1.0\n" in metrics.text()
    figures["sandboxes_used"] = 3.0
    assert b"\nlake_gateway_sandboxes_used 3.0\n" in metrics.text()


def test_spans_tell_counts_and_codes_only(
    door: Opened, client: fl.FlightClient, exporter: InMemorySpanExporter
) -> None:
    """The set of names and keys is closed, whatever is asked; no span has an event or a text of an error."""
    busy(door, client)
    spans = exporter.get_finished_spans()
    assert {span.name.removeprefix("lake.") for span in spans} == {
        "auth", "call", "describe", "split", "guard", "plan", "keys", "slice", "sandbox", "start", "stream"
    }  # fmt: skip
    for span in spans:
        assert {key.removeprefix("lake.") for key in span.attributes or {}} <= tracing.ATTRIBUTES
        assert not span.events
        assert not span.status.description
        told = f"{span.name} {dict(span.attributes or {})}"
        assert not any(word in told for word in SECRETS)
    codes = [span.attributes["lake.code"] for span in spans if span.attributes and "lake.code" in span.attributes]
    assert {"denied", "unauthenticated"} <= set(codes)
    (first, *_) = [span for span in spans if span.name == "lake.stream"]
    assert first.attributes is not None
    assert first.attributes["lake.rows"] == 1


def test_spans_cannot_be_made_to_say_more(exporter: InMemorySpanExporter) -> None:
    """Another key or name is an error of the program."""
    with tracing.step("describe") as span, pytest.raises(ValueError, match="does not say"):
        span.say(sql="SELECT 1")
    with pytest.raises(ValueError, match="no step"), tracing.step("SELECT 1"):
        pass
    with pytest.raises(DeniedError), tracing.step("guard"):
        raise DeniedError("canary")
    assert "canary" not in str([span.to_json() for span in exporter.get_finished_spans()])


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_SERVICE_NAME": "x"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_nothing_is_traced_unasked(environment: dict[str, str]) -> None:
    """Only where the standard variables name a collector."""
    assert tracing.configure(environment) is None


def test_traces_go_where_the_environment_says() -> None:
    """A provider, which is shut down."""
    provider = tracing.configure({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"})
    assert provider is not None
    tracing.use_tracer(None)
    provider.shutdown()


class Checked:
    """A check whose answer a test sets."""

    def __init__(self) -> None:
        self.error: Exception | None = None

    def __call__(self) -> None:
        """Raise it."""
        if self.error is not None:
            raise self.error


@pytest.fixture
def check() -> Checked:
    """A gateway that is ready."""
    return Checked()


@pytest.fixture
def health(check: Checked) -> Iterator[HealthServer]:
    """A health server."""
    server = HealthServer(("127.0.0.1", 0), Metrics(), check)
    yield server
    server.close()


def got(health: HealthServer, path: str) -> tuple[int, str]:
    """Status and text."""
    try:
        with urllib.request.urlopen(health.address + path, timeout=10) as answer:  # noqa: S310
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_health_is_told(health: HealthServer, check: Checked) -> None:
    """Alive, ready, not ready with a code; the text of an error stays here."""
    assert got(health, "/healthz") == (200, "alive\n")
    assert got(health, "/readyz") == (200, "ready\n")
    for error, code in ((AuditUnavailableError("canary"), "audit_unavailable"), (ValueError("canary"), "failed")):
        check.error = error
        assert got(health, "/readyz") == (503, f"not ready: {code}\n")
        assert got(health, "/healthz")[0] == 200
    assert "lake_gateway_streams 0.0" in got(health, "/metrics")[1]
    assert got(health, "/secret-canary")[0] == 404
    assert "canary" not in got(health, "/secret-canary")[1]


def test_a_client_that_says_nothing_keeps_nobody_waiting(health: HealthServer) -> None:
    """Others are answered, and closing does not wait for it."""
    place = health.address.removeprefix("http://").rpartition(":")
    with socket.create_connection((place[0], int(place[2]))):
        assert got(health, "/healthz")[0] == 200


def test_a_port_in_use_is_told(health: HealthServer, check: Checked) -> None:
    """As a mistake of who started it."""
    host, _, port = health.address.removeprefix("http://").rpartition(":")
    with pytest.raises(UsageError, match="cannot be served"):
        HealthServer((host, int(port)), Metrics(), check)
