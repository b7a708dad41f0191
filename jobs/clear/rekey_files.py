"""Files written anew under fresh DEKs: recorded, keys released against the record, one commit that swaps them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import sqlalchemy as sa

from jobs.clear.exchange import Page, partitions_of
from jobs.clear.reencrypt import reencrypt, ref
from keys.broker import LandingKeys
from keys.errors import KeyOperationError, OutdatedPlanError
from keys.receipts import REKEY_INTENT
from lake.errors import LakeError, StaleKeysError
from lake.gateway.home import Home
from lake.gateway.kek_rotation import dek_request
from lake.gateway.planner import to_read
from lake.gateway.recorder import Actor
from lake.gateway.release import release
from lake.rules.model import DataFile
from lake.sealed.audit import entries
from lake.sealed.catalog.leases import Lease

TRIES = 5
"""How often files are read anew because keys or files changed under them."""


class Rewriting:
    """Writes files of one lake anew, also those whose keys are marked as compromised.

    Args:
        operation: the id that the records name.
        lease: under which it is done.
        confirm: what else belongs to the commit, told what it replaces.
    """

    def __init__(
        self,
        home: Home,
        actor: Actor,
        operation: str,
        lease: Lease | None,
        confirm: Callable[[sa.Connection, Page], None] = lambda _connection, _page: None,
    ) -> None:
        self._home = home
        self._actor = actor
        self._operation = operation
        self._lease = lease
        self._confirm = confirm

    def replace(self, page: Page, again: Callable[[], Page]) -> Page:
        """Replace some files in one commit; gives what was replaced, less if files went meanwhile.

        Args:
            again: reads those of them that are left.

        Raises:
            KeysError, LakeError: they stay as they are.
        """
        for attempt in range(TRIES):
            if not page:
                return []
            written: list[str] = []
            try:
                if self._write(page, written):
                    return page
            except (OutdatedPlanError, StaleKeysError):
                if attempt == TRIES - 1:
                    self._remove(written)
                    raise
            except BaseException:
                self._remove(written)
                raise
            self._remove(written)
            page = again()
        raise KeyOperationError("files change too often", hint="run the command again")

    def _write(self, page: Page, written: list[str]) -> bool:
        intent = self._home.recorder.record(
            REKEY_INTENT,
            self._actor,
            {"operation": self._operation, "scope": {"partitions": partitions_of(page), "files": len(page)}},
        )
        sys.audit("lake.step", "rekey.intended")
        deks = release(self._home, intent, [dek_request(file) for file, _ in page])
        sys.audit("lake.step", "rekey.keys-released")
        keys = self._home.broker.landing_keys({ref(file) for file, _ in page})
        new = self._written(page, deks, keys, written)
        self._home.objects.settle([file.object_key for file in new])
        sys.audit("lake.step", "rekey.objects-durable")
        head = self._home.upkeep.swap(
            "rekey",
            [old.file_id for old, _ in page],
            [(file, old.file_id) for (old, _), file in zip(page, new, strict=True)],
            key_epoch=keys.epoch,
            lease=self._lease,
            confirm=lambda connection: self._confirm(connection, page),
        )
        if head is None:
            return False
        written.clear()
        sys.audit("lake.step", "rekey.replaced")
        self._home.advance(head)
        rows = sum(file.rows for file, _ in page)
        fields = {"ref": intent.index, "files": len(page), "rows": rows, "seq": head.seq}
        self._home.recorder.record(entries.REKEY_OUTCOME, self._actor, fields)
        sys.audit("lake.step", "rekey.recorded")
        return True

    def _written(self, page: Page, deks: Sequence[bytes], keys: LandingKeys, written: list[str]) -> list[DataFile]:
        location = self._home.objects.location()

        def store(name: str, content: memoryview) -> None:
            written.append(name)
            self._home.objects.put(name, content)

        def write(item: tuple[tuple[DataFile, int], bytes]) -> DataFile:
            (file, number), dek = item
            made = reencrypt(file, to_read(self._home, file, number, dek), location, keys(ref(file)), store)
            sys.audit("lake.step", "rekey.object-written")
            return made

        with ThreadPoolExecutor(self._home.writers, thread_name_prefix="rekey") as pool:
            return list(pool.map(write, zip(page, deks, strict=True)))

    def _remove(self, written: Sequence[str]) -> None:
        """Objects that no commit names; what cannot be removed now is an orphan that the sweep finds."""
        with suppress(LakeError):
            # A commit whose answer was lost may have been made.
            for name in self._home.catalog.unnamed(written):
                self._home.objects.delete(name)
