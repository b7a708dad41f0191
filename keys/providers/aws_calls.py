"""Calls to AWS KMS: its configuration, one client, retries, pages. Nothing here knows what the keys are for."""

from __future__ import annotations

import ipaddress
import logging
import random
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

import boto3
from botocore.config import Config

from keys.errors import (
    KeysError,
    ProviderAnswerError,
    ProviderDeniedError,
    ProviderThrottledError,
    ProviderUnavailableError,
)
from keys.providers.aws_errors import QUOTA, RAISED, translated

THREADS = 8
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0

Wanted = TypeVar("Wanted")


@dataclass(frozen=True, slots=True)
class AwsKmsConfig:
    """Where the keys are. Credentials are not here: boto3 finds them (environment, profile, role of the host).

    Attributes:
        prefix: put before every name; keys of other lakes and of other people in the account have other names.
        endpoint: another address than the region's own; https, or http on this machine only.
        deletion_days: how long AWS lets an administrator call a destroyed version back; 7 to 30.
        timeout: seconds, for connecting and for an answer each.
        attempts: how often a call is made at most.
    """

    region: str
    prefix: str = "tlake-"
    endpoint: str | None = None
    deletion_days: int = 7
    timeout: float = 10.0
    attempts: int = 5
    profile: str | None = None

    def __post_init__(self) -> None:
        if not 7 <= self.deletion_days <= 30:
            raise ValueError("deletion_days is 7 to 30: AWS KMS knows no other")
        if self.attempts < 1 or self.timeout <= 0:
            raise ValueError("attempts and timeout must be positive")
        if not re.fullmatch(r"(?!aws/)[a-zA-Z0-9/_-]+", self.prefix):
            raise ValueError("prefix must be letters, digits, '/', '_' and '-', and not AWS's own 'aws/'")


class Calls:
    """The KMS API with our errors. Threads may share it.

    The pauses between attempts are exponential with full jitter, in our own loop. botocore's "standard" mode computes
    the same ones, but it also repeats CreateKey after a lost answer, which leaves a key that nobody knows.
    """

    def __init__(self, config: AwsKmsConfig, pause: Callable[[float], object] = time.sleep) -> None:
        """Open a client; no request is made yet.

        Raises:
            ProviderDeniedError: the endpoint is not encrypted, or there is no such profile.
        """
        here = _stays_here(config.endpoint)
        _keep_out_of_logs()
        self._attempts = config.attempts
        self._pause = pause
        settings = Config(
            connect_timeout=config.timeout,
            read_timeout=config.timeout,
            max_pool_connections=THREADS,
            # A proxy would see what is sent to this machine without TLS.
            proxies={} if here else None,
            retries={"total_max_attempts": 1, "mode": "standard"},
        )
        try:
            session = boto3.session.Session(region_name=config.region, profile_name=config.profile)
            self._client = session.client("kms", endpoint_url=config.endpoint, config=settings)
        except RAISED as error:
            raise translated(error, "client") from None

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()

    def __call__(self, operation: str, *, again: bool = True, **parameters: Any) -> dict[str, Any]:
        """One call of the API, ``operation`` as boto3 writes it.

        Args:
            again: whether the call may be made again when nobody knows if it was carried out.

        Raises:
            ProviderError, KeyStateError, KeyIntegrityError: see KeyProvider.
        """
        attempt = 0
        while True:
            attempt += 1
            try:
                return self._once(operation, parameters)
            except KeysError as error:
                if attempt == self._attempts or not _may_pass(error, again=again):
                    raise
            self._wait(attempt)

    def settled(self, condition: Callable[[], bool]) -> None:
        """Wait until AWS shows what it has accepted: other calls may see it some seconds later.

        Raises:
            ProviderUnavailableError: not within as many pauses as there are attempts.
        """
        for attempt in range(1, self._attempts + 1):
            if condition():
                return
            self._wait(attempt)
        raise ProviderUnavailableError("AWS KMS does not show yet what it has accepted", hint="try again later")

    def _wait(self, attempt: int) -> None:
        # Not a secret: the pauses of many hosts must only differ.
        self._pause(random.uniform(0, min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (attempt - 1))))  # noqa: S311

    def _once(self, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        try:
            answer = getattr(self._client, operation)(**parameters)
        except RAISED as error:
            raise translated(error, operation) from None
        if not isinstance(answer, dict):
            raise ProviderAnswerError(f"AWS KMS, {operation}: there is nothing in the answer")
        return answer

    def pages(self, operation: str, content: str) -> Iterator[dict[str, Any]]:
        """The items of a list that comes in pages.

        Raises:
            ProviderAnswerError: a page is not one.
        """
        parameters: dict[str, Any] = {"Limit": 100}
        while True:
            answer = self(operation, **parameters)
            yield from field(answer, content, list)
            if not answer.get("Truncated"):
                return
            marker = field(answer, "NextMarker", str)
            if marker == parameters.get("Marker"):
                raise ProviderAnswerError("AWS KMS answered with the same page again")
            parameters["Marker"] = marker


def field(answer: dict[str, Any], name: str, kind: type[Wanted]) -> Wanted:
    """A field that an answer must have.

    Raises:
        ProviderAnswerError: it is missing, empty text or bytes, or something else.
    """
    value = answer.get(name)
    if not isinstance(value, kind) or value in ("", b""):
        raise ProviderAnswerError(f"AWS KMS answered without {name}")
    return value


def _may_pass(error: KeysError, *, again: bool) -> bool:
    """Whether the same call may go through after a pause; a quota does not grow meanwhile."""
    if isinstance(error, ProviderThrottledError):
        return error.details.get("aws") != QUOTA
    return again and isinstance(error, ProviderUnavailableError)


def _stays_here(endpoint: str | None) -> bool:
    """Whether requests do not leave this machine. Keys travel in them, so without TLS they must not."""
    parts = urlsplit(endpoint or "https://")
    try:
        here = parts.hostname == "localhost" or ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        here = False
    if parts.scheme != "https" and not (parts.scheme == "http" and here):
        raise ProviderDeniedError("the endpoint of AWS KMS is not encrypted", hint="use https")
    return here


class _NoDetails(logging.Filter):
    """Drops what botocore says while debugging: whole requests and answers, with keys and session tokens."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.INFO


_NO_DETAILS = _NoDetails()


def _keep_out_of_logs() -> None:
    """A level could be changed by whoever sets up logging; a filter on these loggers stays. Adding it again is free."""
    for name in ("auth", "client", "endpoint", "hooks", "httpchecksum", "httpsession", "parsers", "regions"):
        logging.getLogger(f"botocore.{name}").addFilter(_NO_DETAILS)
