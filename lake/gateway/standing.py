"""Whether a query that was admitted may still go on: asked before every batch that leaves."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import UTC

from keys.errors import OutdatedPlanError
from keys.refs import DekRequest
from lake.errors import DeniedError, LakeError
from lake.gateway.admission import Admission, Admissions, Request
from lake.gateway.home import Home
from lake.gateway.policies import Policies
from lake.rules.policy import Grant


class Standing:
    """The standing of one query. A policy that still gives the same grants, and keys that still open, leave it."""

    def __init__(
        self, home: Home, policies: Policies, admissions: Admissions, request: Request, admission: Admission
    ) -> None:
        self._home = home
        self._policies = policies
        self._admissions = admissions
        self._request = request
        self._admission = admission
        self._marks = self._read_marks()
        self._epoch = home.key_store.epoch()

    def check(self) -> None:
        """Before a batch: the policy, and the caller's credential.

        Raises:
            DeniedError: it would not be admitted now.
        """
        now = self._home.clock().astimezone(UTC)
        expires = self._request.expires
        if expires is not None and now >= expires:
            raise DeniedError("your credential has expired", hint="get a new one and ask again")
        over = any(now.replace(tzinfo=None) >= one.expires for one in self._admission.allowed.lent)
        marks = self._read_marks()
        if over or marks != self._marks:
            self._check_policy()
            self._marks = marks

    def _read_marks(self) -> tuple[int, int]:
        """What grows with every policy, and with every event of break-glass."""
        with self._home.catalog.database.snapshot():
            return self._policies.mark(), self._admissions.elevations.mark()

    def check_keys(self) -> None:
        """Before a part: a key that was frozen stops what it opened.

        Raises:
            KeysError: a key is disabled now.
        """
        epoch = self._home.key_store.epoch()
        if epoch != self._epoch:
            one_of_each: dict[tuple[str, int], DekRequest] = {}
            for planned in self._admission.planned.values():
                for request in planned.requests():
                    one_of_each[request.wrapped.kek_id, request.wrapped.kek_version] = request
            self._check_open(list(one_of_each.values()))
            self._epoch = epoch

    def _check_open(self, requests: list[DekRequest]) -> None:
        """A key that was replaced or destroyed meanwhile has been used already; one that is disabled is not used on."""
        try:
            self._home.broker.check_open(requests)
        except OutdatedPlanError:
            for request in requests:
                with suppress(OutdatedPlanError):
                    self._home.broker.check_open([request])

    def _check_policy(self) -> None:
        request = self._request
        try:
            now = self._admissions.allowed(self._policies.current(), request.identity, request.purpose, request.role)
            same = all(
                name in now.grants and _same(now.grants[name], planned.grant)
                for name, planned in self._admission.planned.items()
            )
        except LakeError:
            same = False
        if not same or now.principal != self._admission.allowed.principal:
            raise DeniedError("the policy has changed meanwhile", hint="ask again")


def _same(new: Grant, old: Grant) -> bool:
    """Equal but for its place in the document."""
    return replace(new, line=0) == replace(old, line=0)
