"""Prometheus metrics of a gateway. Labels are words of closed sets: no user, table, purpose or SQL."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest

_SECONDS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)

Figures = Callable[[], Mapping[str, float]]
"""Gives figures by name, when they are asked for."""


class Metrics:
    """Counts what a gateway does, in a registry of its own; safe for many threads."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._calls = Counter(
            "lake_gateway_calls", "Calls that ended, by kind and outcome.", ["kind", "code"], registry=self._registry
        )
        self._seconds = Histogram(
            "lake_gateway_call_seconds", "How long calls took.", ["kind"], buckets=_SECONDS, registry=self._registry
        )
        self._rows = Counter("lake_gateway_rows", "Rows that were sent.", registry=self._registry)
        self._bytes = Counter("lake_gateway_bytes", "Arrow bytes that were sent.", registry=self._registry)
        self._streams = Gauge("lake_gateway_streams", "Results that are being sent.", registry=self._registry)
        self._refused = Counter(
            "lake_gateway_unauthenticated", "Calls by nobody who is known, by reason.", ["reason"],
            registry=self._registry,
        )  # fmt: skip

    def watch(self, figures: Figures) -> None:
        """Show figures as gauges, such as sandboxes in use; each is read when metrics are asked for."""
        self._registry.register(_Watched(figures))

    def ended(self, kind: str, code: str, seconds: float) -> None:
        """A call has ended; ``ok``, ``gone`` for a client that left, or the code of an error."""
        self._calls.labels(kind, code).inc()
        self._seconds.labels(kind).observe(seconds)

    def sent(self, rows: int, size: int) -> None:
        """Rows have left."""
        self._rows.inc(rows)
        self._bytes.inc(size)

    def stream(self, change: int) -> None:
        """A result begins to be sent (1), or does no longer (-1)."""
        self._streams.inc(change)

    def refused(self, reason: str) -> None:
        """Somebody was not authenticated."""
        self._refused.labels(reason).inc()

    def text(self) -> bytes:
        """All of them in Prometheus' text format."""
        return generate_latest(self._registry)


class _Watched:
    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def collect(self) -> Iterable[Metric]:
        """One gauge for each figure."""
        for name, value in self._figures().items():
            yield GaugeMetricFamily(f"lake_gateway_{name}", f"The gateway's {name.replace('_', ' ')}.", value=value)

    def describe(self) -> Iterable[Metric]:
        """Nothing, as the figures are not known before they are asked for."""
        return ()
