"""What a job is to the runner: a plan of independent work items, and how one of them is done.

A job is written once as ``plan -> items -> execute(item)``. The runner gives it a lease, a journal, signals and
figures; a fan-out over many machines would take the same three functions.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from lake.sealed.audit.entries import canonical

if TYPE_CHECKING:
    import sqlalchemy as sa

    from lake.gateway.home import Home
    from lake.gateway.recorder import Actor
    from lake.sealed.catalog.leases import Lease

LONGEST_ID = 200
Counts = Mapping[str, int]
"""What was done, by name; the runner adds them up."""


@dataclass(frozen=True, slots=True)
class Item:
    """A piece of work that depends on no other.

    Attributes:
        id: unique in its plan, at most 200 characters.
        work: what to do, as JSON: ids, numbers, times; never a name of a person and never a value of a row.
    """

    id: str
    work: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """What a job would do.

    Attributes:
        job: the job's name.
        items: in the order in which they are done.
        facts: what the plan was made from and what it is expected to do, as JSON; part of the hash.
        shown: more that is for readers only, and no part of the hash.
    """

    job: str
    items: tuple[Item, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)
    shown: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def hash(self) -> str:
        """``sha256:`` and the digest of the plan: equal exactly if the same would be done."""
        hasher = hashlib.sha256(canonical({"v": 1, "job": self.job, "facts": self.facts}))
        for item in self.items:
            hasher.update(b"\n" + canonical({"id": item.id, "work": item.work}))
        return "sha256:" + hasher.hexdigest()


@dataclass(frozen=True, slots=True)
class Step:
    """One item in the hands of :meth:`Job.execute`.

    Attributes:
        item: what to do.
        noted: what an attempt that was cut off has noted; empty at first.
        lease: under which it is done: every commit checks it (``check_lease``).
        note: keeps more of what is decided or done, inside the caller's write transaction, so that both are there or
            neither is. It checks the lease first.
        save: the same in a transaction of its own.
        alive: to be called now and then during long work: renews the lease.
        stopping: whether the process was asked to end; an item may stop where it can go on later, with ``Stopped``.
    """

    item: Item
    noted: Mapping[str, Any]
    lease: Lease
    note: Callable[[sa.Connection, Mapping[str, Any]], None]
    save: Callable[[Mapping[str, Any]], None]
    alive: Callable[[], None]
    stopping: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Run:
    """A run as the journal has it; ``detail`` holds what the items gave (``counts``) and what the job kept."""

    id: str
    job: str
    plan: str
    facts: Mapping[str, Any]
    items: int
    state: str
    detail: Mapping[str, Any]
    started_at: int
    updated_at: int

    @property
    def counts(self) -> dict[str, int]:
        """What was done so far."""
        return dict(self.detail.get("counts", {}))


@dataclass(frozen=True, slots=True)
class Option:
    """An option of a job: how its text is read (``ValueError`` if it is none), and what it means."""

    read: Callable[[str], Any]
    words: str


class Job(ABC):
    """Work that keeps a lake in order. Planning changes nothing.

    Attributes:
        keep_going: whether the other items are done when one fails; what failed is planned again by the next run.
        destroys: whether it takes something away for good: ``lake jobs run`` then acts with ``--yes`` only.
        options: keyword arguments of the class that may be given on the command line, each with a default.
    """

    name: ClassVar[str]
    keep_going: ClassVar[bool] = True
    destroys: ClassVar[bool] = False
    options: ClassVar[Mapping[str, Option]] = {}

    def __init__(self, home: Home, actor: Actor) -> None:
        self.home = home
        self.actor = actor

    @abstractmethod
    def plan(self) -> Plan:
        """What there is to do now."""

    @abstractmethod
    def execute(self, item: Item, step: Step) -> Counts:
        """Do one item in one commit. Doing it again, wherever it was cut off, ends the same way.

        Raises:
            LakeError, KeysError: nothing of it is half done for a reader.
        """

    def admit(self, plan: Plan) -> None:  # noqa: B027 - most jobs have nothing to refuse
        """Before a run begins or goes on: refuse here what may not be done.

        Raises:
            LakeError: it does not begin or go on.
        """

    def begin(self, run: Run) -> None:  # noqa: B027 - most jobs need nothing
        """Before the first item, and again whenever a run is resumed.

        Raises:
            LakeError: the run does not go on.
        """

    def finish(self, run: Run) -> Mapping[str, Any]:  # noqa: ARG002 - of most jobs nothing is kept
        """After the last item, as often as it takes: what is to be kept with the run."""
        return {}


def encoded(value: Mapping[str, Any]) -> str:
    """JSON for the journal."""
    return canonical(value).decode()


def decoded(text: str) -> dict[str, Any]:
    """A document of the journal."""
    found: dict[str, Any] = json.loads(text)
    return found
