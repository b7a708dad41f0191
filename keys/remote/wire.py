"""Messages between a host and the broker: ``u32be length | canonical JSON``, bytes as ``{"b": base64}``.

Canonical means that a value has one form only: UTF-8, keys sorted, no white space, no floats, integers of 64 bits. What
has another form is refused whole.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from keys import errors
from keys.errors import BrokerFailedError, BrokerMessageError, KeysError

PROTOCOL = 1
"""Changes when a message does."""
MIB = 1024 * 1024
MOST_BYTES = 64 * MIB
"""Of one message: some 100,000 files of one query."""
MAX_DEPTH = 10
_MAX_INTEGER = 2**63
_MAX_TEXT = 1_000
_HEADER = 4
_BYTES = "b"

Value = Any
"""None, bool, int, str, bytes, and lists and mappings of these."""


def frame(value: Value, most: int = MOST_BYTES) -> bytes:
    """A message as it is sent.

    Raises:
        BrokerMessageError: longer than ``most`` bytes, or not a value that a message can hold.
    """
    raw = encode(value)
    if len(raw) > most:
        raise BrokerMessageError("a message for the broker is too long", hint="ask for fewer files at once")
    return len(raw).to_bytes(_HEADER, "big") + raw


def body_length(header: bytes, most: int) -> int:
    """The length that a header of 4 bytes announces.

    Raises:
        BrokerMessageError: more than ``most``.
    """
    length = int.from_bytes(header, "big")
    if len(header) != _HEADER or length > most:
        raise BrokerMessageError("a message of the broker is too long")
    return length


def encode(value: Value) -> bytes:
    """The one form of a value.

    Raises:
        BrokerMessageError: it holds what a message cannot.
    """
    try:
        text = json.dumps(_plain(value, MAX_DEPTH), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return text.encode()
    except UnicodeEncodeError:
        raise _malformed() from None


def decode(raw: bytes) -> Value:
    """The value of a message.

    Raises:
        BrokerMessageError: not JSON, or not in its one form.
    """
    try:
        value = json.loads(
            raw.decode(), object_pairs_hook=_object, parse_float=_refuse, parse_constant=_refuse, parse_int=_integer
        )
    except (ValueError, RecursionError):
        raise _malformed() from None
    if encode(value) != raw:
        raise _malformed()
    return value


def error_fields(error: KeysError) -> dict[str, str]:
    """An error as it travels: its code, message and hint, and nothing else of it."""
    return {"code": error.code, "hint": error.hint[:_MAX_TEXT], "message": error.message[:_MAX_TEXT]}


def error_of(fields: Value) -> KeysError:
    """The error that was sent; of an unknown code, one without the text.

    Raises:
        BrokerMessageError: these are not an error's fields.
    """
    if not isinstance(fields, Mapping) or set(fields) != {"code", "hint", "message"}:
        raise _malformed()
    code, message, hint = fields["code"], fields["message"], fields["hint"]
    if not all(isinstance(text, str) and len(text) <= _MAX_TEXT for text in (code, message, hint)):
        raise _malformed()
    kind = _CLASSES.get(code)
    return BrokerFailedError("the broker failed") if kind is None else kind(message, hint=hint)


_CLASSES: dict[str, type[KeysError]] = {
    found.code: found for found in vars(errors).values() if isinstance(found, type) and issubclass(found, KeysError)
}


def _malformed() -> BrokerMessageError:
    return BrokerMessageError("a message of the broker is malformed", hint="do both sides have the same version?")


def _plain(value: Value, depth: int) -> Any:
    """The same in JSON's own types."""
    if depth == 0:
        raise _malformed()
    match value:
        case None | bool() | str():
            return value
        case int() if -_MAX_INTEGER <= value < _MAX_INTEGER:
            return value
        case bytes():
            return {_BYTES: base64.b64encode(value).decode()}
        case Mapping() if set(value) != {_BYTES} and all(isinstance(key, str) for key in value):
            return {key: _plain(item, depth - 1) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item, depth - 1) for item in value]
        case _:
            raise _malformed()


def _object(pairs: list[tuple[str, Any]]) -> Any:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    if set(found) == {_BYTES}:
        if not isinstance(found[_BYTES], str):
            raise ValueError
        return base64.b64decode(found[_BYTES], validate=True)
    return found


def _integer(text: str) -> int:
    if len(text) > len(str(_MAX_INTEGER)) + 1:
        raise ValueError
    return int(text)


def _refuse(_: str) -> Any:
    raise ValueError
