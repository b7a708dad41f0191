"""Errors as collectors see them: RFC 9457 problems with a code, a hint and an id, and no values of rows."""

from __future__ import annotations

import http
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from keys.errors import KeysError
from lake.errors import (
    BatchConflictError,
    BatchRefusedError,
    LakeError,
    LeaseRefusedError,
    PausedError,
    UnauthenticatedError,
    UnavailableError,
    UsageError,
)
from lake.gateway.flight.failures import Failure, failure

_AGAIN = 5
_SHOWN = frozenset({"mark", "reason", "line", "row", "field"})
"""Of an error's details what collectors are told."""
_RETRY_STATUS = frozenset({http.HTTPStatus.TOO_MANY_REQUESTS, http.HTTPStatus.SERVICE_UNAVAILABLE})


class TooLargeError(BatchRefusedError):
    """A body has more bytes or rows than one batch may have."""

    code = "too_large"


class TooSlowError(UnavailableError):
    """A body came so slowly that it was given up."""

    code = "too_slow"


class UnsupportedError(UsageError):
    """A body is of a type or an encoding that is not taken."""

    code = "unsupported"


class FullError(UnavailableError):
    """There is no room for one batch more now."""

    code = "busy"


class StoppingError(UnavailableError):
    """The server takes nothing more, as it is about to end."""

    code = "stopping"


class GoneError(LakeError):
    """The sender is gone, so nobody waits for an answer."""

    code = "gone"


@dataclass(frozen=True, slots=True)
class Problem:
    """An error as it leaves."""

    status: int
    document: Mapping[str, Any]

    @property
    def retry(self) -> bool:
        """Whether to say after how long to try again."""
        return self.status in _RETRY_STATUS


_STATUS: tuple[tuple[type[LakeError], http.HTTPStatus], ...] = (
    (UnauthenticatedError, http.HTTPStatus.UNAUTHORIZED),
    (PausedError, http.HTTPStatus.FORBIDDEN),
    (LeaseRefusedError, http.HTTPStatus.FORBIDDEN),
    (BatchConflictError, http.HTTPStatus.CONFLICT),
    (TooLargeError, http.HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (TooSlowError, http.HTTPStatus.REQUEST_TIMEOUT),
    (UnsupportedError, http.HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
    (FullError, http.HTTPStatus.TOO_MANY_REQUESTS),
    (UnavailableError, http.HTTPStatus.SERVICE_UNAVAILABLE),
    (BatchRefusedError, http.HTTPStatus.UNPROCESSABLE_ENTITY),
    (UsageError, http.HTTPStatus.BAD_REQUEST),
)
_FOR_COLLECTORS = (BatchRefusedError, TooSlowError, FullError, StoppingError, GoneError)
"""Errors about the request itself, beside those of the query gateway. Of others the log alone has the text."""


def failed(error: BaseException) -> Failure:
    """What a collector may know of an error; the rest is logged."""
    if isinstance(error, _FOR_COLLECTORS):
        return Failure(error.code, error.message, error.hint, secrets.token_hex(8), retryable(error))
    found = failure(error)
    if isinstance(error, UnauthenticatedError):
        return replace(found, hint="show the token or the certificate of an enrolled device")
    return found


def retryable(error: LakeError) -> bool:
    """Whether the same request can succeed later: a pause without a mark came while the batch landed."""
    return error.exit_code == _AGAIN or (isinstance(error, PausedError) and "mark" not in error.details)


def problem(error: BaseException, status: int | None = None) -> Problem:
    """An error as an answer over HTTP."""
    found = failed(error)
    code = http.HTTPStatus(status or status_of(error))
    details = {name: value for name, value in _details(error).items() if name in _SHOWN}
    document = {
        "type": "about:blank",
        "title": code.phrase,
        "status": int(code),
        "detail": found.message,
        "code": found.code,
        "hint": found.hint,
        "id": found.id,
        "retryable": found.retryable,
    }
    return Problem(int(code), document | details)


def status_of(error: BaseException) -> int:
    """The status that fits an error."""
    for kind, status in _STATUS:
        if isinstance(error, kind):
            return status
    if isinstance(error, KeysError) and error.exit_code == _AGAIN:
        return http.HTTPStatus.SERVICE_UNAVAILABLE
    return http.HTTPStatus.INTERNAL_SERVER_ERROR


def _details(error: BaseException) -> Mapping[str, Any]:
    return error.details if isinstance(error, LakeError) else {}
