"""The routes of the ingest server: docs/formats.md, "Ingest over HTTP"."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, TypeVar

import pyarrow as pa
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from lake.errors import LakeError, MalformedInputError, UnauthenticatedError, UsageError
from lake.gateway.collection.interface import Device
from lake.gateway.receiving.bodies import Form, open_body, within
from lake.gateway.receiving.budget import Budget
from lake.gateway.receiving.desk import Admitted, Desk, Digest
from lake.gateway.receiving.failures import GoneError, StoppingError, problem
from lake.gateway.receiving.header import decode_header
from lake.gateway.receiving.openapi import description
from lake.gateway.receiving.requests import PEER, Body, answer, bearer, json_object, one_header, refusal

_ASKING = 4
"""Threads for what takes milliseconds: who is there, leases, judgements."""
T = TypeVar("T")
Handler = Callable[[Request, Body, Device], Awaitable[Response]]


class Application:
    """Answers requests of devices.

    Args:
        landing: where batches land; shared with other ways that they come by.
        check: raises what keeps the server from taking a batch.

    Attributes:
        asgi: the ASGI application.
        stopping: set once nothing more is taken.
    """

    def __init__(self, desk: Desk, budget: Budget, landing: Executor, check: Callable[[], None]) -> None:
        self._desk = desk
        self._limits = desk.limits
        self._budget = budget
        self._check = check
        self._quick = ThreadPoolExecutor(_ASKING, thread_name_prefix="ingest-desk")
        self._landing = landing
        self._description = description()
        self.stopping = False
        self.asgi = Starlette(
            routes=[
                self._route("/v1/batches", "POST", "batch", self._batch),
                self._route("/v1/leases", "POST", "lease", self._lease),
                self._route("/v1/acknowledgements", "POST", "acknowledgement", self._acknowledge),
                self._route("/v1/contracts/{dataset}", "GET", "contract", self._contract),
                self._route("/v1/verifier", "GET", "verifier", self._verifier),
                Route("/openapi.json", self._openapi, methods=["GET"]),
                Route("/healthz", _alive, methods=["GET"]),
                Route("/readyz", self._ready, methods=["GET"]),
            ],
            exception_handlers={HTTPException: self._unknown},
        )

    def close(self) -> None:
        """Let go of the threads, once nothing is under way."""
        self._quick.shutdown()

    def _route(self, path: str, method: str, kind: str, handler: Handler) -> Route:
        async def endpoint(request: Request) -> Response:
            started = time.monotonic()
            body = Body(request, self._limits)
            code = "ok"
            try:
                self._check_open()
                return await handler(request, body, await self._who(request))
            except Exception as error:  # noqa: BLE001 - whatever it is, its text is not for the client
                found = problem(error)
                code = str(found.document["code"])
                if isinstance(error, UnauthenticatedError):
                    self._desk.metrics.unauthenticated(error.reason)
                await body.drain()
                return refusal(found, whole=body.whole, retry_s=self._limits.retry_s)
            finally:
                self._desk.metrics.ended(kind, code, time.monotonic() - started)
                self._desk.metrics.received(body.received)

        return Route(path, endpoint, methods=[method])

    def _check_open(self) -> None:
        if self.stopping:
            raise StoppingError("the server is stopping", hint="send it again in a moment")

    async def _who(self, request: Request) -> Device:
        fingerprint = getattr(request.state, PEER, None)
        if fingerprint is not None:
            return await self._ask(self._desk.device_of, fingerprint)
        return await self._ask(self._desk.device, bearer(request))

    async def _batch(self, request: Request, body: Body, device: Device) -> Response:
        dataset = "unknown"
        expected = min(body.declared() or 0, self._limits.body)
        with self._budget.enter(device.tag, expected) as upload:
            try:
                too_large = (body.declared() or 0) > self._limits.body
                header = decode_header(one_header(request, "lake-batch"), self._limits.header)
                dataset = header.dataset
                form = Form.of(one_header(request, "content-type"), one_header(request, "content-encoding"))
            except LakeError as error:
                await self._ask(self._note, device, dataset, error)
                raise
            admitted = await self._ask(self._desk.admit, device, header)
            if too_large and (receipt := await self._ask(self._desk.landed, admitted, "http")) is not None:
                await body.drain()
                return answer(200, receipt, {"connection": "close"})
            try:
                content, digest = await body.read(self._limits.body, upload)
                if f"sha256:{digest}" != header.content:
                    raise MalformedInputError(
                        "the body is not the one whose digest the header has", hint="send it again"
                    )
            except LakeError as error:
                await self._ask(self._note, device, dataset, error)
                raise
            receipt = await self._run(self._landing, self._land, admitted, form, content, digest)
        return answer(200, receipt)

    def _land(self, admitted: Admitted, form: Form, content: bytearray, digest: str) -> dict[str, Any]:
        with self._desk.recorded(admitted.device, admitted.header.dataset):
            source = open_body(pa.py_buffer(content), form, admitted.contract, self._limits)
        rows = within(iter(source), admitted.header, self._limits)
        return self._desk.land(admitted, rows, Digest(digest), "http")

    def _note(self, device: Device, dataset: str, error: LakeError) -> None:
        if not isinstance(error, GoneError):
            self._desk.note(device, dataset, error)

    async def _lease(self, _: Request, body: Body, device: Device) -> Response:
        content, _digest = await body.read(self._limits.document)
        return answer(200, await self._ask(self._desk.lease, device, json_object(content)))

    async def _acknowledge(self, _: Request, body: Body, device: Device) -> Response:
        content, _digest = await body.read(self._limits.document)
        await self._ask(self._desk.acknowledge, device, json_object(content))
        return answer(204)

    async def _contract(self, request: Request, body: Body, _: Device) -> Response:
        await body.read(0)
        given = request.query_params.getlist("version")
        if len(given) > 1 or not all(text.isascii() and text.isdigit() and len(text) < 10 for text in given):
            raise UsageError("version is a number", hint="/v1/contracts/NAME?version=1")
        version = int(given[0]) if given else None
        return answer(200, await self._ask(self._desk.contract, request.path_params["dataset"], version))

    async def _verifier(self, _: Request, body: Body, __: Device) -> Response:
        await body.read(0)
        return answer(200, self._desk.verifier())

    async def _openapi(self, _: Request) -> Response:
        return answer(200, self._description)

    async def _ready(self, _: Request) -> Response:
        try:
            self._check_open()
            await self._ask(self._check)
        except Exception as error:  # noqa: BLE001 - whatever it is, the server is not ready
            return answer(503, {"ready": False, "code": getattr(error, "code", "failed")})
        return answer(200, {"ready": True})

    async def _unknown(self, _: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        found = problem(UsageError("there is nothing here for this method", hint="see /openapi.json"), status)
        return refusal(found, whole=False, retry_s=self._limits.retry_s)

    async def _ask(self, function: Callable[..., T], *arguments: Any) -> T:
        return await self._run(self._quick, function, *arguments)

    async def _run(self, pool: Executor, function: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(pool, function, *arguments)


async def _alive(_: Request) -> Response:
    return answer(200, {"alive": True})
