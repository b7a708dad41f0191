"""What the answers of OpenBao and Vault mean: status and body in, fields or one of our errors out."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from keys.errors import (
    ProviderAnswerError,
    ProviderDeniedError,
    ProviderError,
    ProviderSealedError,
    ProviderThrottledError,
    ProviderUnavailableError,
)

_ASKED_WRONGLY = {HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND}


@dataclass(frozen=True, slots=True)
class Answer:
    """A request that was understood: status 200, 204, 400 or 404. The fields may hold keys."""

    status: int
    fields: dict[str, Any] = field(repr=False)

    @property
    def data(self) -> dict[str, Any]:
        """The engine's part.

        Raises:
            ProviderAnswerError: there is none.
        """
        data = self.fields.get("data")
        if not isinstance(data, dict):
            raise ProviderAnswerError("the key service answered without data")
        return data


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that got nowhere, and whether the same one may go through later."""

    error: ProviderError
    passes: bool = False


def understood(status: int, content: bytes) -> Answer | Refusal:
    """What an answer means. The server's own words are looked at for one question only, and never repeated."""
    fields = _fields(content)
    errors = fields.get("errors") if fields is not None else None
    refusal = _refusal(status, sealed="sealed" in str(errors))
    if refusal is not None:
        return refusal
    if fields is None or status not in {HTTPStatus.OK, HTTPStatus.NO_CONTENT, *_ASKED_WRONGLY}:
        return Refusal(ProviderAnswerError(f"the key service answered {status:d} with what cannot be read"))
    if status == HTTPStatus.NOT_FOUND and errors:
        return Refusal(ProviderAnswerError("the key service has no such engine", hint="check mount and namespace"))
    return Answer(status, fields)


def _refusal(status: int, *, sealed: bool) -> Refusal | None:
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        hint = "check the token and its policies"
        error: ProviderError = ProviderDeniedError("the key service refuses this host's token", hint=hint)
    elif status == HTTPStatus.SERVICE_UNAVAILABLE and sealed:
        error = ProviderSealedError("the key service is sealed", hint="an operator of it must unseal it")
    elif status == HTTPStatus.NOT_IMPLEMENTED:
        error = ProviderUnavailableError("the key service is not initialised")
    elif HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        hint = "name the address of the active server"
        error = ProviderAnswerError("the key service sends to another address, which is not followed", hint=hint)
    elif status == HTTPStatus.TOO_MANY_REQUESTS:
        return Refusal(ProviderThrottledError("the key service asks for fewer requests"), passes=True)
    elif status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.PRECONDITION_FAILED:
        return Refusal(ProviderUnavailableError("the key service fails"), passes=True)
    else:
        return None
    return Refusal(error)


def _fields(content: bytes) -> dict[str, Any] | None:
    """A JSON object; an empty answer is an empty one, None stands for anything else."""
    if not content:
        return {}
    try:
        fields = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) else None
