"""Figures of jobs for Prometheus: served by the daemon, or written as a text file for the node exporter by a cron run.

Labels are words of closed sets: the job's name, a state or an error's code, the name of a count.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from lake.cli.output import private_file
from lake.errors import UsageError

_SECONDS = (0.05, 0.25, 1, 5, 15, 60, 300, 1800, 7200, 43_200)


class Figures(Protocol):
    """Where figures go."""

    def item(self, job: str, code: str, seconds: float) -> None:
        """An item was closed: ``ok``, or the code of its error."""

    def ended(self, job: str, state: str, seconds: float, counts: Mapping[str, int]) -> None:
        """A run ended, or was cut off with an error's code."""


class _NoFigures:
    def item(self, job: str, code: str, seconds: float) -> None:
        """Nothing."""

    def ended(self, job: str, state: str, seconds: float, counts: Mapping[str, int]) -> None:
        """Nothing."""


NO_METRICS: Figures = _NoFigures()


class JobMetrics:
    """Figures in a registry of their own.

    Raises:
        UsageError: the package for it is not installed.
    """

    def __init__(self) -> None:
        try:
            from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram  # noqa: PLC0415 - optional
        except ModuleNotFoundError:
            raise UsageError("metrics need another package", hint="pip install 'telemetry-lake[gateway]'") from None
        self._registry = registry = CollectorRegistry()
        self._runs = Counter(
            "lake_job_runs", "Runs that ended, by state or error.", ["job", "state"], registry=registry
        )
        self._items = Counter("lake_job_items", "Items that were closed.", ["job", "code"], registry=registry)
        self._seconds = Histogram(
            "lake_job_run_seconds", "How long runs took.", ["job"], buckets=_SECONDS, registry=registry
        )
        self._counts = Counter("lake_job_work", "What was done.", ["job", "what"], registry=registry)
        self._last = Gauge(
            "lake_job_last_end_timestamp_seconds", "When a run last ended well.", ["job"], registry=registry
        )

    def item(self, job: str, code: str, seconds: float) -> None:  # noqa: ARG002 - the port has it
        """See Figures."""
        self._items.labels(job, code).inc()

    def ended(self, job: str, state: str, seconds: float, counts: Mapping[str, int]) -> None:
        """See Figures."""
        self._runs.labels(job, state).inc()
        self._seconds.labels(job).observe(seconds)
        for name, count in counts.items():
            self._counts.labels(job, name).inc(count)
        if state == "done":
            self._last.labels(job).set_to_current_time()

    def text(self) -> bytes:
        """All of them in Prometheus' text format."""
        from prometheus_client.exposition import generate_latest  # noqa: PLC0415 - optional

        return generate_latest(self._registry)

    def write(self, path: Path) -> None:
        """As a file that appears whole or not at all."""
        with private_file(path) as file:
            file.write(self.text())
