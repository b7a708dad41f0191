"""The one path of a query: guard, decide, plan, INTENT, keys, slice, sandbox, OUTCOME, rows. Every door calls it.

No record, no rows: keys are asked for only after the INTENT is durable, and each part of the result leaves only after
an OUTCOME entry names exactly whose rows it may come from.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from keys.errors import KeysError, OutdatedPlanError
from lake.clear.reading.slice import Slice
from lake.clear.sandbox import execute, guard, syntax
from lake.errors import DeniedError, LakeError, LimitExceededError
from lake.gateway.contracts import Contracts
from lake.gateway.home import Home
from lake.gateway.planner import Planned, Planner
from lake.gateway.policies import Policies
from lake.gateway.recorder import Actor, Recorded
from lake.gateway.release import release
from lake.rules.model import Identity, Principal
from lake.rules.policy import Grant, Limits, Policy, Refusal, applicable, datasets_for, decide
from lake.sealed.audit import entries

Parameters = Sequence[Any] | Mapping[str, Any]
REPLAN_AFTER = (0.0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
"""Seconds before planning again: keys that are being replaced are there again soon."""


@dataclass(frozen=True, slots=True)
class Request:
    """Who asks what, and what for.

    Attributes:
        files: read these alone of the files that the query may read; a part of a query that was split.
    """

    identity: Identity
    purpose: str
    sql: str
    parameters: Parameters = ()
    role: str | None = None
    files: frozenset[str] | None = None

    @property
    def user(self) -> str:
        """The name as which they are recorded."""
        return self.identity.user


class QueryGateway:
    """Answers queries on one lake."""

    def __init__(self, home: Home, contracts: Contracts, policies: Policies) -> None:
        self._home = home
        self._contracts = contracts
        self._policies = policies
        self._planner = Planner(home)

    def run(self, request: Request) -> QueryStream:
        """Start a query; its result streams.

        Raises:
            DeniedError: no grant; the same for what does not exist.
            QueryRefusedError: the SQL may not run.
            QueryFailedError, LimitExceededError: it failed before a row was released.
            AuditUnavailableError, IntegrityError, KeysError: no rows either.
        """
        actor = self._home.actor(request.user)
        for seconds in REPLAN_AFTER:
            with suppress(OutdatedPlanError):
                return self._run(request, actor)
            # A key was replaced or an employee erased between planning and opening: plan again.
            time.sleep(seconds)
        return self._run(request, actor)

    def _run(self, request: Request, actor: Actor) -> QueryStream:
        self._home.catalog.check_anchor(*self._home.key_store.anchor("catalog"))
        policy = self._policies.current()
        try:
            admission = self._admit(request, policy)
        except (LakeError, KeysError) as error:
            self._deny(request, actor, policy, error)
            raise
        actor = Actor(actor.tag, admission.principal.roles)
        intent = self._intend(request, actor, policy, admission)
        sys.audit("lake.step", "query.intended")
        outcome = _Outcome(self._home, actor, intent, request.purpose)
        try:
            return self._start(request, admission, intent, outcome)
        except (LakeError, KeysError) as error:
            if not outcome.closed:
                outcome.record("error", {}, 0, 0, error=error)
            raise

    def _admit(self, request: Request, policy: Policy | None) -> _Admission:
        if policy is None:
            raise DeniedError("access denied", hint="ask the owner of the lake for a grant")
        principal = policy.principal(request.identity)
        grants = {grant.dataset: grant for grant in datasets_for(policy, principal, request.purpose, request.role)}
        if not grants:
            self._explain_ambiguity(policy, principal, request)
            raise DeniedError("access denied", hint="ask the owner of the lake for a grant")
        statement = syntax.parse(request.sql)
        query = guard.admit(statement, {name: grant.visible_columns() for name, grant in grants.items()})
        now = self._home.clock().astimezone(UTC).replace(tzinfo=None)
        contracts = self._contracts.newest()
        planned = {
            name: self._planner.plan(grants[name], contracts[name], principal, query.constraints[name], now)
            for name in sorted(query.tables)
        }
        return _Admission(principal, query, planned, now)

    @staticmethod
    def _explain_ambiguity(policy: Policy, principal: Principal, request: Request) -> None:
        """Tell a principal which of their own roles to choose from; nothing that they do not hold."""
        for dataset in applicable(policy, principal, request.purpose, request.role):
            decision = decide(policy, principal, request.purpose, dataset, request.role)
            if isinstance(decision, Refusal) and "several roles" in decision.reason:
                held = ", ".join(principal.roles)
                raise DeniedError("several of your roles grant this", hint=f"name one with role: {held}")

    def _deny(self, request: Request, actor: Actor, policy: Policy | None, error: LakeError | KeysError) -> None:
        fields = {
            "purpose": request.purpose if policy and request.purpose in policy.purposes else "unknown",
            "policy": policy.digest if policy else "",
            "reason": error.code,
        }
        detail = {"sql": request.sql, "purpose": request.purpose, "message": error.message}
        self._home.recorder.record(entries.DENY, actor, fields, detail)

    def _intend(self, request: Request, actor: Actor, policy: Policy | None, admission: _Admission) -> Recorded:
        query = admission.query
        literals = [*query.literals, *map(str, _values(request.parameters))][: guard.MAX_LITERALS]
        fields = {
            "purpose": request.purpose,
            "policy": policy.digest if policy else "",
            "query": {
                "fingerprint": query.fingerprint,
                "literals": [self._home.control.literal_tag(text) for text in literals],
            },
            "grants": {name: planned.grant.role for name, planned in admission.planned.items()},
            "scope": {
                "partitions": {name: planned.scope() for name, planned in admission.planned.items()},
                "files": sum(len(planned.files) for planned in admission.planned.values()),
            },
        }
        detail = {"sql": request.sql, "parameters": [str(value) for value in _values(request.parameters)]}
        return self._home.recorder.record(entries.INTENT, actor, fields, detail)

    def _start(self, request: Request, admission: _Admission, intent: Recorded, outcome: _Outcome) -> QueryStream:
        requests = [item for planned in admission.planned.values() for item in planned.requests()]
        deks = iter(release(self._home, intent, requests) if requests else ())
        sys.audit("lake.step", "query.keys-released")
        slices: dict[str, Slice] = {}
        for name, planned in admission.planned.items():
            own = [next(deks) for _ in planned.files]
            plan = self._planner.seal(planned, own, admission.principal, request.purpose, admission.now)
            slices[name] = Slice(plan)
        limits = _tightest([planned.grant for planned in admission.planned.values()])
        settings = self._home.settings
        sandbox = execute.SandboxLimits(settings.threads, settings.engine_memory, limits.seconds)
        try:
            running = execute.run(request.sql, slices, request.parameters, sandbox)
        except LakeError as error:
            # The engine may have read rows before it failed, and that it failed says something about them.
            outcome.record("error", slices, 0, 0, error=error)
            raise
        return QueryStream(running, slices, outcome, limits, settings.release_bytes)


@dataclass(frozen=True, slots=True)
class _Admission:
    principal: Principal
    query: guard.AdmittedQuery
    planned: Mapping[str, Planned]
    now: datetime


class _Outcome:
    """Records the OUTCOME entries of one query."""

    def __init__(self, home: Home, actor: Actor, intent: Recorded, purpose: str) -> None:
        self._home = home
        self._actor = actor
        self.intent = intent.index
        self._purpose = purpose
        self._part = 0
        self.closed = False

    def record(
        self,
        out: str,
        slices: Mapping[str, Slice],
        rows: int,
        size: int,
        *,
        final: bool = True,
        error: LakeError | KeysError | None = None,
    ) -> None:
        """Append the OUTCOME of one part; ``rows`` and ``size`` are of the part, ``touched`` is so far."""
        fields: dict[str, Any] = {
            "ref": self.intent,
            "purpose": self._purpose,
            "part": self._part,
            "final": final,
            "out": out,
            "rows": rows,
            "bytes": size,
            "touched": {name: _touched(source) for name, source in slices.items()},
        }
        if error is not None:
            fields["error"] = error.code
        self._home.recorder.record(entries.OUTCOME, self._actor, fields)
        self._part += 1
        self.closed = self.closed or final

    def anchor(self) -> None:
        """Make a log without this entry noticeable."""
        self._home.anchor_log()


class QueryStream:
    """A result on its way out: Arrow batches, each released only after its OUTCOME entry is durable.

    Attributes:
        schema: columns of the result.
        receipt: index of the query's INTENT entry in the audit log.
    """

    def __init__(
        self,
        running: execute.Running,
        slices: Mapping[str, Slice],
        outcome: _Outcome,
        limits: Limits,
        release_bytes: int,
    ) -> None:
        self.schema: pa.Schema = running.schema
        self.receipt = outcome.intent
        self._running = running
        self._slices = slices
        self._outcome = outcome
        self._limits = limits
        self._release_bytes = release_bytes
        self._rows = self._bytes = 0
        # The first part is made at once, so that errors show where the query was asked.
        self._parts = self._make_parts()
        self._first: list[pa.RecordBatch] | None = next(self._parts, None)

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        if self._first is not None:
            part, self._first = self._first, None
            yield from part
        for part in self._parts:
            yield from part

    def close(self) -> None:
        """Stop; what was not taken is not released."""
        self._running.close()
        if not self._outcome.closed:
            self._outcome.record("abandoned", self._slices, 0, 0)

    def _make_parts(self) -> Iterator[list[pa.RecordBatch]]:
        try:
            part: list[pa.RecordBatch] = []
            size = 0
            for batch in self._running.batches:
                part.append(batch)
                size += batch.nbytes
                self._count(batch)
                if size >= self._release_bytes:
                    yield self._released(part, size, final=False)
                    part, size = [], 0
            yield self._released(part, size, final=True)
        except (LakeError, KeysError) as error:
            if not self._outcome.closed:
                self._outcome.record("error", self._slices, 0, 0, error=error)
            raise
        finally:
            self._running.close()

    def _count(self, batch: pa.RecordBatch) -> None:
        self._rows += batch.num_rows
        self._bytes += batch.nbytes
        for name, used, limit in (("rows", self._rows, self._limits.rows), ("bytes", self._bytes, self._limits.bytes)):
            if limit is not None and used > limit:
                raise LimitExceededError(f"the result has more than {limit} {name}", hint="narrow the query")

    def _released(self, part: list[pa.RecordBatch], size: int, *, final: bool) -> list[pa.RecordBatch]:
        sys.audit("lake.step", "query.computed")
        rows = sum(batch.num_rows for batch in part)
        self._outcome.record("allow", self._slices, rows, size, final=final)
        if final:
            self._outcome.anchor()
        sys.audit("lake.step", "query.outcome-recorded")
        return part


def _touched(source: Slice) -> dict[str, Any]:
    return {
        str(level): {"rows": rows, "emp": entries.bitmap(numbers)}
        for level, (rows, numbers) in sorted(source.touched_so_far().items())
    }


def _values(parameters: Parameters) -> list[Any]:
    return list(parameters.values()) if isinstance(parameters, Mapping) else list(parameters)


def _tightest(grants: Sequence[Grant]) -> Limits:
    """The tightest of every limit, for a query over several datasets."""

    def least(values: Iterator[int | None]) -> int | None:
        return min((value for value in values if value is not None), default=None)

    return Limits(
        rows=least(grant.limits.rows for grant in grants),
        bytes=least(grant.limits.bytes for grant in grants),
        seconds=least(grant.limits.seconds for grant in grants),
    )
