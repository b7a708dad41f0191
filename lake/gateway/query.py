"""The one path of a query: guard, decide, plan, INTENT, keys, slice, sandbox, OUTCOME, rows. Every door calls it.

No record, no rows: keys are asked for only after the INTENT is durable, and each part of the result leaves only after
an OUTCOME entry names exactly whose rows it may come from.
"""

from __future__ import annotations

import heapq
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from keys.errors import KeysError, OutdatedPlanError
from lake.clear.reading.image.build import Image
from lake.clear.reading.image.images import Images, Need
from lake.clear.reading.plan import Era
from lake.clear.reading.slice import Slice
from lake.clear.sandbox import guard
from lake.clear.sandbox.answers import Parameters, SandboxLimits
from lake.clear.serving import exports
from lake.clear.serving.cache import SliceCache
from lake.clear.serving.recall import Session
from lake.errors import LakeError, LimitExceededError
from lake.gateway.admission import Admission, Admissions, Request
from lake.gateway.contracts import Contracts
from lake.gateway.engines import Engine, in_process
from lake.gateway.home import Home
from lake.gateway.observe import tracing
from lake.gateway.policies import Policies
from lake.gateway.recorder import Actor, Recorded
from lake.gateway.release import release
from lake.gateway.slots import Slots
from lake.gateway.standing import Standing
from lake.gateway.stream import Outcome, QueryStream
from lake.rules.policy import Policy
from lake.sealed.audit import entries

__all__ = ["Described", "Parameters", "QueryGateway", "QueryStream", "Request"]

REPLAN_AFTER = (0.0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
"""Seconds before planning again: keys that are being replaced are there again soon."""


_EXPLAINED = pa.schema([("explain_key", pa.string()), ("explain_value", pa.string())])


@dataclass(frozen=True, slots=True)
class Described:
    """What a query would give, without running it.

    Attributes:
        parameters: names of its parameters, ``"1"`` for the first ``?``.
        divisible: whether it can be run in parts, over disjoint sets of files.
    """

    schema: pa.Schema
    parameters: tuple[str, ...]
    divisible: bool


class QueryGateway:
    """Answers queries on one lake.

    Args:
        engine: where user SQL runs; usually in this process.
        engine_memory: bytes that the engine may use for one query.
        cache: keeps slices between queries; without one none is kept.
        images: what the engine may read by itself; without it, every row is decoded before the engine has it.
    """

    def __init__(
        self,
        home: Home,
        contracts: Contracts,
        policies: Policies,
        engine: Engine | None = None,
        *,
        engine_memory: int | None = None,
        cache: SliceCache | None = None,
        images: Images | None = None,
    ) -> None:
        self._home = home
        self._policies = policies
        self._engine = engine or in_process(cache)
        self._memory = home.settings.engine_memory if engine_memory is None else engine_memory
        self._cache = cache
        self._images = images
        self._slots = Slots()
        self.admissions = Admissions(home, contracts)

    def run(self, request: Request) -> QueryStream:
        """Start a query; its result streams.

        Raises:
            DeniedError: no grant; the same for what does not exist.
            QueryRefusedError: the SQL may not run.
            QueryFailedError, LimitExceededError: it failed before a row was released.
            AuditUnavailableError, IntegrityError, KeysError: no rows either.
        """
        actor = self._home.actor(request.user)
        session = self._engine(request.user)
        request.cancellation.attach(session.cancel)
        try:
            for seconds in REPLAN_AFTER:
                with suppress(OutdatedPlanError):
                    return self._run(request, actor, session)
                # A key was replaced or an employee erased between planning and opening: plan again.
                time.sleep(seconds)
            return self._run(request, actor, session)
        except BaseException:
            session.close()
            raise

    def describe(self, request: Request) -> Described:
        """What a query would give; nothing is read, and a refusal is recorded as that of ``run``.

        Raises:
            DeniedError, QueryRefusedError: it may not run.
        """
        policy = self._policies.current()
        session = self._engine(request.user)
        try:
            admission = self._admitted(request, self._home.actor(request.user), policy, session)
            query = admission.query
            if query.explain:
                return Described(_EXPLAINED, query.parameters, divisible=False)
            tables = {name: self.admissions.slice_schema(planned) for name, planned in admission.planned.items()}
            shape = session.describe(admission.sql, tables, request.parameters or _unbound(query))
            return Described(shape, query.parameters, admission.divisible)
        finally:
            session.close()

    def split(self, request: Request, parts: int) -> list[frozenset[str] | None]:
        """Disjoint sets of files over which a query can be run in parts, of about as many rows each.

        Returns:
            ``[None]`` if it cannot be divided; at most ``parts`` sets.

        Raises:
            DeniedError, QueryRefusedError: it may not run.
        """
        session = self._engine(request.user)
        try:
            admission = self._admitted(request, self._home.actor(request.user), self._policies.current(), session)
        finally:
            session.close()
        if parts < 2 or not admission.divisible:
            return [None]
        (planned,) = admission.planned.values()
        shares: list[tuple[int, list[str]]] = [(0, []) for _ in range(parts)]
        for file, _ in sorted(planned.files, key=lambda item: (-item[0].rows, item[0].file_id)):
            rows, names = heapq.heappop(shares)
            names.append(file.file_id)
            heapq.heappush(shares, (rows + file.rows, names))
        return [frozenset(names) for _, names in shares if names] or [None]

    def _run(self, request: Request, actor: Actor, session: Session) -> QueryStream:
        self._home.catalog.check_anchor(*self._home.key_store.anchor("catalog"))
        policy = self._policies.current()
        admission = self._admitted(request, actor, policy, session)
        try:
            give_back = self._slots.take(admission)
        except LimitExceededError as error:
            self._deny(request, actor, policy, error)
            raise
        actor = Actor(actor.tag, admission.allowed.principal.roles)
        try:
            stream = self._opened(request, actor, admission, session)
        except BaseException:
            give_back()
            raise
        stream.when_closed(give_back)
        return stream

    def _opened(self, request: Request, actor: Actor, admission: Admission, session: Session) -> QueryStream:
        standing = Standing(self._home, self._policies, self.admissions, request, admission)
        intent = self._intend(request, actor, admission)
        sys.audit("lake.step", "query.intended")
        outcome = Outcome(self._home, actor, intent, request.purpose)
        try:
            slices = self._slices(request, admission, intent)
            return self._start(request, admission, slices, session, (outcome, standing))
        except (LakeError, KeysError) as error:
            if not outcome.closed:
                outcome.record("error", {}, 0, 0, error=error)
            raise

    def _admitted(self, request: Request, actor: Actor, policy: Policy | None, session: Session) -> Admission:
        try:
            return self.admissions.admit(request, policy, session)
        except (LakeError, KeysError) as error:
            self._deny(request, actor, policy, error)
            raise

    def _deny(self, request: Request, actor: Actor, policy: Policy | None, error: LakeError | KeysError) -> None:
        fields = {
            "purpose": request.purpose if policy and request.purpose in policy.purposes else "unknown",
            "policy": policy.digest if policy else "",
            "reason": error.code,
        }
        detail = {"sql": request.sql, "purpose": request.purpose, "message": error.message}
        self._home.recorder.record(entries.DENY, actor, fields, detail)

    def _intend(self, request: Request, actor: Actor, admission: Admission) -> Recorded:
        query = admission.query
        values = _values(request.parameters)
        literals = [*query.literals, *map(str, values)][: guard.MAX_LITERALS]
        fields: dict[str, Any] = {
            "purpose": request.purpose,
            "policy": admission.allowed.policy.digest,
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
        if admission.lent():
            fields["break_glass"] = admission.lent()
        detail = {"sql": request.sql, "parameters": [str(value) for value in values]}
        return self._home.recorder.record(entries.INTENT, actor, fields, detail)

    def _start(
        self,
        request: Request,
        admission: Admission,
        slices: Mapping[str, Slice],
        session: Session,
        watch: tuple[Outcome, Standing],
    ) -> QueryStream:
        settings, limits = self._home.settings, admission.limits()
        sandbox = SandboxLimits(settings.threads, self._memory, limits.seconds)
        try:
            with tracing.step("sandbox"):
                running = session.run(admission.sql, slices, request.parameters, sandbox, admission.plain)
        except LakeError as error:
            # The engine may have read rows before it failed, and that it failed says something about them.
            known = watch[0].explained(error, slices)
            watch[0].record("error", slices, 0, 0, error=known)
            raise known from None
        stream = QueryStream(running, slices, watch, limits=limits, release_bytes=settings.release_bytes)
        stream.cancellation = request.cancellation
        return stream

    def _slices(self, request: Request, admission: Admission, intent: Recorded) -> dict[str, Slice]:
        era = self._era(admission)
        needs = {name: self._need(name, request, admission, era) for name in admission.planned}
        held = {name: self._held(name, admission, need) for name, need in needs.items()}
        requests = [
            item
            for name, planned in admission.planned.items()
            for item in planned.requests(held=held[name] is not None)
        ]
        with tracing.step("keys", keys=len(requests)):
            deks = iter(release(self._home, intent, requests) if requests else ())
        sys.audit("lake.step", "query.keys-released")
        if self._cache is not None and era is not None:
            self._cache.keep_only(era)
        if self._images is not None and era is not None:
            self._images.keep_only(era)
        slices: dict[str, Slice] = {}
        with tracing.step("slice", tables=len(admission.planned)):
            for name, planned in admission.planned.items():
                own = [next(deks) for _ in planned.files]
                principal = admission.allowed.principal
                plan = self.admissions.planner.seal(planned, own, principal, request.purpose, admission.now)
                key = None if era is None or self._cache is None else admission.key(name, request, era)
                slices[name] = Slice(plan, key, needs[name], held[name])
        return slices

    def _held(self, name: str, admission: Admission, need: Need | None) -> Image | None:
        """What is in memory of all that the engine will read, so that no key is needed."""
        if need is None:
            return None
        schema = self.admissions.slice_schema(admission.planned[name])
        # Rows as they are may be decoded after all.
        plain = admission.plain
        return None if plain is not None and exports.possible(plain, schema) else need.kept(schema)

    def _era(self, admission: Admission) -> Era | None:
        """What nothing that is kept between queries outlives, if anything is kept."""
        if self._cache is None and self._images is None:
            return None
        return admission.allowed.policy.digest, self._home.key_store.epoch()

    def _need(self, name: str, request: Request, admission: Admission, era: Era | None) -> Need | None:
        planned, columns = admission.planned[name], admission.query.needed
        # A query that was written anew needs columns that the caller did not name.
        if self._images is None or era is None or columns is None or planned.grant.smallest_group is not None:
            return None
        return Need(self._images, admission.key(name, request, era), columns[name], *planned.needed)


def _values(parameters: Parameters) -> list[Any]:
    return list(parameters.values()) if isinstance(parameters, Mapping) else list(parameters)


def _unbound(query: guard.AdmittedQuery) -> Parameters:
    """NULL for every parameter."""
    if all(name.isdigit() for name in query.parameters):
        return [None] * max(map(int, query.parameters), default=0)
    return dict.fromkeys(query.parameters)
