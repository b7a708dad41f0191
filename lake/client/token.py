"""The credential that goes with each call: given once, read from a file that is renewed, or asked for."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lake.errors import UsageError

LONGEST = 8192
_TOKEN = re.compile(r"[\x21-\x7e]+", re.ASCII)


class Tokens:
    """Gives a bearer token for each call; shows it nowhere.

    Args:
        token: the token, or a function that gives one that is valid now.
        file: a file that holds it; read again when it has changed.

    Raises:
        UsageError: both are given, or what is given is no token.
    """

    __slots__ = ("_file", "_lock", "_seen", "_source", "_text")

    def __init__(self, token: str | Callable[[], str] | None = None, file: Path | None = None) -> None:
        if token is not None and file is not None:
            raise UsageError("a token is given, and a file with one too", hint="give one of them")
        self._source = token if callable(token) else None
        self._file = file
        self._text = token if isinstance(token, str) else None
        self._seen: tuple[int, ...] = ()
        self._lock = threading.Lock()
        if isinstance(token, str):
            _checked(token)

    def __repr__(self) -> str:
        return f"Tokens({self._file or 'hidden'})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Goes to another process only as the way to get a token.

        Raises:
            UsageError: the token itself would have to go.
        """
        if self._text is not None and self._file is None:
            hint = "connect with token_file=... or with a function that gives the token"
            raise UsageError("a token is not handed to other processes", hint=hint)
        return Tokens, (self._source, self._file)

    def current(self) -> str | None:
        """The token for the next call; None when there is none, as with a client certificate.

        Raises:
            UsageError: the file cannot be read, or what came is no token.
        """
        if self._source is not None:
            return _checked(self._source())
        if self._file is None:
            return self._text
        with self._lock:
            return self._from_file(self._file)

    def _from_file(self, file: Path) -> str:
        try:
            with file.open("rb") as opened:
                state = os.fstat(opened.fileno())
                seen = (state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
                if seen != self._seen or self._text is None:
                    text = opened.read(LONGEST + 2).decode("ascii", "replace").strip()
                    self._text, self._seen = _checked(text), seen
        except OSError as error:
            raise UsageError(f"{file} cannot be read: {os.strerror(error.errno or 0)}") from None
        return self._text


def _checked(token: object) -> str:
    if not isinstance(token, str) or len(token) > LONGEST or _TOKEN.fullmatch(token) is None:
        raise UsageError("what was given as a token is none", hint="a token is one word of printable ASCII")
    return token
