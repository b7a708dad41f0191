"""ActivityWatch's server as bridges see it, over real HTTP: buckets, heartbeats, paging and cutting as it does them.

After the behaviour of aw-server 0.13 and aw-core: times in whole milliseconds, ``start`` rounded down and ``end`` up,
newest first, events cut to the range that was asked for, a heartbeat merged into the newest event.
"""

from __future__ import annotations

import json
import re
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MS = timedelta(milliseconds=1)


def whole(moment: datetime) -> datetime:
    """In whole milliseconds, UTC."""
    return moment.astimezone(UTC).replace(microsecond=moment.microsecond // 1000 * 1000)


@dataclass
class Stored:
    """An event as the server keeps it."""

    id: int
    timestamp: datetime
    duration: timedelta
    data: dict[str, Any]

    def document(self, begin: datetime | None = None, end: datetime | None = None) -> dict[str, Any]:
        """As it is shown, cut to a range."""
        first, last = self.timestamp, self.timestamp + self.duration
        if begin is not None and first < begin:
            first = begin
        if end is not None and last > end:
            last = end
        return {
            "id": self.id,
            "timestamp": first.isoformat(),
            "duration": (last - first).total_seconds(),
            "data": self.data,
        }


@dataclass
class Bucket:
    """A bucket as the server keeps it."""

    type: str
    hostname: str
    client: str = "watcher"
    events: list[Stored] = field(default_factory=list)


@dataclass
class AwDouble:
    """What is in the server, and how it misbehaves: ``fault`` is a word of ``Handler.fail``."""

    hostname: str = "laptop"
    buckets: dict[str, Bucket] = field(default_factory=dict)
    fault: str = ""
    requests: list[str] = field(default_factory=list)
    url: str = ""
    last: dict[str, Stored] = field(default_factory=dict)
    _last: int = 0

    def bucket(self, name: str, kind: str, hostname: str | None = None) -> str:
        """One bucket more."""
        self.buckets[name] = Bucket(kind, hostname or self.hostname)
        return name

    def insert(self, bucket: str, begin: datetime, seconds: float, data: dict[str, Any]) -> Stored:
        """An event of its own."""
        self._last += 1
        event = Stored(self._last, whole(begin), timedelta(seconds=seconds), data)
        self.buckets[bucket].events.append(event)
        return event

    def heartbeat(self, bucket: str, at: datetime, data: dict[str, Any], pulse: float) -> Stored:
        """Merged into the event that came last if it says the same and comes in time, else an event of its own.

        As in the server, the merged event takes the place of the one with the latest time, whichever that is.
        """
        at, last = whole(at), self.last.get(bucket)
        if last is not None and last.data == data:
            latest = last.timestamp + last.duration + timedelta(seconds=pulse)
            if last.timestamp <= at <= latest:
                newest = max(self.buckets[bucket].events, key=lambda event: event.timestamp)
                length = max(last.duration, at - last.timestamp)
                newest.timestamp, newest.duration, newest.data = last.timestamp, length, data
                self.last[bucket] = replace(newest)
                return newest
        self.last[bucket] = replace(self.insert(bucket, at, 0, data))
        return self.last[bucket]

    def events(self, bucket: str, query: dict[str, str]) -> list[dict[str, Any]]:
        """As ``GET …/events`` has them."""
        start = whole(datetime.fromisoformat(query["start"])) if "start" in query else None
        end = whole(datetime.fromisoformat(query["end"])) + MS if "end" in query else None
        limit = int(query.get("limit", "-1"))
        found = [
            event
            for event in self.buckets[bucket].events
            if (start is None or event.timestamp + event.duration >= start) and (end is None or event.timestamp <= end)
        ]
        found.sort(key=lambda event: event.timestamp, reverse=True)
        return [event.document(start, end) for event in (found if limit < 0 else found[:limit])]

    def export(self) -> dict[str, Any]:
        """As ``GET /api/0/export`` has it: events without numbers."""
        shown = {name: self._bucket(name) for name in self.buckets}
        for name, document in shown.items():
            document["events"] = [
                {key: value for key, value in event.items() if key != "id"} for event in self.events(name, {})
            ]
        return {"buckets": shown}

    def answer(self, path: str) -> tuple[int, Any]:
        """What a request gets."""
        parts = urllib.parse.urlsplit(path)
        self.requests.append(parts.path)
        query = dict(urllib.parse.parse_qsl(parts.query))
        if parts.path == "/api/0/info":
            return 200, {"hostname": self.hostname, "version": "v0.13.2", "testing": False, "device_id": "d"}
        if parts.path == "/api/0/export":
            return 200, self.export()
        if parts.path == "/api/0/buckets/":
            return 200, {name: self._bucket(name) for name in self.buckets}
        match = re.fullmatch(r"/api/0/buckets/([^/]+)/events(?:/(\d+))?", parts.path)
        name = urllib.parse.unquote(match[1]) if match else ""
        if match is None or name not in self.buckets:
            return 404, {"message": "There's no bucket with that name"}
        if match[2] is None:
            return 200, self.events(name, query)
        one = [event for event in self.buckets[name].events if event.id == int(match[2])]
        return (200, one[0].document()) if one else (404, None)

    def _bucket(self, name: str) -> dict[str, Any]:
        one = self.buckets[name]
        return {"id": name, "type": one.type, "client": one.client, "hostname": one.hostname, "created": "2026-01-01"}


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    double: AwDouble

    def do_GET(self) -> None:
        status, document = self.double.answer(self.path)
        content = json.dumps(document).encode()
        match self.double.fault:
            case "error":
                status, content = 500, b"{}"
            case "garbage":
                content = b"<html>not json"
            case "shape":
                content = b'{"a": 1}' if content.startswith(b"[") else b"[1, 2]"
            case "event" if "/events" in self.path:
                content = b'[{"id": 1, "timestamp": "yesterday", "duration": 0, "data": {}}]'
            case "hang":
                self.close_connection = True
                self.server.stopping.wait(20)  # type: ignore[attr-defined]
                return
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if self.double.fault == "cut" else content)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@contextmanager
def serving(double: AwDouble) -> Iterator[AwDouble]:
    """Over HTTP until the block ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"double": double}))
    server.daemon_threads = True
    server.stopping = threading.Event()  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    double.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield double
    finally:
        server.stopping.set()  # type: ignore[attr-defined]
        server.shutdown()
        server.server_close()
        thread.join()
