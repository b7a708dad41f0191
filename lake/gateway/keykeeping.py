"""Operations on keys as operators run them: recorded before and after, tied to the catalog, one at a time.

What happens to keys is in ``keys.operations``; this adds names of employees, the sweep of DEKs in the catalog, and the
audit log.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from keys.errors import KeyOperationError, KeysError, KeyStateError, OutdatedPlanError
from keys.operations import backup as backups
from keys.operations import certificate, disclosure, move, restore, rotate, rotate_keks, shred, states, status, verify
from keys.operations.journal import Journal, Operation, exclusive
from keys.operations.keeper import Keeper
from keys.providers import KeyProvider
from keys.providers import local as local_provider
from keys.refs import DekRequest
from keys.rows import BucketPlace, KekScope
from keys.signing import NoteVerifier
from lake.errors import LakeError
from lake.gateway.collection.halts import refuse_frozen
from lake.gateway.home import Home
from lake.gateway.kek_rotation import DEK_PAGE, dek_request, rotate_pages
from lake.gateway.key_services import provider_files
from lake.gateway.keyplans import KeyPlans, KeyScope
from lake.gateway.keyrestore import find_backup
from lake.gateway.places import key_folder
from lake.gateway.recorder import Actor
from lake.rules import layout
from lake.sealed.audit import entries
from lake.sealed.catalog.upkeep import FileScope

Progress = Callable[[int], None]


class KeyKeeping(KeyPlans):
    """The keys of one opened lake in an operator's hands."""

    def __init__(self, home: Home, actor: Actor, progress: Progress = lambda _: None) -> None:
        super().__init__(home)
        self._actor = actor
        folder = key_folder(home.root, home.config)
        self.folder = folder
        self.lake = home.config.lake
        self.keeper = Keeper(
            home.hierarchy,
            home.key_database,
            home.key_changes,
            Journal(home.key_database, home.hierarchy.now),
            home.control.signer(layout.audit_origin(home.config.lake)),
            folder,
            home.upkeep.fence,
            home.key_database.checkpoint,
            lambda: provider_files(home.provider, folder),
            progress,
            # A provider file may be named although the lake has a key store of its own: it says nothing about that.
            snapshot_days=None if isinstance(home.provider, local_provider.LocalProvider) else home.snapshot_days,
            archive_days=0 if home.key_database.is_sqlite else home.archive_days,
        )

    @contextmanager
    def _recorded(self, verb: str, fields: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """An entry before, and one after with what came of it: nothing happens to keys unrecorded."""
        recorder = self._home.recorder
        begun = recorder.record(entries.KEY_OPERATION, self._actor, {"verb": verb, "step": "begin", **fields})
        result: dict[str, Any] = {}
        try:
            yield result
        except (LakeError, KeysError) as error:
            recorder.record(
                entries.KEY_OPERATION,
                self._actor,
                {"verb": verb, "step": "failed", "ref": begun.index, "error": error.code},
            )
            raise
        recorder.record_keys(self._actor, self._home.broker.take_events())
        recorder.record(
            entries.KEY_OPERATION, self._actor, {"verb": verb, "step": "done", "ref": begun.index, "result": result}
        )

    def status(self, *, roots: int = 365, buckets: int = 365, backup: int = 7) -> dict[str, Any]:
        """See keys.operations.status; days after which something is overdue."""
        return status.key_status(self.keeper, status.RotationPolicy(roots, buckets, backup))

    def rotate_roots(self, names: Collection[str], trim: Path | None = None) -> Operation:
        """See keys.operations.rotate."""
        with self._recorded(rotate.ROOT, {"roots": sorted(names), "trim": trim is not None}) as result:
            operation = rotate.rotate_roots(self.keeper, names, trim)
            result.update(operation=operation.id, roots={n: v[1] for n, v in operation.detail["roots"].items()})
        return operation

    def rotate_buckets(self, places: Collection[BucketPlace]) -> Operation:
        """See keys.operations.rotate."""
        with self._recorded(rotate.BUCKET, {"buckets": len(places)}) as result:
            operation = rotate.rotate_buckets(self.keeper, places)
            result.update(operation=operation.id, keks=operation.detail["keks"])
        return operation

    def rotate_keks(self, scope: KeyScope, *, compromised: bool = False) -> Operation:
        """New KEKs for the partitions of a scope; their files' DEKs are wrapped again in the catalog.

        Args:
            compromised: the former KEKs open for re-encryption only from here on; re-encrypt the data next.

        Raises:
            KeyOperationError: another operation is running or unfinished.
            KeyStateError: a level is disabled.
        """
        wanted, fields = self.kek_scope(scope)
        asked: dict[str, Any] = {
            **scope.document(),
            "subjects": None if wanted.subjects is None else sorted(wanted.subjects),
            "compromised": compromised,
        }
        with self._recorded(rotate_keks.VERB, {**fields, "compromised": compromised}) as result:
            with exclusive(self.folder):
                rotate_keks.check_levels(self.keeper, wanted)
                operation = self.keeper.journal.begin(rotate_keks.VERB, asked, "start")
                operation = rotate_pages(self._home, self.keeper, operation, wanted, compromised=compromised)
            result.update(operation=operation.id, keks=operation.detail["keks"], deks=operation.detail["deks"])
        return operation

    def change_state(self, scope: KeyScope, *, disabled: bool, whole_level: bool) -> dict[str, int]:
        """Disable or enable: whole levels, or employees, or KEKs of a scope. Takes effect at the next query.

        Returns:
            How many roots, employees or KEKs changed.
        """
        verb = "disable" if disabled else "enable"
        if whole_level and not disabled:
            refuse_frozen(self._home, scope.sensitivities or ())
        wanted, fields = self.kek_scope(scope)
        people = wanted.subjects is not None and scope.sensitivities is None and scope.months is None
        # Of people it is a word in their row, which no operation changes: it waits for none.
        waiting = nullcontext() if people else exclusive(self.folder)
        with self._recorded(verb, {**fields, "levels": whole_level}) as result, waiting:
            if whole_level:
                changed = states.suspend_levels(self.keeper, sorted(scope.sensitivities or ()), disabled=disabled)
                result["roots"] = changed
            elif people and wanted.subjects is not None:
                result["employees"] = self.keeper.changes.suspend_subjects(wanted.subjects, disabled=disabled)
            else:
                result["keks"] = states.suspend_keks(self.keeper, wanted, disabled=disabled)
        return dict(result)

    def shred(
        self, employees: Collection[str], place: Path, *, copies_kept: int | None = None
    ) -> tuple[Operation, str]:
        """Destroy every key of employees for good, and certify it.

        Args:
            copies_kept: days for which copies of what the provider holds, and of a server's database, are kept;
                default: what its file says.

        Returns:
            The operation and the signed certificate.

        Raises:
            KeyOperationError: another operation is running or unfinished.
        """
        found = self.subjects(employees)
        return self.shred_subjects(dict(found.values()), place, copies_kept=copies_kept)

    def shred_subjects(
        self,
        numbers: Mapping[str, int],
        place: Path,
        *,
        copies_kept: int | None = None,
        before_destruction: Callable[[], None] = lambda: None,
    ) -> tuple[Operation, str]:
        """The same by pseudonym and number; see keys.operations.shred for ``before_destruction``."""

        def leave_out() -> None:
            self._home.advance(self._home.upkeep.erase(sorted(numbers.values())))

        with self._recorded(shred.SHRED, {"emp": entries.bitmap(numbers.values())}) as result:
            operation = shred.shred(self.keeper, sorted(numbers), place, before_destruction, leave_out)
            data = certificate.certificate_data(operation)
            result.update(
                operation=operation.id,
                keks=len(data["keks"]),
                bucket_keys=len(data["bucket_keys"]),
                survivors=data["survivors"],
                backup=data["backup"],
                refused=data["old_wraps_refused"],
            )
        return operation, self.certificate(operation, copies_kept=copies_kept)

    def certificate(self, operation: Operation, *, copies_kept: int | None = None) -> str:
        """The signed certificate of a finished shredding."""
        keeper = self.keeper
        if copies_kept is not None:
            archive = keeper.archive_days if self._home.key_database.is_sqlite else copies_kept
            keeper = replace(keeper, snapshot_days=copies_kept, archive_days=archive)
        return certificate.issue(keeper, operation)

    def verify(self) -> dict[str, int]:
        """Open every wrap under its parent."""
        with self._recorded("verify", {}) as result:
            result.update(verify.verify_keys(self._home.hierarchy, self._home.key_changes, self.keeper.progress))
        return dict(result)

    def verify_deks(self) -> dict[str, int]:
        """Open every DEK of the catalog under its KEK and its row, and keep none."""
        counts = {"deks": 0, "suspended_deks": 0}
        with self._recorded("verify deks", {}) as result:
            for page in self._home.upkeep.pages(FileScope(), DEK_PAGE):
                opened = self._check_deks([dek_request(file) for file, _ in page])
                counts["deks"] += opened
                counts["suspended_deks"] += len(page) - opened
                self.keeper.progress(len(page))
            result.update(counts)
        return counts

    def _check_deks(self, requests: Sequence[DekRequest]) -> int:
        """How many open; the others' keys are disabled."""
        try:
            self._home.broker.check_wraps(requests)
        except OutdatedPlanError:
            raise
        except KeyStateError:
            if len(requests) == 1:
                return 0
            half = len(requests) // 2
            return self._check_deks(requests[:half]) + self._check_deks(requests[half:])
        return len(requests)

    def verify_shred(self, folders: Collection[Path]) -> disclosure.Disclosure:
        """See keys.operations.disclosure; the folders of every backup ever written are searched too."""
        known = {Path(entry["place"]) for entry in backups.known_backups(self.keeper.database)}
        missing = sorted(str(place) for place in known if not place.is_dir())
        present = sorted({place.absolute() for place in folders} | {place for place in known if place.is_dir()})
        with self._recorded("verify-shred", {"folders": len(present)}) as result:
            found = disclosure.verify_shred(self.keeper, present, not_searched=missing)
            result.update(paths=len(found.paths), artefacts=len(found.artefacts), unreadable=len(found.unreadable))
        return found

    def backup(self, place: Path) -> tuple[str, dict[str, int]]:
        """Write a backup of the key store and open what is new in it."""
        with self._recorded("backup", {}) as result:
            backup_id, opened = self.keeper.proven_backup(place)
            result.update(backup=backup_id, opened=opened)
        return backup_id, opened

    def restore_test(self, place: Path, backup_id: str | None = None) -> tuple[str, dict[str, int]]:
        """Open every wrap of a backup; of the newest if none is named."""
        folder = backups.BackupFolder(place)
        backup = find_backup(folder, self._home.config, backup_id)
        with self._recorded("restore-test", {"backup": backup.id}) as result:
            opened = restore.restore_test(folder, backup, self._home.provider, progress=self.keeper.progress)
            backups.mark_tested(self.keeper.database, backup.id)
            result.update(opened=opened)
        return backup.id, opened

    def move(self, target: KeyProvider) -> Operation:
        """See keys.operations.move."""
        with self._recorded(move.MOVE, {"to": target.kind}) as result:
            operation = move.move(self.keeper, target)
            result.update(operation=operation.id, **operation.detail["counts"])
        return operation

    def resume(self) -> Operation | None:
        """Finish the operation that a crash or an outage has cut off; None if there is none.

        Raises:
            KeyOperationError: it needs something that is not stored (the other provider of a move).
        """
        operation = self.keeper.journal.unfinished()
        if operation is None:
            return None
        scope = operation.scope
        match operation.verb:
            case rotate.ROOT:
                return self.rotate_roots(scope["roots"], None if scope["trim"] is None else Path(scope["trim"]))
            case rotate.BUCKET:
                return self.rotate_buckets([(level, bucket) for level, bucket in scope["buckets"]])
            case shred.SHRED:
                numbers = self._home.key_store.numbers(scope["subjects"])
                return self.shred_subjects(numbers, Path(scope["backup"]))[0]
            case rotate_keks.VERB:
                return self._resume_keks(operation)
        raise KeyOperationError(f"a {operation.verb} is finished by giving the same command again")

    def _resume_keks(self, operation: Operation) -> Operation:
        def some(name: str) -> frozenset[Any] | None:
            return None if operation.scope[name] is None else frozenset(operation.scope[name])

        wanted = KekScope(some("subjects"), some("sensitivities"), some("months"))
        with self._recorded(rotate_keks.VERB, {"resumed": operation.id}) as result:
            with exclusive(self.folder):
                operation = rotate_pages(
                    self._home, self.keeper, operation, wanted, compromised=operation.scope["compromised"]
                )
            result.update(operation=operation.id, keks=operation.detail["keks"], deks=operation.detail["deks"])
        return operation


def read_certificate(text: str, verifier_key: str) -> dict[str, Any]:
    """A shred certificate's content, if the key's owner signed it.

    Raises:
        KeyIntegrityError: it is none, or was changed.
    """
    return certificate.open_certificate(text, NoteVerifier([verifier_key]))
