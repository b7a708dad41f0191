"""Requests to OpenBao or Vault: one connection pool, the token, retries, and errors as ours.

hvac carries the requests; its exceptions are never made, because their text may quote answers, and answers hold keys.
"""

from __future__ import annotations

import fcntl
import ipaddress
import itertools
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3.exceptions
from hvac.adapters import RawAdapter

from keys.errors import (
    ProviderAnswerError,
    ProviderDeniedError,
    ProviderTimeoutError,
    ProviderUnavailableError,
)
from keys.providers.openbao_answers import Answer, Refusal, understood
from keys.providers.openbao_token import Token

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
TOTAL_TIMEOUTS = 4
"""A call with all its attempts takes at most so many timeouts."""

MAX_ANSWER = 4 * 1024 * 1024
_CHUNK = 64 * 1024


@dataclass(frozen=True, slots=True)
class OpenBaoConfig:
    """Where the keys are and who we are. No secret is in here.

    Attributes:
        address: ``https://host:port``; http on this machine only.
        mount: path of the transit engine.
        prefix: put before every name; keys of other lakes have other names.
        token_file: holds the token, mode 0600; whoever renews it may replace the file at any time.
        ca_file: authorities that vouch for the server; without it those of the system's own list.
        timeout: seconds, for connecting and for an answer each.
        attempts: how often a request is made at most.
    """

    address: str
    token_file: Path
    mount: str = "transit"
    prefix: str = ""
    ca_file: Path | None = None
    namespace: str | None = None
    timeout: float = 10.0
    attempts: int = 4

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.timeout <= 0:
            raise ValueError("attempts and timeout must be positive")


class Calls:
    """The HTTP API with our errors. Threads may share it."""

    def __init__(
        self,
        config: OpenBaoConfig,
        *,
        pause: Callable[[float], object] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Makes no request yet.

        Raises:
            ProviderDeniedError: the address or ``ca_file`` cannot be used.
        """
        _check_address(config.address)
        if config.ca_file is not None and not config.ca_file.is_file():
            raise ProviderDeniedError(f"there is no file {config.ca_file}", hint="it must hold the server's authority")
        self._config = config
        self._pause = pause
        self._clock = clock
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy, no .netrc, no other authorities
        self._session.verify = str(config.ca_file) if config.ca_file else True  # hvac prefers it to its own argument
        self._session.headers["Accept-Encoding"] = "identity"
        self._adapter = RawAdapter(
            base_uri=config.address,
            timeout=config.timeout,
            allow_redirects=False,
            session=self._session,
            namespace=config.namespace,
        )
        self._token = Token(config.token_file, clock)

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("connections are not pickled")

    def close(self) -> None:
        """Give the connections back."""
        self._session.close()

    def __call__(self, method: str, path: str, body: dict[str, Any] | None = None) -> Answer:
        """One request, made again where that may help: what it does must be the same when done twice.

        Raises:
            ProviderError: see keys/errors.py.
        """
        return self.until(lambda: None, method, path, body)

    def until(
        self, done: Callable[[], Answer | None], method: str, path: str, body: dict[str, Any] | None = None
    ) -> Answer:
        """One request that must not be carried out twice.

        Args:
            done: asked before it is made again, since the answer to the first may have been lost; its answer counts.
        """
        deadline = self._clock() + TOTAL_TIMEOUTS * self._config.timeout
        self._token.keep_alive(self._attempt)
        for attempt in itertools.count(1):
            answer = self._authenticated(method, path, body)
            if isinstance(answer, Answer):
                return answer
            # Not for secrecy: the pauses of many hosts must only differ.
            pause = random.uniform(0, min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (attempt - 1)))  # noqa: S311
            if not answer.passes or attempt == self._config.attempts or self._clock() + pause >= deadline:
                raise answer.error
            self._pause(pause)
            if made := done():
                return made
        raise AssertionError  # the loop ends by itself

    def _authenticated(self, method: str, path: str, body: dict[str, Any] | None) -> Answer | Refusal:
        """One attempt, and another one at once if there is a new token."""
        token = self._token.value()
        answer = self._attempt(method, path, body, token)
        if (
            isinstance(answer, Refusal)
            and isinstance(answer.error, ProviderDeniedError)
            and self._token.replaced(token)
        ):
            return self._attempt(method, path, body, self._token.value())
        return answer

    def _attempt(self, method: str, path: str, body: dict[str, Any] | None, token: str) -> Answer | Refusal:
        """Errors are returned, not raised here: the library's exceptions hold the request, and so keys."""
        where = self._config.address
        try:
            response = self._adapter.request(
                method, f"/v1/{path}", headers={"X-Vault-Token": token}, raise_exception=False, json=body, stream=True
            )
            with response:
                content = self._content(response)
        except (requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError):
            return Refusal(ProviderTimeoutError(f"{where} did not answer in time"), passes=True)
        except requests.exceptions.SSLError:
            hint = "check ca_file and the name in the server's certificate"
            return Refusal(ProviderUnavailableError(f"{where} does not prove who it is", hint=hint))
        except (requests.ConnectionError, urllib3.exceptions.HTTPError, ConnectionError):
            return Refusal(ProviderUnavailableError(f"{where} cannot be reached"), passes=True)
        except (requests.RequestException, OSError, ValueError):
            return Refusal(ProviderAnswerError(f"{where} answered what cannot be read"))
        return understood(response.status_code, content)

    def _content(self, response: requests.Response) -> bytes:
        """The body, within the time for an answer however slowly it drips."""
        deadline = self._clock() + self._config.timeout
        content = bytearray()
        while chunk := response.raw.read1(_CHUNK):
            content += chunk
            if len(content) > MAX_ANSWER:
                raise ValueError
            if self._clock() > deadline:
                raise TimeoutError
        return bytes(content)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keeps other threads and processes of this machine out: transit has no compare-and-swap of its own."""
        try:
            folder = os.open(self._config.token_file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            raise ProviderDeniedError(f"the folder of {self._config.token_file} cannot be opened") from None
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)


def _check_address(address: str) -> None:
    """Keys travel in the requests, so http is for this machine only."""
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise ProviderDeniedError("the address of the key service is not one", hint="https://host:port") from None
    if parts.username or parts.password or parts.query or parts.fragment or parts.path.strip("/") or not host:
        raise ProviderDeniedError("the address of the key service is more than one", hint="https://host:port")
    if parts.scheme == "https":
        return
    try:
        local = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = False
    if parts.scheme != "http" or not local:
        raise ProviderDeniedError("the address of the key service is not encrypted", hint="use https")
