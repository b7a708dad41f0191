"""A login to a PKCS#11 token. A module knows one login per process, so all providers of a process share it.

Closing one of them must not log the others out, and a second login of a process is not checked by the module: whoever
can run code in a process that is logged in can use the token, whatever PIN file it was given.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock, RLock
from typing import TypeVar

import pkcs11
from pkcs11 import Attribute, ObjectClass

from keys.errors import KeysError, ProviderDeniedError, ProviderUnavailableError
from keys.secretfiles import read_secret_file

Result = TypeVar("Result")

_DENIED = (
    pkcs11.PinIncorrect,
    pkcs11.PinInvalid,
    pkcs11.PinLenRange,
    pkcs11.PinExpired,
    pkcs11.PinLocked,
    pkcs11.UserPinNotInitialized,
    pkcs11.SessionReadOnly,
    pkcs11.TokenWriteProtected,
)
_MISSING = (pkcs11.NoSuchToken, pkcs11.TokenNotPresent, pkcs11.TokenNotRecognised, pkcs11.MultipleTokensReturned)

# The session is gone, or a key that was found a moment ago: worth one more look.
_LOST = (
    pkcs11.SessionHandleInvalid,
    pkcs11.SessionClosed,
    pkcs11.UserNotLoggedIn,
    pkcs11.ObjectHandleInvalid,
    pkcs11.KeyHandleInvalid,
    pkcs11.DeviceRemoved,
)


@dataclass(frozen=True, slots=True)
class Pkcs11Config:
    """Which token, and how to log in.

    Attributes:
        module: the vendor's library.
        pin_file: the user PIN, in a file of mode 0600; a newline at its end does not count.
        prefix: put before every name; keys of other lakes on the token have other names.
    """

    module: Path
    token_label: str
    pin_file: Path
    prefix: str = "tlake-"


class Token:
    """A session that is opened when it is needed, and again when it was lost. Threads take turns."""

    def __init__(self, config: Pkcs11Config) -> None:
        self.users = 0
        self._config = config
        self._turn = RLock()
        self._session: pkcs11.Session | None = None
        self._probe: pkcs11.Object | None = None

    def run(self, action: Callable[[pkcs11.Session], Result]) -> Result:
        """Do something that may be done twice: once more on a new session if this one was lost.

        Raises:
            ProviderDeniedError: the PIN is wrong or locked. It is never tried twice, since tokens count.
            ProviderUnavailableError: no module, no such token, or it fails; and in a forked process.
            SecretFileError, KeyStoreMissingError: of the PIN file.
        """
        self.require_own_process()
        with self._turn:
            try:
                try:
                    return action(self._live())
                except _LOST:
                    self.forget()
                    return action(self._live())
            except pkcs11.PKCS11Error as error:
                raise self._translated(error) from None

    def require_own_process(self) -> None:
        """A fork leaves a module that was loaded before in no defined state."""
        if not self._own_process():
            raise ProviderUnavailableError(
                "a PKCS#11 login does not outlive a fork", hint="start the process anew instead of forking it"
            )

    def _own_process(self) -> bool:
        return _LOADED_BY.get(str(self._config.module), os.getpid()) == os.getpid()

    def forget(self) -> None:
        """Close the session; the next use opens another."""
        with self._turn:
            session, self._session, self._probe = self._session, None, None
            if session is not None and self._own_process():
                with suppress(pkcs11.PKCS11Error):
                    session.close()

    def _live(self) -> pkcs11.Session:
        """The session. Without a login a token shows no keys at all, which must not look as if there were none."""
        if self._session is None or self._probe is None:
            self._session, self._probe = self._opened()
        self._probe[Attribute.LABEL]  # of a private object, which is gone as soon as nobody is logged in
        return self._session

    def _opened(self) -> tuple[pkcs11.Session, pkcs11.Object]:
        _LOADED_BY.setdefault(str(self._config.module), os.getpid())
        token = pkcs11.lib(str(self._config.module)).get_token(token_label=self._config.token_label)
        try:
            pin = read_secret_file(self._config.pin_file).rstrip(b"\r\n").decode()
        except UnicodeDecodeError:
            raise ProviderDeniedError(f"{self._config.pin_file} holds no PIN") from None
        try:
            session = token.open(rw=True, user_pin=pin)
        except pkcs11.UserAlreadyLoggedIn:
            session = token.open(rw=True)
        probe = session.create_object(
            {
                Attribute.CLASS: ObjectClass.DATA,
                Attribute.TOKEN: False,
                Attribute.PRIVATE: True,
                Attribute.LABEL: "tlake-login",
                Attribute.VALUE: b"",
            }
        )
        return session, probe

    def _translated(self, error: pkcs11.PKCS11Error) -> KeysError:
        label = self._config.token_label
        if isinstance(error, _DENIED):
            return ProviderDeniedError(
                f"the token {label!r} does not let this host do that ({type(error).__name__})",
                hint="check the PIN file before trying again: tokens lock themselves after some wrong PINs",
            )
        if isinstance(error, _MISSING):
            return ProviderUnavailableError(f"there is no one token labelled {label!r}", hint="is it connected?")
        return ProviderUnavailableError(f"the token {label!r} or its module fails ({type(error).__name__})")


_LOADED_BY: dict[str, int] = {}
"""Which process loaded a module."""

_TOKENS: dict[tuple[str, str], Token] = {}
_TOKENS_LOCK = Lock()


def join(config: Pkcs11Config) -> Token:
    """This process's login to a token; give it back with `leave`.

    Raises:
        ProviderUnavailableError: in a forked process.
    """
    with _TOKENS_LOCK:
        token = _TOKENS.setdefault((str(config.module), config.token_label), Token(config))
        token.require_own_process()
        token.users += 1
        return token


def leave(config: Pkcs11Config) -> None:
    """Give a login back; the last one closes it."""
    with _TOKENS_LOCK:
        token = _TOKENS[str(config.module), config.token_label]
        token.users -= 1
        if token.users == 0:
            del _TOKENS[str(config.module), config.token_label]
            token.forget()
