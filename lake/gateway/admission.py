"""From a request to what may be read for it: the policy decides, the guard admits, the catalog picks the files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pyarrow as pa

from lake.clear.arrow_schema import stored_schema
from lake.clear.reading.plan import SUBJECT_COLUMN, Era, SliceKey
from lake.clear.sandbox import guard, syntax
from lake.clear.sandbox.answers import Parameters
from lake.clear.sandbox.projection import Projection
from lake.clear.serving.recall import Session
from lake.errors import DeniedError, QueryRefusedError, UnavailableError
from lake.gateway.cancellation import Cancellation
from lake.gateway.contracts import Contracts
from lake.gateway.elevations import Elevations
from lake.gateway.home import Home
from lake.gateway.observe import tracing
from lake.gateway.planner import Planned, Planner, slice_schema, visible_schema
from lake.rules.elevation import Active, elevate
from lake.rules.model import Identity, Principal
from lake.rules.policy import Grant, Limits, Policy, Refusal, applicable, datasets_for, decide


@dataclass(frozen=True, slots=True)
class Request:
    """Who asks what, and what for.

    Attributes:
        files: read these alone of the files that the query may read; a part of a query that was split.
        expires: when the caller's credential ends.
        cancellation: how it is broken off.
    """

    identity: Identity
    purpose: str
    sql: str
    parameters: Parameters = ()
    role: str | None = None
    files: frozenset[str] | None = None
    expires: datetime | None = None
    cancellation: Cancellation = field(default_factory=Cancellation, compare=False)

    @property
    def user(self) -> str:
        """The name as which they are recorded."""
        return self.identity.user


@dataclass(frozen=True, slots=True)
class Allowed:
    """What the policy grants a caller for a purpose.

    Attributes:
        lent: roles lent by break-glass that are among the principal's.
    """

    policy: Policy
    principal: Principal
    grants: Mapping[str, Grant]
    lent: tuple[Active, ...] = ()


@dataclass(frozen=True, slots=True)
class Admission:
    """A query that may run, and what it may read.

    Attributes:
        sql: what the engine is to run: the caller's own text, or what it became under an aggregate-only grant.
        now: the one time of the query, naive UTC.
    """

    allowed: Allowed
    query: guard.AdmittedQuery
    sql: str
    planned: Mapping[str, Planned]
    now: datetime

    @property
    def divisible(self) -> bool:
        """Whether it can be run over disjoint sets of files, its results put one after the other."""
        whole = any(planned.grant.smallest_group for planned in self.planned.values())
        return self.query.divisible and not whole

    @property
    def plain(self) -> Projection | None:
        """What it is if it gives rows as they are; not under a grant that shows groups alone."""
        whole = any(planned.grant.smallest_group for planned in self.planned.values())
        return None if whole else self.query.projection

    def lent(self) -> list[str]:
        """Ids of the elevations under which it runs."""
        roles = {planned.grant.role for planned in self.planned.values()}
        return [one.id for one in self.allowed.lent if one.role in roles]

    def limits(self) -> Limits:
        """The tightest of every limit, for a query over several datasets."""
        return tightest([planned.grant for planned in self.planned.values()])

    def key(self, name: str, request: Request, era: Era) -> SliceKey:
        """What the rows of one of its slices depend on."""
        planned = self.planned[name]
        files = sorted(file.file_id for file, _ in planned.files)
        # What looks like the clock, as a word or within a text, is taken for it.
        timed = "now" in planned.grant.row_filter_text.lower()
        parts = [
            self.allowed.principal.user,
            self.allowed.principal.employee,
            sorted(self.allowed.principal.attributes),
            request.purpose,
            planned.grant.role,
            name,
            planned.contract.version,
            planned.grant.visible_columns(),
            planned.grant.smallest_group,
            hashlib.sha256("".join(files).encode()).hexdigest(),
            str(planned.first),
            str(planned.last),
            str(self.now) if timed else "",
        ]
        return SliceKey(era, hashlib.sha256(json.dumps(parts).encode()).digest())


class Admissions:
    """Decides what the queries on one lake may read."""

    def __init__(self, home: Home, contracts: Contracts) -> None:
        self._home = home
        self._contracts = contracts
        self.planner = Planner(home)
        self.elevations = Elevations(home)

    def allowed(self, policy: Policy | None, identity: Identity, purpose: str, role: str | None) -> Allowed:
        """What a caller may read for a purpose.

        Raises:
            DeniedError: nothing.
        """
        if policy is None:
            raise denied()
        lent = self.elevations.active(policy, identity.user, purpose, self._now())
        principal = elevate(policy.principal(identity), lent)
        grants = {grant.dataset: grant for grant in datasets_for(policy, principal, purpose, role)}
        if not grants:
            _explain_ambiguity(policy, principal, purpose, role)
            raise denied()
        return Allowed(policy, principal, grants, lent)

    def _now(self) -> datetime:
        return self._home.clock().astimezone(UTC).replace(tzinfo=None)

    def admit(self, request: Request, policy: Policy | None, session: Session) -> Admission:
        """Admit a query, or refuse it before anything is read.

        Raises:
            DeniedError, QueryRefusedError: it may not run.
        """
        allowed = self.allowed(policy, request.identity, request.purpose, request.role)
        with tracing.step("guard"):
            statement = session.parse(request.sql)
            columns = {name: grant.visible_columns() for name, grant in allowed.grants.items()}
            query = guard.admit(statement, columns)
            sql = _restricted(statement, query, allowed, session)
        now = self._now()
        # Of all tables from one snapshot: what was committed together is seen together.
        with tracing.step("plan", tables=len(query.tables)) as span, self._home.catalog.database.snapshot():
            planned = self._planned(query, allowed, now)
            span.say(files=sum(len(one.files) for one in planned.values()))
        sql = f"EXPLAIN {sql}" if query.explain else sql
        admission = Admission(allowed, query, sql, planned, now)
        return admission if request.files is None else _part(admission, request.files)

    def _planned(self, query: guard.AdmittedQuery, allowed: Allowed, now: datetime) -> dict[str, Planned]:
        contracts = self._contracts.newest()
        planned: dict[str, Planned] = {}
        for name in sorted(query.tables):
            grant, bounds = allowed.grants[name], query.constraints[name]
            found = self.planner.plan(grant, contracts[name], allowed.principal, bounds, now)
            # A plan is shown without a row.
            planned[name] = found.only(frozenset()) if query.explain else found
        return planned

    def schemas(self, allowed: Allowed) -> dict[str, pa.Schema]:
        """Columns of every table that is granted, as its reader sees them."""
        contracts = self._contracts.newest()
        return {name: visible_schema(grant, stored_schema(contracts[name])) for name, grant in allowed.grants.items()}

    @staticmethod
    def slice_schema(planned: Planned) -> pa.Schema:
        """Columns of a slice that a query is run over."""
        return slice_schema(planned.grant, stored_schema(planned.contract))

    def descriptions(self, allowed: Allowed) -> dict[str, str]:
        """What every table that is granted holds, in the words of its contract."""
        contracts = self._contracts.newest()
        return {name: contracts[name].title for name in allowed.grants}


def _restricted(statement: syntax.Statement, query: guard.AdmittedQuery, allowed: Allowed, session: Session) -> str:
    """The query's text, written anew if a grant shows groups of people alone."""
    smallest = {name: allowed.grants[name].smallest_group for name in query.tables}
    limited = {name: number for name, number in smallest.items() if number is not None}
    if not limited:
        return query.sql
    if len(query.tables) > 1:
        raise QueryRefusedError("a table that shows groups alone is not joined with another")
    ((name, number),) = limited.items()
    return session.restrict(statement, name, allowed.grants[name].visible_columns(), number, SUBJECT_COLUMN)


def _part(admission: Admission, files: frozenset[str]) -> Admission:
    """The same over some of the files alone, all of which must still be there."""
    if not admission.divisible:
        raise QueryRefusedError("this query cannot be run in parts")
    ((name, planned),) = admission.planned.items()
    part = planned.only(files)
    if len(part.files) != len(files):
        raise UnavailableError("files were rewritten since the query was divided", hint="ask again")
    return replace(admission, planned={name: part})


def denied() -> DeniedError:
    """The one answer to whoever has no grant, whatever the reason."""
    return DeniedError("access denied", hint="ask the owner of the lake for a grant")


def tightest(grants: Sequence[Grant]) -> Limits:
    """The tightest of every limit of several grants."""

    def least(values: Iterator[int | None]) -> int | None:
        return min((value for value in values if value is not None), default=None)

    return Limits(
        rows=least(grant.limits.rows for grant in grants),
        bytes=least(grant.limits.bytes for grant in grants),
        seconds=least(grant.limits.seconds for grant in grants),
    )


def _explain_ambiguity(policy: Policy, principal: Principal, purpose: str, role: str | None) -> None:
    """Tell a principal which of their own roles to choose from; nothing that they do not hold."""
    for dataset in applicable(policy, principal, purpose, role):
        decision = decide(policy, principal, purpose, dataset, role)
        if isinstance(decision, Refusal) and "several roles" in decision.reason:
            held = ", ".join(principal.roles)
            raise DeniedError("several of your roles grant this", hint=f"name one with role: {held}")
