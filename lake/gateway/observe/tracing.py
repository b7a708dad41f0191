"""OpenTelemetry spans of calls, where the standard ``OTEL_`` variables ask for them; otherwise they cost nothing.

A span has counts and codes. What it may say is a closed set of keys, and no event or exception is ever recorded, as
these would carry texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from keys.errors import KeysError
from lake.errors import LakeError, UsageError

STEPS = frozenset({"call", "auth", "describe", "split", "guard", "plan", "keys", "slice", "sandbox", "start", "stream"})
ATTRIBUTES = frozenset({"kind", "code", "parts", "tables", "files", "keys", "rows", "bytes", "batches", "columns"})
"""What a span may say, each as ``lake.NAME``."""

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")

_tracer: Any = None


def use_tracer(tracer: Any) -> None:
    """Trace from now on with an OpenTelemetry tracer; None stops it."""
    global _tracer  # noqa: PLW0603 - one for the process, as the steps are everywhere
    _tracer = tracer


def configure(environment: Mapping[str, str]) -> Any:
    """Trace if the environment names a collector.

    Returns:
        The provider, to be shut down at the end; None if nothing is traced.

    Raises:
        UsageError: it does, and the packages for that are not installed.
    """
    off = environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if off or environment.get("OTEL_TRACES_EXPORTER") == "none" or not any(map(environment.get, _ENDPOINTS)):
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ModuleNotFoundError:
        hint = "pip install 'telemetry-lake[gateway,otlp]', or unset OTEL_EXPORTER_OTLP_ENDPOINT"
        raise UsageError("traces need OpenTelemetry", hint=hint) from None
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    use_tracer(provider.get_tracer("lake.gateway"))
    return provider


class Span:
    """A step that may be traced."""

    __slots__ = ("_span",)

    def __init__(self, span: Any) -> None:
        self._span = span

    def say(self, **attributes: int | str) -> None:
        """Add counts and codes; a name that is not in the closed set is an error of the program."""
        if self._span is not None:
            for name, value in attributes.items():
                if name not in ATTRIBUTES:
                    raise ValueError(f"a span does not say {name}")
                self._span.set_attribute(f"lake.{name}", value)

    def end(self) -> None:
        """The step is over; only for spans of :func:`begin`."""
        if self._span is not None:
            self._span.end()


@contextmanager
def step(name: str, **attributes: int | str) -> Iterator[Span]:
    """A span around a step, within the one that is open in this thread; an error adds its code."""
    if _tracer is None:
        yield Span(None)
        return
    with _tracer.start_as_current_span(
        f"lake.{_known(name)}", record_exception=False, set_status_on_exception=False
    ) as span:
        own = Span(span)
        own.say(**attributes)
        try:
            yield own
        except (LakeError, KeysError) as error:
            own.say(code=error.code)
            raise


def begin(name: str) -> Span:
    """A span that ends with :meth:`Span.end`, for a step that goes on after a function has returned."""
    return Span(None if _tracer is None else _tracer.start_span(f"lake.{_known(name)}"))


def _known(name: str) -> str:
    if name not in STEPS:
        raise ValueError(f"there is no step {name}")
    return name
