"""The local REST API of ActivityWatch's server, as far as a bridge needs it, read as what a stranger says.

Below ``/api/0``: ``info``, ``buckets/``, ``buckets/ID/events?start=&end=&limit=``, ``buckets/ID/events/NUMBER``.
Events come newest first. The server cuts those that reach over ``start`` or ``end``: what touches ``end`` is looked up
whole, and what begins at ``start`` is not taken.
"""

from __future__ import annotations

import http.client
import json
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from lake.clock import parse_timestamp
from lake.errors import MalformedInputError, UnavailableError, UsageError

DEFAULT = "http://127.0.0.1:5600"
PAGE = 500
LARGEST_ANSWER = 16 * 1024 * 1024
MOST_PAGES = 1000
LONGEST = timedelta(days=3660)
FIRST_YEAR, LAST_YEAR = 1970, 2200
"""Beyond which an event is taken for garbage."""
_HINT = "is aw-server running, and is this its address?"


@dataclass(frozen=True, slots=True)
class AwBucket:
    """One bucket; ``type`` and ``host`` as its watcher gave them."""

    id: str
    type: str
    host: str


@dataclass(frozen=True, slots=True)
class AwEvent:
    """One event; ``begin`` in UTC with an offset, exact to the millisecond. Its ``repr`` shows no data."""

    id: int
    begin: datetime
    duration: timedelta
    data: Mapping[str, Any] = field(repr=False)

    @property
    def end(self) -> datetime:
        """When it ended, or was last seen."""
        return self.begin + self.duration


class AwServer:
    """A server on this machine.

    Args:
        url: ``http://127.0.0.1:5600``; only loopback, as what it says is in the clear.

    Raises:
        UsageError: the address is none, or of another machine.
    """

    def __init__(self, url: str = DEFAULT, *, timeout: float = 10.0, page: int = PAGE) -> None:
        parts = urllib.parse.urlsplit(url)
        try:
            self._place = parts.hostname or "", parts.port or 80
        except ValueError:
            raise UsageError("the port of aw-server is none", hint=f"such as {DEFAULT}") from None
        if parts.scheme != "http" or self._place[0] not in {"127.0.0.1", "localhost", "::1"}:
            raise UsageError("aw-server is asked on this machine only", hint=f"such as {DEFAULT}")
        self._timeout = timeout
        self._page = page

    def host(self) -> str:
        """The name of the machine, as the server knows it."""
        return str(self._object("/api/0/info", "hostname", str))

    def buckets(self) -> list[AwBucket]:
        """Every bucket, by id.

        Raises:
            UnavailableError: no answer.
            MalformedInputError: an answer that is none.
        """
        found = self._get("/api/0/buckets/")
        if not isinstance(found, dict):
            raise _malformed("the buckets")
        return [_bucket(name, found[name]) for name in sorted(found)]

    def events(self, bucket: str, after: datetime) -> list[AwEvent]:
        """Events that began after a time, oldest first, each whole; the last of them may still grow.

        Raises:
            UnavailableError: no answer.
            MalformedInputError: an answer that is none.
        """
        found: dict[int, AwEvent] = {}
        end: datetime | None = None
        for _ in range(MOST_PAGES):
            part = self._part(bucket, after, end)
            for event in part:
                if event.id in found or event.begin <= after:
                    continue
                cut = end is not None and event.end >= end
                found[event.id] = self._one(bucket, event.id) if cut else event
            oldest = min((event.begin for event in part), default=after)
            if len(part) < self._page or oldest <= after:
                break
            if oldest == end:
                # More events of one millisecond than fit a page: the rest is older, or never comes.
                oldest -= timedelta(milliseconds=1)
            end = oldest
        return sorted(found.values(), key=lambda event: (event.begin, event.id))

    def _part(self, bucket: str, start: datetime, end: datetime | None) -> list[AwEvent]:
        query = {"start": start.isoformat(), "limit": str(self._page)}
        if end is not None:
            query["end"] = end.isoformat()
        found = self._get(f"{_events(bucket)}?{urllib.parse.urlencode(query)}")
        if not isinstance(found, list):
            raise _malformed("the events")
        return [_event(one) for one in found]

    def _one(self, bucket: str, number: int) -> AwEvent:
        return _event(self._get(f"{_events(bucket)}/{number}"))

    def _object(self, path: str, key: str, kind: type) -> Any:
        found = self._get(path)
        value = found.get(key) if isinstance(found, dict) else None
        if not isinstance(value, kind):
            raise _malformed(repr(key))
        return value

    def _get(self, path: str) -> Any:
        connection = http.client.HTTPConnection(*self._place, timeout=self._timeout)
        try:
            connection.request("GET", path, headers={"Accept": "application/json"})
            response = connection.getresponse()
            content = response.read(LARGEST_ANSWER + 1)
            if response.length:
                raise http.client.IncompleteRead(b"")  # cut off, or too long
        except (OSError, http.client.HTTPException):
            raise UnavailableError("aw-server does not answer", hint=_HINT) from None
        finally:
            connection.close()
        if response.status != 200:
            raise UnavailableError(f"aw-server answered {response.status}", hint=_HINT)
        try:
            return json.loads(content)
        except (ValueError, RecursionError):
            raise _malformed("its answer") from None


def _events(bucket: str) -> str:
    return f"/api/0/buckets/{urllib.parse.quote(bucket, safe='')}/events"


def _malformed(what: str) -> MalformedInputError:
    return MalformedInputError(f"aw-server: {what} cannot be read", hint=_HINT)


def _bucket(name: str, value: Any) -> AwBucket:
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        raise _malformed("a bucket")
    host = value.get("hostname")
    return AwBucket(name, value["type"], host if isinstance(host, str) else "")


def _event(value: Any) -> AwEvent:
    try:
        number, data, duration = value["id"], value["data"], value["duration"]
        begin = parse_timestamp(value["timestamp"]).astimezone(UTC)
        if type(number) is int and isinstance(data, dict) and type(duration) in {int, float}:
            length = timedelta(seconds=max(0.0, duration))
            begin = begin.replace(microsecond=begin.microsecond // 1000 * 1000)
            if length <= LONGEST and FIRST_YEAR <= begin.year <= LAST_YEAR:
                return AwEvent(number, begin, length, data)
    except (KeyError, TypeError, ValueError, OverflowError):
        pass
    raise _malformed("an event")
