"""What went wrong behind the door, as the lake's own errors: gRPC's and Arrow's texts never pass."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.flight as fl

from lake import errors
from lake.errors import (
    DeniedError,
    DocumentError,
    LakeError,
    QueryCancelledError,
    UnauthenticatedError,
    UnavailableError,
    UsageError,
)

_LONGEST = 2000
_CLASSES: dict[str, type[LakeError]] = {
    kind.code: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, LakeError) and kind is not DocumentError
}
"""Errors by code. A document is wrong at a place of a file, which no answer of a gateway names."""


@contextmanager
def told(place: str) -> Iterator[None]:
    """Turn whatever a call to the gateway at ``place`` raises into the lake's error for it.

    Raises:
        LakeError: of the class that the gateway named, or of the one that fits how the call failed.
    """
    try:
        yield
    except fl.FlightError as error:
        # An answer that says something, though nothing that is known here, came from a gateway that is there.
        raise (_named(error.extra_info, place) if error.extra_info else _of_transport(error, place)) from None
    except (pa.ArrowException, ConnectionError, TimeoutError, OSError) as error:
        # A stream that breaks in the middle is no FlightError.
        raise _of_transport(error, place) from None


def _named(extra: Any, place: str) -> LakeError:
    """The error that an answer's JSON describes."""
    try:
        document = json.loads(bytes(extra))
        code, message = document["error"], document["message"]
        hint, identifier = document.get("hint") or "", document.get("id") or ""
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return _unusable(place)
    if not all(isinstance(text, str) for text in (code, message, hint, identifier)):
        return _unusable(place)
    kind = _CLASSES.get(code) or (UnavailableError if document.get("retryable") is True else LakeError)
    details = {"id": identifier[:100]} if identifier else {}
    return kind(message[:_LONGEST], hint=hint[:_LONGEST], **details)


_TLS_WORDS = ("ssl", "tls", "certificate", "handshake", "peer name")


def _of_transport(error: BaseException, place: str) -> LakeError:
    """The error for a call that failed without the gateway's word for it."""
    match error:
        case fl.FlightUnauthenticatedError():
            return UnauthenticatedError("not authenticated", hint="get a new token")
        case fl.FlightUnauthorizedError():
            return DeniedError("the gateway refused the call")
        case fl.FlightCancelledError():
            return QueryCancelledError("the query was broken off")
        case fl.FlightTimedOutError():
            return UnavailableError(f"the gateway at {place} did not answer in time", hint="try again")
        case fl.FlightUnavailableError() | fl.FlightInternalError() | OSError():
            return _unreachable(str(error).lower(), place)
    return _unusable(place)


def _unusable(place: str) -> LakeError:
    return LakeError(f"the answer of the gateway at {place} cannot be used", hint="is it one of the same version?")


def _unreachable(text: str, place: str) -> LakeError:
    # The text is only looked at: it may quote what it likes.
    if any(word in text for word in _TLS_WORDS):
        hint = "check the address, the time, and the CA: ca=... or --ca FILE"
        return UsageError(f"no secure connection to {place}: its certificate or its TLS is not accepted", hint=hint)
    return UnavailableError(f"the gateway at {place} is not there", hint="check the address, or try again")
