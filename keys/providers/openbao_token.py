"""The token that OpenBao or Vault knows this host by: read from a file, renewed in time, read again when refused."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

from keys.errors import ProviderDeniedError
from keys.providers.openbao_answers import Answer, Refusal
from keys.secretfiles import read_secret_file

TRY_AGAIN = 15.0
"""Seconds after which a renewal that failed is tried again."""

LEAST = 1.0
"""Seconds between two looks at a token, however short it lives."""

Request = Callable[[str, str, dict[str, Any] | None, str], Answer | Refusal]
"""(method, path, body, token): one attempt."""


class Token:
    """One token. Renewing is done on the side: while the token is valid, a failure of it is none of the caller's."""

    def __init__(self, file: Path, clock: Callable[[], float]) -> None:
        self._file = file
        self._clock = clock
        self._lock = threading.Lock()
        self._value = ""
        self._look_at = -math.inf

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("tokens are not pickled")

    def value(self) -> str:
        """The token.

        Raises:
            KeyStoreMissingError, SecretFileError, ProviderDeniedError: the file is not usable.
        """
        if not self._value:
            self._value = self._read()
        return self._value

    def replaced(self, refused: str) -> bool:
        """Whether there is another token than the one that was refused; it is used from now on."""
        found = self._read()
        if found == self._value and found == refused:
            return False
        self._value, self._look_at = found, -math.inf
        return found != refused

    def keep_alive(self, request: Request) -> None:
        """Renew the token when more than half of its time is over. Never fails."""
        token = self.value()
        if self._clock() < self._look_at or not self._lock.acquire(blocking=False):
            return
        try:
            self._look_at = self._clock() + max(LEAST, self._renewed(request, token))
        finally:
            self._lock.release()

    @staticmethod
    def _renewed(request: Request, token: str) -> float:
        """Seconds until it should be looked at again."""
        known = _fields(request("get", "auth/token/lookup-self", None, token)).get("data")
        if not isinstance(known, dict):
            return TRY_AGAIN
        left, whole = _seconds(known, "ttl"), _seconds(known, "period") or _seconds(known, "creation_ttl")
        if not known.get("renewable") or not left:
            return math.inf
        if left > whole / 2:
            return left - whole / 2
        made = _fields(request("post", "auth/token/renew-self", {}, token)).get("auth")
        return _seconds(made, "lease_duration") / 2 if isinstance(made, dict) else min(TRY_AGAIN, left / 4)

    def _read(self) -> str:
        token = read_secret_file(self._file).decode("ascii", errors="replace").strip()
        if not token or not token.isprintable() or not token.isascii() or " " in token:
            raise ProviderDeniedError(f"{self._file} holds no token")
        return token


def _fields(answer: Answer | Refusal) -> dict[str, Any]:
    """The fields of a good answer; none of another."""
    return answer.fields if isinstance(answer, Answer) and answer.status == HTTPStatus.OK else {}


def _seconds(fields: dict[str, Any], name: str) -> float:
    value = fields.get(name)
    return float(value) if isinstance(value, int | float) and value > 0 else 0.0
