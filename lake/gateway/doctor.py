"""A full check-up: every key, every row of the catalog, every object, every entry of the log. Changes nothing."""

from __future__ import annotations

import hashlib
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from keys.errors import KeysError, KeyStateError, OutdatedPlanError
from keys.refs import DekRequest, WrappedDek
from keys.signing import NoteVerifier
from lake.clear.sandbox.fences import ON
from lake.clear.serving.pool import Pool
from lake.clear.serving.processes import SandboxShape
from lake.errors import IntegrityError, LakeError, StoreRefusedError, UnavailableError
from lake.gateway import doctor_store
from lake.gateway.config import read_config
from lake.gateway.contracts import Contracts
from lake.gateway.home import Home
from lake.gateway.planner import binding
from lake.rules import layout
from lake.rules.model import SENSITIVITIES, DataFile
from lake.sealed.audit.log import verify as verify_log
from lake.sealed.catalog.catalog import Selection
from lake.settings import MIB

PARQUET_IN_CLEAR = b"PAR1"
MAX_NAMED = 20
SILENT = 3
"""Objects in a row that cannot be had, after which no more are asked for."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: ok, warning, damage or unchecked, with what was seen and what to do."""

    check: str
    state: str
    message: str


class _SuspendedError(Exception):
    """A file is what was written, and its key may not be used."""


OK, WARNING, DAMAGE, UNCHECKED = "ok", "warning", "damage", "unchecked"
"""Unchecked is what could not be asked for now: neither sound nor damaged."""


class Doctor:
    """Checks one opened lake."""

    def __init__(self, home: Home, progress: Callable[[int], None] = lambda _: None) -> None:
        self._home = home
        self._progress = progress

    def examine(self) -> Iterator[Finding]:
        """The lake, and then the machine that it is on."""
        yield from self.examine_lake()
        yield from host_findings(self._home.root)
        yield from sandbox_findings()

    def examine_lake(self) -> Iterator[Finding]:
        """Every check of what the lake holds in turn; one that fails does not stop the others."""
        for name, check in (
            ("keys", self._keys),
            ("catalog", self._catalog),
            ("audit log", self._audit),
            ("contracts", self._contracts),
            ("object store", self._store),
            ("objects", self._objects),
            ("stray files", self._strays),
        ):
            try:
                yield from check()
            except (LakeError, KeysError) as error:
                yield Finding(name, UNCHECKED if _passing(error) else DAMAGE, str(error))

    def _keys(self) -> Iterator[Finding]:
        opened = self._home.keys.verify()
        text = f"{opened['bucket_keys']} bucket keys and {opened['keks']} KEKs open under their parents"
        yield Finding("keys", OK, text)

    def _catalog(self) -> Iterator[Finding]:
        head = self._home.catalog.verify()
        self._home.catalog.check_anchor(*self._home.key_store.anchor("catalog"))
        yield Finding("catalog", OK, f"{head.seq} commits account for every row")

    def _audit(self) -> Iterator[Finding]:
        report = verify_log(
            self._home.root / layout.AUDIT,
            layout.audit_origin(self._home.config.lake),
            NoteVerifier([self._home.config.audit_key]),
        )
        self._home.check_log()
        yield Finding("audit log", OK, f"{report.size} entries, every hash recomputed")

    def _contracts(self) -> Iterator[Finding]:
        newest = Contracts(self._home).newest()
        yield Finding("contracts", OK, f"{len(newest)} datasets under contract")

    def _store(self) -> Iterator[Finding]:
        good, lacking = doctor_store.examined(self._home.config)
        yield from (Finding("object store", OK, text) for text in good)
        yield from (Finding("object store", WARNING, text) for text in lacking)

    def _objects(self) -> Iterator[Finding]:
        bad: list[str] = []
        suspended = checked = silent = 0
        unchecked = ""
        files = self._files()
        for file in files:
            try:
                problem = self._examine_file(file)
            except _SuspendedError:
                suspended += 1
                problem = ""
            except (LakeError, KeysError) as error:
                unchecked, silent = unchecked or str(error), silent + 1
                if silent == SILENT:
                    break
                continue
            checked, silent = checked + 1, 0
            if problem:
                bad.append(f"{file.file_id}: {problem}")
            self._progress(1)
        if unchecked:
            yield Finding("objects", UNCHECKED, f"{len(files) - checked} of {len(files)} files: {unchecked}")
        if suspended:
            yield Finding(
                "objects", WARNING, f"the keys of {suspended} files are disabled: their wraps were not opened"
            )
        for line in bad[:MAX_NAMED]:
            yield Finding("objects", DAMAGE, line)
        if len(bad) > MAX_NAMED:
            yield Finding("objects", DAMAGE, f"and {len(bad) - MAX_NAMED} more")
        if not bad and not unchecked:
            yield Finding("objects", OK, f"{len(files)} files match their digests, and their keys open")

    def _files(self) -> list[DataFile]:
        datasets = {dataset for dataset, _ in self._home.catalog.contract_texts()}
        return [
            file
            for dataset in sorted(datasets)
            for file, _ in self._home.catalog.select(Selection(dataset, frozenset(SENSITIVITIES)))
        ]

    def _examine_file(self, file: DataFile) -> str:
        try:
            content = self._home.objects.read(file.object_key)
            if len(content) != file.length or hashlib.sha256(content).digest() != file.sha256:
                return "the object is not what was written"
            wrapped = WrappedDek(file.kek_id, file.kek_version, file.wrapped_dek)
            self._home.broker.check_wrap(DekRequest(binding(file), wrapped))
        except (LakeError, KeysError) as error:
            if isinstance(error, KeyStateError) and not isinstance(error, OutdatedPlanError):
                raise _SuspendedError from None
            if _passing(error):
                raise
            return error.message
        return ""

    def _strays(self) -> Iterator[Finding]:
        known = self._home.catalog.object_keys()
        strays = 0
        for found in self._home.objects.list():
            if found.key in known:
                continue
            strays += 1
            with suppress(IntegrityError):  # removed meanwhile
                if self._home.objects.part(found.key, 0, len(PARQUET_IN_CLEAR)).content == PARQUET_IN_CLEAR:
                    yield Finding("stray files", DAMAGE, f"{found.key} is Parquet in clear")
        if strays:
            text = f"{strays} objects that no catalog row names: rests of batches that did not land, or planted"
            yield Finding("stray files", WARNING, f"{text}; 'lake jobs sweep' removes them")
        else:
            yield Finding("stray files", OK, "every object is named by the catalog")


def _passing(error: LakeError | KeysError) -> bool:
    """Whether the same may succeed later, or once the way to the store is set right."""
    return error.exit_code == UnavailableError.exit_code or isinstance(error, StoreRefusedError)


def host_findings(root: Path) -> Iterator[Finding]:
    """What the machine around the lake allows."""
    if root.stat().st_mode & 0o077:
        yield Finding("folder", WARNING, f"the lake's folder is open to other users: chmod 700 {root}")
    if resource.getrlimit(resource.RLIMIT_CORE)[0] != 0:
        yield Finding("core dumps", WARNING, "core dumps are enabled, and a dump holds keys: ulimit -c 0")
    swaps = Path("/proc/swaps")
    if swaps.exists() and len(swaps.read_text().splitlines()) > 1:
        yield Finding("swap", WARNING, "swap is on: make sure that it is encrypted, as plaintext may be paged out")
    if os.geteuid() == 0:
        yield Finding("user", WARNING, "running as root: give the lake a user of its own")


def sandbox_findings() -> Iterator[Finding]:
    """Which fences this platform gives the processes that run user SQL behind a gateway: one is started and ended."""
    try:
        pool = Pool(SandboxShape(256 * MIB, 10), ready=1, most=1, patience=1.0)
    except UnavailableError as error:
        yield Finding("sandbox", WARNING, f"a gateway could answer no query here: {error.message}")
        return
    pool.close()
    for fence, state in pool.fences.items():
        yield Finding("sandbox", OK if state == ON else WARNING, f"{fence}: {state}")


def verify_audit(root: Path) -> dict[str, object]:
    """Verify the audit log with nothing but the lake's folder: no key is needed.

    Raises:
        IntegrityError: an entry, hash or signature is not what was written.
    """
    config = read_config(root)
    origin = layout.audit_origin(config.lake)
    report = verify_log(root / layout.AUDIT, origin, NoteVerifier([config.audit_key]))
    return {
        "origin": origin,
        "size": report.size,
        "root": report.root.hex(),
        "published": report.published,
        "signed_heads": report.heads,
        "files": report.files,
        "key": config.audit_key,
    }
