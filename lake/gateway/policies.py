"""Policies in force, stored sealed because they name people."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from keys.control import POLICY
from lake.gateway.contracts import Contracts
from lake.gateway.home import Home
from lake.gateway.recorder import Actor
from lake.rules.policy import Policy
from lake.rules.policy_document import parse_policy
from lake.sealed.audit import entries
from lake.sealed.catalog.rows import moment


@dataclass(frozen=True, slots=True)
class AppliedPolicy:
    """A policy and the time (naive UTC) from which it was in force."""

    applied_at: datetime
    policy: Policy


class Policies:
    """The policy of one lake; the one in force is asked for at every query."""

    def __init__(self, home: Home, contracts: Contracts) -> None:
        self._home = home
        self._contracts = contracts
        self._parsed: dict[str, Policy] = {}

    def current(self) -> Policy | None:
        """The policy in force, or None: then nobody may read."""
        row = self._home.catalog.current_policy()
        return None if row is None else self._open(*row)

    def mark(self) -> int:
        """A number that grows whenever a policy is applied, quick to read."""
        return self._home.catalog.newest_policy()

    def history(self) -> list[AppliedPolicy]:
        """Every policy that was in force, oldest first."""
        return [
            AppliedPolicy(moment(at), self._open(digest, sealed))
            for at, digest, sealed in self._home.catalog.policies()
        ]

    def _open(self, digest: str, sealed: bytes) -> Policy:
        if digest not in self._parsed:
            text = self._home.control.open_document(POLICY, digest, sealed).decode()
            self._contracts.reload()
            self._parsed[digest] = parse_policy(text, self._contracts.newest(), "the policy in force")
        return self._parsed[digest]

    def check(self, text: str, source: str) -> Policy:
        """Read a policy against the contracts in force.

        Raises:
            DocumentError: it is not valid; names line and column.
        """
        self._contracts.reload()
        return parse_policy(text, self._contracts.newest(), source)

    def apply(self, text: str, source: str, actor: Actor) -> tuple[Policy, bool]:
        """Put a policy in force; False if it is in force already. Recorded before it counts."""
        policy = self.check(text, source)
        current = self._home.catalog.current_policy()
        if current is not None and current[0] == policy.digest:
            return policy, False
        before = current[0] if current else ""
        self._home.recorder.record(entries.POLICY, actor, {"policy": policy.digest, "before": before})
        sealed = self._home.control.seal_document(POLICY, policy.digest, text.encode())
        self._home.advance(self._home.catalog.add_policy(policy.digest, sealed))
        return policy, True
