"""Reading ActivityWatch's server: every event once and whole, however it pages and cuts; garbage is an error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lake.collector.aw_server import AwServer, _bucket, _event
from lake.errors import LakeError, MalformedInputError, UnavailableError, UsageError
from tests.collector.aw_double import AwDouble, serving

START = datetime(2026, 9, 15, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def double() -> Iterator[AwDouble]:
    """One server for all."""
    with serving(AwDouble()) as running:
        yield running


@given(
    gaps=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 20)), max_size=30),
    page=st.integers(1, 7),
    after=st.integers(-3, 60),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_event_once_and_whole(double: AwDouble, gaps: list[tuple[int, int]], page: int, after: int) -> None:
    """Also if events overlap, begin in the same second or reach over what was asked for."""
    double.buckets.clear()
    bucket = double.bucket("b", "currentwindow")
    at = START
    for gap, seconds in gaps:
        at += timedelta(seconds=gap)
        double.insert(bucket, at, seconds, {"app": "x"})
    stored = double.buckets[bucket].events
    same = max((sum(1 for one in stored if one.timestamp == event.timestamp) for event in stored), default=0)
    since = START + timedelta(seconds=after)
    found = AwServer(double.url, page=max(page, same + 1)).events(bucket, since)
    expected = sorted((e for e in stored if e.timestamp > since), key=lambda e: (e.timestamp, e.id))
    assert [(e.id, e.begin, e.duration) for e in found] == [(e.id, e.timestamp, e.duration) for e in expected]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("error", UnavailableError),
        ("cut", UnavailableError),
        ("hang", UnavailableError),
        ("garbage", MalformedInputError),
        ("shape", MalformedInputError),
        ("event", MalformedInputError),
    ],
)
def test_a_server_that_is_wrong_is_a_typed_error(fault: str, error: type[LakeError]) -> None:
    with serving(AwDouble(fault=fault)) as double:
        bucket = double.bucket("b", "currentwindow")
        with pytest.raises(error):
            AwServer(double.url, timeout=0.2).events(bucket, START)
        if fault != "event":
            with pytest.raises(error):
                AwServer(double.url, timeout=0.2).buckets()


def test_a_server_that_is_not_there(double: AwDouble) -> None:
    with pytest.raises(UnavailableError):
        AwServer("http://127.0.0.1:1").host()
    with pytest.raises(UnavailableError):
        AwServer(double.url).events("none", START)


@pytest.mark.parametrize("url", ["https://127.0.0.1:5600", "http://example.com:5600", "http://127.0.0.1:x", "5600"])
def test_only_this_machine_is_asked(url: str) -> None:
    with pytest.raises(UsageError):
        AwServer(url)


def test_buckets_and_host(double: AwDouble) -> None:
    double.buckets.clear()
    double.bucket("b/1", "afkstatus", "other")
    server = AwServer(double.url)
    assert server.host() == "laptop"
    (bucket,) = server.buckets()
    assert (bucket.id, bucket.type, bucket.host) == ("b/1", "afkstatus", "other")
    double.insert("b/1", START, 1, {"status": "afk"})
    assert len(server.events("b/1", START - timedelta(seconds=1))) == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
TIMES = st.sampled_from(["2026-09-15T12:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "x", 5])


@given(
    value=st.fixed_dictionaries(
        {},
        optional={"id": JSON, "timestamp": TIMES | JSON, "duration": JSON, "data": st.just({"app": "x"}) | JSON},
    )
    | JSON
)
@settings(max_examples=300, deadline=None)
def test_whatever_it_says_is_an_event_or_a_typed_error(value: Any) -> None:
    for read in (_event, lambda one: _bucket("b", one)):
        with suppress(MalformedInputError):
            read(value)
