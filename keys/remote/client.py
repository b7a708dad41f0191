"""Calls to a broker in another process, over a few connections that are kept.

A connection that is found broken is made anew. A call that was on its way is sent again only if doing it twice is doing
it once; any other ends in an error that leaves open whether it was done.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from itertools import count

from keys.errors import BrokerMessageError, BrokerRefusedError, BrokerUnavailableError, KeyIntegrityError, KeysError
from keys.remote import messages, wire
from keys.remote.connect import Connect
from keys.remote.link import Link, LinkError
from keys.remote.wire import MOST_BYTES, Value

CONNECT_SECONDS = 10.0
CALL_SECONDS = 60.0
REPEATABLE = frozenset(
    {
        "control_secrets",
        "anchor",
        "advance_anchor",
        "check_open",
        "epoch",
        "announce",
        "wrap",
        "releases",
        "counts",
        "check_wraps",
        "verify",
    }
)
"""Calls that may be sent twice. A release uses up its receipt, new subjects are new, and events are told once."""


class BrokerClient:
    """Calls one broker. Safe to share between threads: each call has a connection to itself.

    Raises:
        BrokerUnavailableError: it cannot be reached.
        BrokerRefusedError: it does not know this host.
        KeyIntegrityError: it is another lake's.
    """

    def __init__(self, connect: Connect, lake: str, *, seconds: float = CALL_SECONDS) -> None:
        self._connect = connect
        self.lake = lake
        self._seconds = seconds
        self._numbers = count(1)
        self._lock = threading.Lock()
        self._idle: list[Link] = []
        self._closed = False
        self._give_back(self._new_link())

    def __repr__(self) -> str:
        return f"BrokerClient({self.lake!r})"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("keys are not pickled")

    def close(self) -> None:
        """Give the connections back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for link in idle:
            link.close()

    def call(self, name: str, given: Value, *, seconds: float | None = None) -> Value:
        """What the broker answers.

        Raises:
            KeysError: the broker's own error, by its class.
            BrokerUnavailableError: no answer came.
            BrokerMessageError: the request is too long, or the answer is none.
        """
        number = next(self._numbers)
        request = wire.frame({"id": number, "call": name, "with": given})
        link = self._take()
        try:
            answer = self._ask(link, request, seconds)
        except LinkError as error:
            link.close()
            if error.slow or name not in REPEATABLE:
                raise _no_answer() from None
            answer, link = self._again(request, seconds)
        except BaseException:
            link.close()
            raise
        return self._result(answer, number, link)

    def _again(self, request: bytes, seconds: float | None) -> tuple[Value, Link]:
        link = self._new_link()
        try:
            return self._ask(link, request, seconds), link
        except LinkError:
            link.close()
            raise _no_answer() from None
        except BaseException:
            link.close()
            raise

    def _ask(self, link: Link, request: bytes, seconds: float | None) -> Value:
        seconds = seconds or self._seconds
        link.send(request, seconds)
        return link.receive(MOST_BYTES, seconds)

    def _result(self, answer: Value, number: int, link: Link) -> Value:
        if not isinstance(answer, dict) or answer.get("id") != number or set(answer) not in _ANSWERS:
            link.close()
            if isinstance(answer, dict) and set(answer) == {"error"}:
                raise wire.error_of(answer["error"])
            raise BrokerMessageError("the broker answered something else than it was asked")
        self._give_back(link)
        if "error" in answer:
            raise wire.error_of(answer["error"])
        return answer["ok"]

    def _take(self) -> Link:
        """A connection on which nothing has happened since its last answer."""
        while True:
            with self._lock:
                link = self._idle.pop() if self._idle else None
            if link is None:
                return self._new_link()
            with suppress(OSError, ValueError):
                if not link.readable():
                    return link
            link.close()  # the broker has ended it

    def _give_back(self, link: Link) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(link)
                return
        link.close()

    def _new_link(self) -> Link:
        try:
            link = self._connect(CONNECT_SECONDS)
        except LinkError as error:
            raise _unreachable(error) from None
        try:
            greeting = link.receive(MOST_BYTES, CONNECT_SECONDS)
            if isinstance(greeting, dict) and "error" in greeting:
                raise wire.error_of(greeting["error"])
            self._check_greeting(greeting)
        except LinkError as error:
            link.close()
            raise _unreachable(error) from None
        except KeysError:
            link.close()
            raise
        return link

    def _check_greeting(self, greeting: Value) -> None:
        found = messages.fields(greeting, "protocol", "lake", "role")
        if found["protocol"] != wire.PROTOCOL:
            raise BrokerMessageError("the broker speaks another version", hint="bring both sides to one version")
        if found["lake"] != self.lake:
            raise KeyIntegrityError("the broker keeps the keys of another lake", hint="check --broker and lake.json")


_ANSWERS = ({"id", "ok"}, {"id", "error"})


def _no_answer() -> BrokerUnavailableError:
    return BrokerUnavailableError("the broker did not answer", hint="is it running? try again")


def _unreachable(error: LinkError) -> KeysError:
    if error.refused:
        return BrokerRefusedError(
            "no TLS connection to the broker: one side does not accept the other's certificate",
            hint="check --broker-ca, --broker-cert and --broker-key, the host's name, and when they expire",
        )
    return BrokerUnavailableError("the broker cannot be reached", hint="is it running? check --broker, then try again")
