"""Calls to S3: one client, a bounded number at a time, repeated with jitter until a deadline. Knows nothing of objects.

The repetitions are ours and botocore's are off: botocore counts attempts, and what ingest and queries need to know is
how long a call may take in all; it would also repeat only what it takes for harmless, and not a body that broke off.
Credentials are boto3's to find and to renew; none pass through here.
"""

from __future__ import annotations

import base64
import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import boto3
from botocore.config import Config

from lake.errors import LakeError, UnavailableError
from lake.sealed.objects import s3_errors
from lake.sealed.objects.s3_place import DEFAULT_REGION, S3Place

CHUNK = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to try.

    Attributes:
        connect, read: seconds to wait for a connection, and for the next bytes of an answer.
        deadline: seconds for a call with all its repetitions; the last attempt may outlast it by its own waits.
        first_pause, longest_pause: seconds; a pause is a random part of the first, doubled every time.
        connections: calls at a time.
    """

    connect: float = 5.0
    read: float = 30.0
    deadline: float = 60.0
    first_pause: float = 0.1
    longest_pause: float = 5.0
    connections: int = 16


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call gave: fields as boto3 has them, and the body of an object, whole."""

    fields: dict[str, Any]
    body: bytes


class Calls:
    """The S3 API with our errors. Threads may share it."""

    def __init__(
        self, place: S3Place, patience: Patience | None = None, pause: Callable[[float], object] = time.sleep
    ) -> None:
        """Open a client; no request is made yet.

        Raises:
            StoreRefusedError: there is no such profile, or the region or the endpoint cannot be used.
        """
        self.place = place
        self._patience = patience or Patience()
        self._pause = pause
        self._room = threading.BoundedSemaphore(self._patience.connections)
        _keep_out_of_logs()
        settings = Config(
            connect_timeout=self._patience.connect,
            read_timeout=self._patience.read,
            max_pool_connections=self._patience.connections,
            proxies={} if place.here else None,
            retries={"total_max_attempts": 1, "mode": "standard"},
            s3={"addressing_style": "path"} if place.endpoint else None,
            # Checksums are given where they are wanted. Otherwise botocore streams in a form of which servers other
            # than AWS's know nothing.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            tcp_keepalive=True,
        )
        try:
            session = boto3.session.Session(region_name=place.region)
            region = session.region_name or (DEFAULT_REGION if place.endpoint else None)
            self._client = session.client("s3", region_name=region, endpoint_url=place.endpoint, config=settings)
        except s3_errors.RAISED as error:
            raise s3_errors.translated(error, "client") from None

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()

    def __call__(self, operation: str, **parameters: Any) -> Answer:
        """One call of the API, ``operation`` as boto3 writes it, repeated while that may help.

        An attempt whose answer was lost may have been carried out: a call that is made once only is not for here.

        Raises:
            LakeError: see ``s3_errors``.
        """
        deadline = time.monotonic() + self._patience.deadline
        attempt = 0
        while True:
            attempt += 1
            try:
                return self._once(operation, parameters)
            except LakeError as error:
                pause = self._next_pause(attempt)
                if not _may_pass(error) or time.monotonic() + pause > deadline:
                    raise
            self._pause(pause)

    def _next_pause(self, attempt: int) -> float:
        # Full jitter, and not a secret: the pauses of many hosts must only differ.
        most = min(self._patience.longest_pause, self._patience.first_pause * 2 ** min(attempt - 1, 32))
        return random.uniform(0, most)  # noqa: S311

    def _once(self, operation: str, parameters: dict[str, Any]) -> Answer:
        with self._room:
            try:
                fields: dict[str, Any] = getattr(self._client, operation)(**parameters)
                return Answer(fields, self._body(fields) if "Body" in fields else b"")
            except s3_errors.RAISED as error:
                raise s3_errors.translated(error, operation) from None

    def _body(self, fields: dict[str, Any]) -> bytes:
        """The whole body. A server that sends it drop by drop does not hold the caller for ever."""
        latest = time.monotonic() + self._patience.deadline
        parts: list[bytes] = []
        stream = fields["Body"]
        try:
            while part := stream.read(CHUNK):
                parts.append(part)
                if time.monotonic() > latest:
                    raise TimeoutError
        finally:
            stream.close()
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        if len(body) != int(fields["ContentLength"]):
            raise ConnectionError
        return body


def checksum_text(digest: bytes) -> str:
    """A checksum as S3 writes it."""
    return base64.b64encode(digest).decode()


def _may_pass(error: LakeError) -> bool:
    return isinstance(error, UnavailableError) and s3_errors.code_of(error) != s3_errors.FULL


class _NoDetails(logging.Filter):
    """Drops what botocore says while debugging: whole requests, with session tokens."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.INFO


_NO_DETAILS = _NoDetails()


def _keep_out_of_logs() -> None:
    """A level could be changed by whoever sets up logging; a filter on these loggers stays. Adding it again is free."""
    for name in ("auth", "client", "endpoint", "hooks", "httpchecksum", "httpsession", "parsers", "regions"):
        logging.getLogger(f"botocore.{name}").addFilter(_NO_DETAILS)
