"""Whether anything that still lies somewhere could open the keys of an erased employee: the key-disclosure graph.

Nodes are keys, an edge is a wrap: who has the upper key has the lower one. Deleted is what no path from a living
provider key reaches (Reardon et al.: Secure data deletion from persistent media, CCS 2013, section 4).
Wraps are tried in earnest, and under every bucket key that can be had anywhere: a shredding that only wrapped the same
bucket key again shows as a path.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from keys import envelope
from keys.errors import KeyIntegrityError, KeyStateError, SecretFileError
from keys.names import SENSITIVITIES, bucket_id, bucket_row_context, kek_context, root_name
from keys.operations.backup import BackupFolder
from keys.operations.keeper import Keeper
from keys.operations.restore import bucket_rows_of, kek_rows_of
from keys.providers import KeyProvider, WrappedKey
from keys.rows import BucketKeyRow, BucketPlace, KekRow, kek_row
from keys.signing import NoteVerifier
from keys.tables import keks, subjects

LIVE = "the live key store"


@dataclass(frozen=True, slots=True)
class KeyPath:
    """A way to a key that should be gone: the artefact that holds its wrap, and the bucket key that opens it."""

    artefact: str
    kek_id: str
    version: int
    via: str


@dataclass(frozen=True, slots=True)
class Disclosure:
    """What was searched, and every path found; there must be none."""

    subjects: int
    keks: int
    artefacts: tuple[str, ...]
    wraps_tried: int
    unreadable: tuple[str, ...]
    paths: tuple[KeyPath, ...]

    @property
    def clean(self) -> bool:
        """Whether everything could be searched and no path was found."""
        return not self.paths and not self.unreadable


@dataclass(frozen=True, slots=True)
class _Artefact:
    name: str
    buckets: tuple[BucketKeyRow, ...]
    keks: tuple[KekRow, ...]


def verify_shred(
    keeper: Keeper,
    folders: Collection[Path],
    names: Collection[str] | None = None,
    *,
    not_searched: Collection[str] = (),
) -> Disclosure:
    """Search the live key store and every backup in ``folders`` for a path to keys of erased employees.

    Args:
        names: pseudonyms; default: everybody who was ever erased.
        not_searched: places of known backups that could not be reached; they count as unreadable.

    Raises:
        KeyIntegrityError: somebody named is not erased.
    """
    erased, own = _erased(keeper, names)
    notes = NoteVerifier([keeper.signer.verifier_key])
    artefacts = [_Artefact(LIVE, tuple(keeper.changes.buckets()), tuple(row for row in own if row.wrapped))]
    unreadable = list(not_searched)
    for place in folders:
        folder = BackupFolder(place)
        try:
            backup_ids = folder.list()
        except SecretFileError:
            unreadable.append(str(place))
            continue
        if not backup_ids:
            # Perhaps a copy of a key store and of what opens it: only whoever named it can tell, and destroy it.
            unreadable.append(f"{place}: no key backup")
        for backup_id in backup_ids:
            try:
                artefacts.append(_load(folder, backup_id, keeper.hierarchy.lake, notes, erased))
            except KeyIntegrityError:
                unreadable.append(f"{place}/{backup_id}")
    places = {(kek.sensitivity, kek.bucket) for artefact in artefacts for kek in artefact.keks}
    openable = _openable(keeper.hierarchy.lake, keeper.hierarchy.provider, artefacts, places)
    paths: list[KeyPath] = []
    tried = 0
    for artefact in artefacts:
        for kek in artefact.keks:
            for via, key in openable.get((kek.sensitivity, kek.bucket), {}).items():
                tried += 1
                if _opens(keeper.hierarchy.lake, kek, key):
                    paths.append(KeyPath(artefact.name, kek.kek_id, kek.version, via))
    return Disclosure(
        len(erased),
        len({(kek.kek_id, kek.version) for rows in (own, *(artefact.keks for artefact in artefacts)) for kek in rows}),
        tuple(artefact.name for artefact in artefacts),
        tried,
        tuple(unreadable),
        tuple(paths),
    )


def _erased(keeper: Keeper, names: Collection[str] | None) -> tuple[dict[str, int], list[KekRow]]:
    """Erased employees with their buckets, and what the live key store still knows of their KEKs."""
    with keeper.database.reading() as connection:
        rows = connection.execute(sa.select(subjects).where(subjects.c.tombstoned.is_(True)))
        erased = {row.subject: row.bucket for row in rows}
        if names is not None:
            if not set(names) <= set(erased):
                raise KeyIntegrityError("an employee who is named has not been erased")
            erased = {name: erased[name] for name in names}
        found: list[KekRow] = []
        for name in sorted(erased):
            found += [kek_row(row) for row in connection.execute(sa.select(keks).where(keks.c.subject == name))]
    return erased, found


def _load(folder: BackupFolder, backup_id: str, lake: str, notes: NoteVerifier, erased: Mapping[str, int]) -> _Artefact:
    backup = folder.read(backup_id, lake, notes)
    found: list[KekRow] = []
    # An employee's bucket never changes, so that their KEKs can be in these parts only: whatever the live key store
    # has kept of them.
    own = {bucket_id(level, bucket) for level in SENSITIVITIES for bucket in erased.values()}
    for name in sorted(own & set(backup.parts)):
        found += [row for row in kek_rows_of(folder, backup, name) if row.subject in erased and row.wrapped]
    return _Artefact(f"{folder.folder}/{backup_id}", tuple(bucket_rows_of(folder, backup)), tuple(found))


def _openable(
    lake: str, provider: KeyProvider, artefacts: Collection[_Artefact], places: Collection[BucketPlace]
) -> Mapping[tuple[int, int], dict[str, bytes]]:
    """Every bucket key of these places that the provider opens today, wherever its wrap lies; each once."""
    found: dict[tuple[int, int], dict[str, bytes]] = {}
    for artefact in artefacts:
        for row in artefact.buckets:
            if row.place not in places or not row.wrapped:
                continue
            item = WrappedKey(row.root_version, row.wrapped, bucket_row_context(lake, row))
            try:
                (key,) = provider.unwrap(root_name(row.sensitivity), [item])
            except (KeyStateError, KeyIntegrityError):
                continue
            known = found.setdefault(row.place, {})
            if key not in known.values():
                known[f"{bucket_id(*row.place)} version {row.version} from {artefact.name}"] = key
    return found


def _opens(lake: str, kek: KekRow, key: bytes) -> bool:
    try:
        envelope.unseal(key, kek.wrapped, kek_context(lake, kek))
    except KeyIntegrityError:
        return False
    return True
