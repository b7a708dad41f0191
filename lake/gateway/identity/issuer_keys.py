"""The signing keys of one issuer: fetched when needed, kept for a bounded time, and proof against floods."""

from __future__ import annotations

import logging
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from joserfc.jwk import Key

from lake.errors import UnavailableError
from lake.gateway.identity.https import PATIENCE, fetch_object, split_url
from lake.gateway.identity.reasons import Reason, refused
from lake.gateway.identity.rules import IssuerRules
from lake.gateway.identity.signatures import fits, read_keys

REFETCH_AFTER = timedelta(seconds=30)
"""An unknown key id fetches the keys again at most once in this time."""
RETRY_AFTER = timedelta(seconds=5)
"""A fetch that failed is tried again at most once in this time."""
MAX_WAITING = 32
"""Callers that wait for another's fetch; further ones are refused at once, lest a flood hold every thread."""
_DISCOVERY = "/.well-known/openid-configuration"
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class IssuerStatus:
    """How it stands with an issuer's keys, for an operator.

    Attributes:
        keys: how many there are to check signatures with.
        fetched: when they were fetched; None if they never were.
        problem: why the last fetch failed; empty if it did not.
    """

    issuer: str
    keys: int
    fetched: datetime | None
    problem: str


@dataclass(frozen=True, slots=True)
class _Kept:
    keys: Mapping[str, tuple[Key, ...]]
    fetched: datetime


class IssuerKeys:
    """The keys of one issuer; safe for many threads.

    Args:
        patience: seconds for connecting to the issuer, and for all that follows, at each of two requests.
    """

    def __init__(self, rules: IssuerRules, context: ssl.SSLContext, *, patience: float = PATIENCE) -> None:
        self._rules = rules
        self._context = context
        self._patience = patience
        self._lock = threading.Lock()
        self._waiting = threading.Semaphore(MAX_WAITING)
        self._kept: _Kept | None = None
        self._tried: datetime | None = None
        self._problem = ""

    def find(self, key_id: str | None, algorithm: str, now: datetime) -> Key:
        """The one key of this id that fits the algorithm.

        Raises:
            UnauthenticatedError: there is none, or the issuer's keys cannot be had.
        """
        if key_id is None:
            raise refused(Reason.KEY)
        kept = self._kept if self._settled(key_id, now) else self._renewed(key_id, now)
        if kept is None or not self._usable(kept, now):
            raise refused(Reason.PROVIDER)
        fitting = [key for key in kept.keys.get(key_id, ()) if fits(key, algorithm)]
        if len(fitting) != 1:
            raise refused(Reason.KEY)
        return fitting[0]

    def refresh(self, now: datetime) -> None:
        """Fetch the keys before anybody asks for one; a failure shows in the status."""
        self._renewed("", now)

    def status(self) -> IssuerStatus:
        """How it stands."""
        kept, problem = self._kept, self._problem
        count = sum(len(keys) for keys in kept.keys.values()) if kept else 0
        return IssuerStatus(self._rules.issuer, count, kept.fetched if kept else None, problem)

    def _settled(self, key_id: str, now: datetime) -> bool:
        kept = self._kept
        return kept is not None and key_id in kept.keys and _within(kept.fetched, now, self._rules.keys_max_age)

    def _usable(self, kept: _Kept, now: datetime) -> bool:
        return _within(kept.fetched, now, self._rules.keys_max_age + self._rules.keys_outage)

    def _renewed(self, key_id: str, now: datetime) -> _Kept | None:
        """What is kept, after a fetch if one is due."""
        kept = self._kept
        served = kept is not None and key_id in kept.keys and self._usable(kept, now)
        if not self._turn(wait=not served):
            return kept
        try:
            wait = RETRY_AFTER if self._problem else REFETCH_AFTER
            if not self._settled(key_id, now) and not _within(self._tried, now, wait):
                self._tried = now
                self._fetch(now)
            return self._kept
        finally:
            self._lock.release()

    def _turn(self, *, wait: bool) -> bool:
        """Take the lock: one thread fetches, few wait for it, who has a key that will do does not. False: not had."""
        if self._lock.acquire(blocking=False):
            return True
        if not wait or not self._waiting.acquire(blocking=False):
            return False
        try:
            return self._lock.acquire()
        finally:
            self._waiting.release()

    def _fetch(self, now: datetime) -> None:
        try:
            keys = self._fetched()
        except UnavailableError as error:
            self._problem = error.message
            _LOG.warning("issuer %s: keys not fetched: %s", self._rules.issuer, error.message)
        else:
            self._kept, self._problem = _Kept(keys, now), ""
            _LOG.info("issuer %s: %d key ids", self._rules.issuer, len(keys))

    def _fetched(self) -> dict[str, tuple[Key, ...]]:
        discovery = split_url(self._rules.issuer.rstrip("/") + _DISCOVERY, plain=True)
        if discovery is None:
            raise UnavailableError("its address is not one to ask")
        document = fetch_object(discovery, self._context, patience=self._patience)
        place = document.get("jwks_uri")
        if document.get("issuer") != self._rules.issuer or not isinstance(place, str):
            raise UnavailableError("its discovery document is another issuer's, or none")
        url = split_url(place, plain=discovery.scheme == "http")
        if url is None:
            raise UnavailableError("its keys lie at an address that is not asked")
        keys = read_keys(fetch_object(url, self._context, patience=self._patience))
        if not keys:
            raise UnavailableError("it has no key that can be used")
        return keys


def _within(since: datetime | None, now: datetime, length: timedelta) -> bool:
    """Whether two times are less apart than that, whichever comes first: threads read the clock at odds."""
    return since is not None and abs(now - since) < length
