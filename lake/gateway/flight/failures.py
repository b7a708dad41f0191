"""Errors as callers see them: a text, a code and an id, and nothing that was not meant for them.

pyarrow sends a Python traceback for every exception that is not one of Flight's, so none else may leave the door.
"""

from __future__ import annotations

import json
import logging
import secrets
import traceback
from dataclasses import dataclass
from pathlib import Path

import pyarrow.flight as fl

from keys.errors import KeysError, KeyStateError
from lake.errors import (
    DeniedError,
    DocumentError,
    IntegrityError,
    LakeError,
    LimitExceededError,
    QueryCancelledError,
    QueryFailedError,
    UnauthenticatedError,
    UnavailableError,
    UsageError,
)

_log = logging.getLogger("lake.gateway")
_AGAIN = 5
"""Exit code of errors that a second try may get past."""


class BusyError(UnavailableError):
    """The door has no room for this now; says so to the caller."""


class NotOfferedError(UsageError):
    """Flight SQL has this, and a lake does not."""


_FOR_CALLERS = (
    BusyError,
    DeniedError,
    LimitExceededError,
    QueryCancelledError,
    QueryFailedError,
    UnauthenticatedError,
    UsageError,
)
"""Errors about the call itself. All others are about the lake, and may name its files: the log has their text."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as it leaves: what it says, and the id under which the log has more."""

    code: str
    message: str
    hint: str
    id: str
    retryable: bool

    def document(self) -> bytes:
        """For programs."""
        fields = {"error": self.code, "message": self.message, "hint": self.hint, "id": self.id}
        return json.dumps(fields | {"retryable": self.retryable}).encode()

    def text(self) -> str:
        """For people."""
        return f"{self.message} ({self.hint})" if self.hint else self.message


def failure(error: BaseException) -> Failure:
    """What a caller may know of an error; the rest is logged."""
    name = secrets.token_hex(8)
    if isinstance(error, _FOR_CALLERS) and not isinstance(error, DocumentError):
        return Failure(error.code, error.message, error.hint, name, error.exit_code == _AGAIN)
    if isinstance(error, LakeError | KeysError):
        _log.error("failure %s: %s: %s", name, error.code, error.message)
        return Failure(error.code, *_instead(error), name, error.exit_code == _AGAIN)
    # Its text could carry rows or keys.
    _log.error("failure %s: %s at %s", name, type(error).__name__, _place(error))
    return Failure("failed", "an error that should not occur", "tell the operator the id", name, retryable=False)


def _instead(error: LakeError | KeysError) -> tuple[str, str]:
    """What is said of an error that is about the lake."""
    if error.exit_code == _AGAIN:
        return "the lake cannot answer now", "try again in a moment"
    if isinstance(error, KeyStateError):
        return "a key that the query needs is suspended or gone", "ask the operator"
    if isinstance(error, IntegrityError) or error.exit_code == 4:
        return "something stored is not as it was stored, so nothing is answered", "tell the operator the id"
    return "the lake cannot answer", "tell the operator the id"


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "an unknown place"


def as_flight(failed: Failure, error: BaseException) -> fl.FlightError:
    """The failure as Flight's error that fits."""
    kind = fl.FlightServerError
    if isinstance(error, UnauthenticatedError):
        kind = fl.FlightUnauthenticatedError
    elif isinstance(error, DeniedError):
        kind = fl.FlightUnauthorizedError
    elif failed.retryable:
        kind = fl.FlightUnavailableError
    elif not isinstance(error, LakeError | KeysError) or error.exit_code == 4:
        kind = fl.FlightInternalError
    # A cancellation is not Flight's own: pyarrow raises KeyboardInterrupt for that in the client's process.
    return kind(failed.text(), failed.document())
