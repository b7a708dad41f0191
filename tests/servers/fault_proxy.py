"""An HTTP proxy before a real S3 server that does to chosen requests what networks and servers do on bad days.

What the client signed passes unchanged, so that the server sees requests as they were made. A fault is a function of
the exchange; ``FaultProxy.on`` says which requests meet it.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import IO
from urllib.parse import unquote, urlsplit

from tests.servers.tcp_proxy import CHUNK, TcpProxy, end

FOREVER = 1_000_000
REASONS = {
    "AccessDenied": 403,
    "InternalError": 500,
    "InvalidAccessKeyId": 403,
    "NoSuchBucket": 404,
    "RequestTimeTooSkewed": 403,
    "ServiceUnavailable": 503,
    "SlowDown": 503,
    "XMinioStorageFull": 507,
}
_OWN = frozenset({"connection", "content-length", "keep-alive", "transfer-encoding"})


class CutError(OSError):
    """The connection ends here."""


@dataclass(frozen=True, slots=True)
class Request:
    """The head of a request; ``path`` with its query, percent signs undone."""

    method: str
    path: str
    target: str
    headers: list[tuple[str, str]]

    def header(self, name: str) -> str:
        """The value of a header, or nothing."""
        return next((value for key, value in self.headers if key.lower() == name), "")


@dataclass(slots=True)
class Answer:
    """What the server said."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


@dataclass(slots=True)
class Exchange:
    """One request that a fault has in its hands; ``pace`` is bytes a second, 0 for no limit."""

    request: Request
    client: socket.socket
    stream: IO[bytes]
    connect: Callable[[], socket.socket]
    pace: float = 0.0
    _body: bytes | None = None

    @property
    def length(self) -> int:
        """Bytes of the request's body."""
        return int(self.request.header("content-length") or 0)

    def body(self, most: int | None = None) -> bytes:
        """The request's body, or its first bytes."""
        if self._body is None:
            if self.request.header("expect").lower() == "100-continue":
                self.client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            wanted = self.length if most is None else min(most, self.length)
            parts = []
            while wanted and (part := self.stream.read(min(wanted, CHUNK))):
                parts.append(part)
                wanted -= len(part)
                self._wait(len(part))
            self._body = b"".join(parts)
        return self._body

    def forward(self, most: int | None = None) -> Answer:
        """Let the server have the request; cut after its body's first ``most`` bytes, where that is said."""
        body = self.body(most)
        upstream = self.connect()
        try:
            lines = [f"{self.request.method} {self.request.target} HTTP/1.1"]
            lines += [f"{name}: {value}" for name, value in self.request.headers if name.lower() != "expect"]
            upstream.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
            if len(body) < self.length:
                raise CutError
            response = http.client.HTTPResponse(upstream, method=self.request.method)
            response.begin()
            return Answer(response.status, response.getheaders(), response.read())
        finally:
            end(upstream)

    def reply(self, answer: Answer, *, length: int | None = None, most: int | None = None) -> None:
        """Send an answer, with another length than it has or cut after ``most`` bytes where that is said."""
        declared = length if length is not None else len(answer.body)
        kept = [(name, value) for name, value in answer.headers if name.lower() not in _OWN]
        if self.request.method == "HEAD":
            kept += [(name, value) for name, value in answer.headers if name.lower() == "content-length"]
        elif answer.status != 204:
            kept.append(("Content-Length", str(declared)))
        reason = http.client.responses.get(answer.status, "Unknown")
        head = [f"HTTP/1.1 {answer.status} {reason}", *(f"{name}: {value}" for name, value in kept), "", ""]
        self.client.sendall("\r\n".join(head).encode("latin-1"))
        body = answer.body if most is None else answer.body[:most]
        for start in range(0, len(body), CHUNK):
            self.client.sendall(body[start : start + CHUNK])
            self._wait(min(CHUNK, len(body) - start))
        if len(body) != declared and self.request.method != "HEAD":
            raise CutError

    def _wait(self, count: int) -> None:
        if self.pace:
            time.sleep(count / self.pace)


Fault = Callable[[Exchange], None]


def passes(exchange: Exchange) -> None:
    """No fault."""
    exchange.reply(exchange.forward())


def answers(code: str, *, after_acting: bool = False) -> Fault:
    """An error of S3 instead of the server's answer; the server has done the work if that is said."""

    def fault(exchange: Exchange) -> None:
        if after_acting:
            exchange.forward()
        else:
            exchange.body()
        xml = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>made up</Message></Error>".encode()
        exchange.reply(Answer(REASONS[code], [("Content-Type", "application/xml")], xml))

    return fault


def waits(seconds: float) -> Fault:
    """The server's answer, late."""

    def fault(exchange: Exchange) -> None:
        answer = exchange.forward()
        time.sleep(seconds)
        exchange.reply(answer)

    return fault


def hangs(until: threading.Event) -> Fault:
    """Not a word, neither to the server nor to the client, until the test says so."""

    def fault(exchange: Exchange) -> None:
        exchange.body()
        until.wait(60)
        raise CutError

    return fault


def paced(bytes_a_second: float) -> Fault:
    """A narrow line, both ways."""

    def fault(exchange: Exchange) -> None:
        exchange.pace = bytes_a_second
        exchange.reply(exchange.forward())

    return fault


def cuts_upload(after: int) -> Fault:
    """The connection ends when the server has this many bytes of the body."""
    return lambda exchange: exchange.reply(exchange.forward(most=after))


def cuts_download(after: int) -> Fault:
    """The connection ends when the client has this many bytes of the body."""
    return lambda exchange: exchange.reply(exchange.forward(), most=after)


def loses_answer(exchange: Exchange) -> None:
    """The server has done it, and the client never hears of it."""
    exchange.forward()
    raise CutError


def loses_request(exchange: Exchange) -> None:
    """The server never hears of it."""
    exchange.body()
    raise CutError


def shortens(by: int) -> Fault:
    """A whole answer that lacks its last bytes, and whose length agrees with that."""

    def fault(exchange: Exchange) -> None:
        answer = exchange.forward()
        answer.body = answer.body[:-by]
        exchange.reply(answer)

    return fault


def hides(keys: Collection[str]) -> Fault:
    """A list that is behind: it does not know of these keys yet (each the end of a whole key)."""

    def fault(exchange: Exchange) -> None:
        answer = exchange.forward()

        def kept(found: re.Match[bytes]) -> bytes:
            key = re.search(rb"<Key>(.*?)</Key>", found[0])
            hidden = key is not None and unquote(key[1].decode()).endswith(tuple(keys))
            return b"" if hidden else found[0]

        answer.body = re.sub(rb"<Contents>.*?</Contents>", kept, answer.body, flags=re.DOTALL)
        exchange.reply(answer)

    return fault


def after(count: int, fault: Fault) -> Fault:
    """The fault from the request after the first ``count`` on."""
    lock, seen = threading.Lock(), [0]

    def counted(exchange: Exchange) -> None:
        with lock:
            seen[0] += 1
            early = seen[0] <= count
        (passes if early else fault)(exchange)

    return counted


@dataclass
class _Rule:
    method: str
    path: re.Pattern[str]
    fault: Fault
    times: int


@dataclass
class FaultProxy:
    """HTTP/1.1 on a loopback port before the server at ``endpoint``. ``close`` ends it.

    Attributes:
        seen: every request that came, in order.
    """

    target: str
    seen: list[Request] = field(default_factory=list)
    _rules: list[_Rule] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        parts = urlsplit(self.target)
        self._tcp = _HttpRelay(parts.hostname or "", parts.port or 80, self)
        self.endpoint = f"http://127.0.0.1:{self._tcp.port}"
        self.up, self.down, self.close, self.cut = self._tcp.up, self._tcp.down, self._tcp.close, self._tcp.cut

    def on(self, fault: Fault, *, method: str = "", path: str = "", times: int = FOREVER) -> None:
        """The next ``times`` requests of this method whose path matches meet the fault; the first rule that fits."""
        with self._lock:
            self._rules.append(_Rule(method, re.compile(path), fault, times))

    def mend(self) -> None:
        """No more faults, and nobody waits."""
        with self._lock:
            self._rules.clear()

    def count(self, method: str = "", path: str = "") -> int:
        """How many such requests came."""
        with self._lock:
            return sum(seen.method.startswith(method) and re.search(path, seen.path) is not None for seen in self.seen)

    def choose(self, request: Request) -> Fault:
        """The fault that this request meets."""
        with self._lock:
            self.seen.append(request)
            for rule in self._rules:
                if rule.times and request.method.startswith(rule.method) and rule.path.search(request.path):
                    rule.times -= 1
                    return rule.fault
        return passes


class _HttpRelay(TcpProxy):
    """One exchange after the other on each connection."""

    def __init__(self, host: str, port: int, owner: FaultProxy) -> None:
        self._owner = owner
        super().__init__(host, port)

    def handle(self, client: socket.socket) -> None:
        """Until the client goes, or a fault ends it."""
        with client.makefile("rb") as stream, contextlib.suppress(CutError):
            while request := _head(stream):
                exchange = Exchange(request, client, stream, self.connect)
                self._owner.choose(request)(exchange)
                exchange.body()
                if request.header("connection").lower() == "close":
                    return


def _head(stream: IO[bytes]) -> Request | None:
    line = stream.readline(CHUNK)
    if not line.strip():
        return None
    method, target, _ = line.decode("latin-1").split(" ", 2)
    headers: list[tuple[str, str]] = []
    while (field_line := stream.readline(CHUNK)).strip():
        name, _, value = field_line.decode("latin-1").partition(":")
        headers.append((name.strip(), value.strip()))
    return Request(method, unquote(target), target, headers)
