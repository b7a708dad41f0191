"""Prometheus metrics of an ingest server. Labels are words of closed sets: no device, employee or dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest

_SECONDS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class ReceivingMetrics:
    """Counts what the server does, in a registry of its own; safe for many threads."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()

        def counter(name: str, what: str, *labels: str) -> Counter:
            return Counter(f"lake_ingest_{name}", what, labels, registry=self._registry)

        self._requests = counter("requests", "Requests that ended, by kind and outcome.", "kind", "code")
        self._unauthenticated = counter("unauthenticated", "Requests of nobody who is known, by reason.", "reason")
        self._batches = counter("batches", "Batches that were acknowledged, by status.", "status")
        self._rows = counter("rows", "Rows that landed.")
        self._bytes = counter("body_bytes", "Bytes of bodies that came.")
        self._seconds = Histogram(
            "lake_ingest_request_seconds", "How long requests took.", ["kind"], buckets=_SECONDS,
            registry=self._registry,
        )  # fmt: skip

    def watch(self, figures: Callable[[], Mapping[str, float]]) -> None:
        """Show figures as gauges; each is read when metrics are asked for."""
        self._registry.register(_Watched(figures))

    def ended(self, kind: str, code: str, seconds: float) -> None:
        """A request has ended; ``ok``, or the code of an error."""
        self._requests.labels(kind, code).inc()
        self._seconds.labels(kind).observe(seconds)

    def unauthenticated(self, reason: str) -> None:
        """Somebody was not authenticated."""
        self._unauthenticated.labels(reason or "none").inc()

    def acknowledged(self, status: str, rows: int) -> None:
        """A batch has landed now, or before."""
        self._batches.labels(status).inc()
        self._rows.inc(rows)

    def received(self, size: int) -> None:
        """Bytes of a body have come."""
        self._bytes.inc(size)

    def text(self) -> bytes:
        """All of them in Prometheus' text format."""
        return generate_latest(self._registry)


class _Watched:
    def __init__(self, figures: Callable[[], Mapping[str, float]]) -> None:
        self._figures = figures

    def collect(self) -> Iterable[Metric]:
        """One gauge for each figure."""
        for name, value in self._figures().items():
            yield GaugeMetricFamily(f"lake_ingest_{name}", f"The server's {name.replace('_', ' ')}.", value=value)

    def describe(self) -> Iterable[Metric]:
        """Nothing, as the figures are not known before they are asked for."""
        return ()
