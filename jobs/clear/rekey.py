"""Re-encrypting data: after a DEK, or a key above it, may be known to somebody, wrapping it again is not enough.

Each page of files: recorded, keys released against the record, every file written anew under a DEK of its own, and one
catalog commit that puts the new files in the place of the old. Killed anywhere, every row is there once, and the same
command goes on. Replaced objects stay for queries under way, until 'lake jobs sweep' removes them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from jobs.clear.exchange import Page
from jobs.clear.rekey_files import Rewriting
from keys.operations.journal import Journal, Operation, exclusive
from lake.errors import LakeError
from lake.gateway.home import Home
from lake.gateway.places import key_folder
from lake.gateway.recorder import Actor
from lake.sealed.audit import entries
from lake.sealed.catalog.leases import Lease, Leases, holder_of
from lake.sealed.catalog.upkeep import FileScope

VERB = "rekey"
PAGE_FILES = 64
PAGE_BYTES = 64 * 1024 * 1024
LEASE_SECONDS = 600
"""For one page. On this host a lock excludes a second run, and the lease those of other hosts."""

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class RekeyPlan:
    """What would be written anew."""

    files: int
    bytes: int
    employees: int


def plan(home: Home, scope: FileScope) -> RekeyPlan:
    """Count the files of a scope."""
    files = size = 0
    people: set[int] = set()
    for page in home.upkeep.pages(scope, 10_000):
        files += len(page)
        size += sum(file.length for file, _ in page)
        people |= {number for _, number in page}
    return RekeyPlan(files, size, len(people))


class Rekey:
    """Re-encrypts files of one lake, opened on the host of its key store."""

    def __init__(self, home: Home, actor: Actor, progress: Progress = lambda _: None) -> None:
        self._home = home
        self._actor = actor
        self._progress = progress
        self._folder = key_folder(home.root, home.config)
        self._journal = Journal(home.key_database, home.hierarchy.now, VERB)
        self._leases = Leases(home.catalog.database)
        self._lease: Lease | None = None

    def run(self, scope: FileScope) -> Operation:
        """Write every live file of a scope anew; an unfinished run of the same scope is finished.

        Raises:
            KeyOperationError: another rekey is running, or one of another scope is unfinished.
            LeaseHeldError: another rekey is running on another host.
            KeysError, LakeError: what is done stays done; run the same command again.
        """
        with exclusive(self._folder, VERB):
            self._lease = self._leases.take(VERB, holder_of(self._home.root), LEASE_SECONDS)
            try:
                operation = self._journal.begin(VERB, document(scope), "start")
                return self._finish(operation, scope)
            finally:
                with suppress(LakeError):  # it ends by itself
                    self._leases.release(self._lease)

    def unfinished(self) -> tuple[FileScope, Operation] | None:
        """The run that was cut off, if there is one."""
        operation = self._journal.unfinished()
        return None if operation is None else (scope_of(operation.scope), operation)

    def _finish(self, operation: Operation, scope: FileScope) -> Operation:
        if "up_to" not in operation.detail:
            # Files that land later have keys of their own, and those made here are of a later commit.
            head = self._home.catalog.head().seq
            up_to = head if scope.up_to is None else min(head, scope.up_to)
            operation = self._journal.save(operation, "files", up_to=up_to, files=0, rows=0)
            sys.audit("lake.step", "rekey.begun")
        scope = replace(scope, up_to=operation.detail["up_to"])
        done = dict(operation.detail)
        after = ""
        while page := self._page(scope, after):
            replaced = self._replace(operation, scope, after, page)
            done["files"] += len(replaced)
            done["rows"] += sum(file.rows for file, _ in replaced)
            self._progress(len(replaced))
            operation = self._journal.save(operation, "files", **done)
            if replaced:
                after = replaced[-1][0].file_id
        return self._journal.save(operation, "done", done=True)

    def _page(self, scope: FileScope, after: str) -> Page:
        found = self._home.upkeep.page(scope, after, PAGE_FILES)
        size = 0
        for position, (file, _) in enumerate(found):
            size += file.length
            if size > PAGE_BYTES and position:
                return found[:position]
        return found

    def _replace(self, operation: Operation, scope: FileScope, after: str, page: Page) -> Page:
        """Replace a page; gives what was replaced, which is less if files went or keys changed meanwhile."""
        lease = self._lease
        if lease is not None:
            self._leases.renew(lease, LEASE_SECONDS)
        rewriting = Rewriting(self._home, self._actor, operation.id, lease)
        return rewriting.replace(page, lambda: self._page(scope, after))


def document(scope: FileScope) -> dict[str, Any]:
    """A scope for the journal: employees by number."""
    return {
        "numbers": None if scope.numbers is None else entries.bitmap(scope.numbers),
        "sensitivities": None if scope.sensitivities is None else sorted(scope.sensitivities),
        "months": None if scope.months is None else sorted(scope.months),
        "partitions": None
        if scope.partitions is None
        else [[*place, entries.bitmap(numbers)] for place, numbers in sorted(scope.partitions.items())],
        "up_to": scope.up_to,
    }


def scope_of(found: Mapping[str, Any]) -> FileScope:
    """The scope that was written to the journal."""

    def some(name: str) -> frozenset[Any] | None:
        return None if found[name] is None else frozenset(found[name])

    numbers = found["numbers"]
    places = found["partitions"]
    return FileScope(
        numbers=None if numbers is None else frozenset(entries.members(numbers)),
        sensitivities=some("sensitivities"),
        months=some("months"),
        partitions=None
        if places is None
        else {(dataset, level, month): entries.members(text) for dataset, level, month, text in places},
        up_to=found["up_to"],
    )
