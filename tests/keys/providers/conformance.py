"""What every test of the conformance suite uses: keys to wrap, and a search for keys in what must not show them."""

from __future__ import annotations

import base64
import logging
import os
import traceback
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from keys import envelope
from keys.envelope import Kind
from keys.errors import KeyIntegrityError, KeyStateError, ProviderAnswerError
from keys.providers import KeyProvider, KeyToWrap, WrappedKey

NAME, OTHER = "root-dss1", "root-dss2"

REFUSED = (KeyIntegrityError, KeyStateError, ProviderAnswerError)
"""How a blob that is not what was wrapped may be refused: which of them depends on the byte."""


@dataclass(frozen=True, slots=True)
class Wrapped:
    """Keys, and what a provider made of them."""

    keys: list[bytes]
    items: list[WrappedKey]


def bound(number: int) -> bytes:
    """A context as the lake makes them."""
    return envelope.context(Kind.BUCKET_KEY, "lake-of-the-suite", 1, number, 1, NAME)


def to_wrap(count: int) -> list[KeyToWrap]:
    """Fresh keys, each with a context of its own."""
    return [KeyToWrap(os.urandom(32), bound(number)) for number in range(count)]


def wrapped(provider: KeyProvider, count: int = 1, version: int = 1, name: str = NAME) -> Wrapped:
    """Fresh keys, wrapped."""
    keys = to_wrap(count)
    blobs = provider.wrap(name, version, keys)
    assert len(blobs) == count
    items = [WrappedKey(version, blob, key.bound_to) for key, blob in zip(keys, blobs, strict=True)]
    return Wrapped([key.key for key in keys], items)


def relabelled(items: Sequence[WrappedKey], blobs: Sequence[bytes], version: int) -> list[WrappedKey]:
    """The same contexts with new blobs."""
    return [WrappedKey(version, blob, item.bound_to) for item, blob in zip(items, blobs, strict=True)]


def forms(secret: bytes) -> list[str]:
    """How a secret could stand in a text."""
    return [
        repr(secret)[2:-1],
        secret.decode("latin-1"),
        secret.hex(),
        base64.b64encode(secret).decode().rstrip("="),
        base64.urlsafe_b64encode(secret).decode().rstrip("="),
        str(list(secret))[1:-1],
    ]


def told_by(error: BaseException) -> str:
    """Everything that an error says: itself, its attributes, its traceback and what came before it."""
    before, chain = error.__context__, []
    while before is not None:
        chain += [repr(before), str(before), repr(vars(before))]
        before = before.__context__
    parts = [repr(error), str(error), repr(vars(error)), *traceback.format_exception(error), *chain]
    return "\n".join(parts)


@contextmanager
def silent_about(secrets: Collection[bytes], caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fails if a log record of any level, or an error that leaves, holds one of the secrets in any form."""
    assert secrets
    caplog.clear()
    with caplog.at_level(logging.DEBUG):
        try:
            yield
        except Exception as error:
            _search(told_by(error), secrets)
            raise
        finally:
            texts = [f"{record.getMessage()} {record.__dict__!r}" for record in caplog.records]
            _search("\n".join(texts), secrets)


def _search(text: str, secrets: Collection[bytes]) -> None:
    found = [form for secret in secrets for form in forms(secret) if form in text]
    assert not found, "a key can be read in an error or a log"
