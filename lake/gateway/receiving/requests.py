"""Requests over HTTP: who sends one, its body within limits of size and time, and its answer."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from lake.errors import UnauthenticatedError, UsageError
from lake.gateway.identity.reasons import Reason, refused
from lake.gateway.identity.tokens import read_object
from lake.gateway.receiving.budget import Upload
from lake.gateway.receiving.failures import GoneError, Problem, TooLargeError, TooSlowError
from lake.gateway.receiving.limits import ReceivingLimits

_DRAIN_BYTES, _DRAIN_S = 1 << 20, 1.0
PEER = "peer"
"""Where the server puts the SHA-256 of the client's certificate, in the state of a connection that has one."""


class Body:
    """The body of a request, read piece by piece; nothing of it touches a disk."""

    def __init__(self, request: Request, limits: ReceivingLimits) -> None:
        self._request = request
        self._limits = limits
        self.whole = False
        self.received = 0

    def declared(self) -> int | None:
        """Its length if the headers say it.

        Raises:
            UsageError: they say it wrongly.
        """
        text = self._request.headers.get("content-length")
        if text is None:
            return None
        if not (text.isascii() and text.isdigit() and len(text) < 20):
            raise UsageError("Content-Length is not a number")
        return int(text)

    async def read(self, most: int, upload: Upload | None = None) -> tuple[bytearray, str]:
        """All of it, and its SHA-256 in hex.

        Raises:
            TooLargeError, TooSlowError, FullError: it is given up.
            GoneError: the client is gone.
        """
        if (self.declared() or 0) > most:
            raise TooLargeError(f"the body has more than {most} bytes", hint="make smaller batches")
        content, digest, started = bytearray(), hashlib.sha256(), time.monotonic()
        while not self.whole:
            piece = await self._piece(started)
            if self.received > most:
                raise TooLargeError(f"the body has more than {most} bytes", hint="make smaller batches")
            if upload is not None:
                upload.add(len(piece))
            content += piece
            digest.update(piece)
        return content, digest.hexdigest()

    async def drain(self) -> None:
        """Take a little of what nobody wants, so that a client that sends all before it listens hears the answer."""
        if "expect" in self._request.headers and not self.received:
            return  # taking a piece would ask for it
        with suppress(GoneError, TimeoutError):
            async with asyncio.timeout(_DRAIN_S):
                before = self.received
                while not self.whole and self.received - before < _DRAIN_BYTES:
                    await self._next()

    async def _piece(self, started: float) -> bytes:
        limits = self._limits
        try:
            async with asyncio.timeout(limits.idle_s):
                piece = await self._next()
        except TimeoutError:
            raise TooSlowError("the body came too slowly", hint="send it again") from None
        passed = time.monotonic() - started
        slow = passed > limits.idle_s and self.received < limits.rate * passed
        if not self.whole and (slow or passed > limits.body_s):
            raise TooSlowError("the body came too slowly", hint="send it again")
        return piece

    async def _next(self) -> bytes:
        message = await self._request.receive()
        if message["type"] != "http.request":
            raise GoneError("the client is gone")
        piece: bytes = message.get("body", b"")
        self.received += len(piece)
        self.whole = not message.get("more_body", False)
        return piece


def bearer(request: Request) -> str:
    """The token that a request shows.

    Raises:
        UnauthenticatedError: none, or more than one.
    """
    values = request.headers.getlist("authorization")
    if len(values) != 1:
        raise UnauthenticatedError(reason="missing")
    scheme, _, token = values[0].partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise refused(Reason.MALFORMED)
    return token.strip()


def one_header(request: Request, name: str) -> str:
    """The value of a header that may come once; empty if it does not come.

    Raises:
        UsageError: it comes more often.
    """
    values = request.headers.getlist(name)
    if len(values) > 1:
        raise UsageError(f"{name} comes more than once")
    return values[0] if values else ""


def json_object(content: bytes | bytearray) -> dict[str, Any]:
    """A body that is one JSON object.

    Raises:
        UsageError: it is not.
    """
    document = read_object(bytes(content))
    if document is None:
        raise UsageError("the body is not one JSON object with every key once", hint="see /openapi.json")
    return document


def answer(
    status: int, document: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """An answer in JSON, or an empty one."""
    given = {"cache-control": "no-store", **(headers or {})}
    if document is None:
        return Response(status_code=status, headers=given)
    content = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    return Response(content, status, given, media_type="application/json")


def refusal(problem: Problem, *, whole: bool, retry_s: int) -> Response:
    """An answer that says what went wrong; the connection ends with it if the request was not read to its end."""
    headers = {"cache-control": "no-store"}
    if problem.retry:
        headers["retry-after"] = str(retry_s)
    if problem.status == 401:
        headers["www-authenticate"] = "Bearer"
    if not whole:
        headers["connection"] = "close"
    content = json.dumps(problem.document, ensure_ascii=False, separators=(",", ":")).encode()
    return Response(content, problem.status, headers, media_type="application/problem+json")
