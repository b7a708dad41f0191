"""Changes of many keys at once. Each method is one transaction, and each change is a compare-and-swap on the old wrap.

Invariant: every row names exactly one parent version, and that version can be opened until no living row names it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import sqlalchemy as sa

from keys.bulk import execute_many
from keys.errors import KeyIntegrityError, KeyOperationError
from keys.keystore import PROVIDER, move_epoch, read_epoch
from keys.levels import Levels
from keys.refs import TRANSITIONS, KeyState
from keys.rows import (
    BucketKeyRow,
    KekRow,
    RootRow,
    bucket_row,
    chunks,
    values_of,
)
from keys.stamps import touch_buckets, touch_subjects
from keys.tables import bucket_keys, control_secrets, keks, roots, settings, subjects


class Changes(Levels):
    """Changes whole levels of the key store."""

    def rewrap_keks(self, changes: Sequence[tuple[KekRow, int, bytes]]) -> int:
        """Put KEKs under another version of their bucket key: (row as read, version, new wrap). Gives how many."""
        statement = (
            keks.update()
            .where(
                keks.c.kek_id == sa.bindparam("of"),
                keks.c.version == sa.bindparam("of_version"),
                keks.c.bucket_version == sa.bindparam("was_version"),
                keks.c.wrapped == sa.bindparam("was"),
            )
            .values(bucket_version=sa.bindparam("to_version"), wrapped=sa.bindparam("blob"))
        )
        parameters = [
            {
                "of": row.kek_id,
                "of_version": row.version,
                "was_version": row.bucket_version,
                "was": row.wrapped,
                "to_version": version,
                "blob": blob,
            }
            for row, version, blob in changes
        ]
        with self.database.writing() as connection:
            touch_buckets(connection, {(row.sensitivity, row.bucket) for row, _, _ in changes})
            return execute_many(connection, statement, parameters)

    def rewrap_buckets(self, changes: Sequence[tuple[BucketKeyRow, int, bytes]]) -> int:
        """Put bucket keys under another version of their root: (row as read, root version, new wrap)."""
        statement = (
            bucket_keys.update()
            .where(
                bucket_keys.c.sensitivity == sa.bindparam("of_level"),
                bucket_keys.c.bucket == sa.bindparam("of_bucket"),
                bucket_keys.c.version == sa.bindparam("of_version"),
                bucket_keys.c.wrapped == sa.bindparam("was"),
            )
            .values(root_version=sa.bindparam("to_version"), wrapped=sa.bindparam("blob"))
        )
        parameters = [
            {
                "of_level": row.sensitivity,
                "of_bucket": row.bucket,
                "of_version": row.version,
                "was": row.wrapped,
                "to_version": version,
                "blob": blob,
            }
            for row, version, blob in changes
        ]
        with self.database.writing() as connection:
            return connection.execute(statement, parameters).rowcount

    def rewrap_secrets(self, changes: Sequence[tuple[str, bytes, int, bytes]]) -> int:
        """Put control secrets under another version of their root: (name, old wrap, root version, new wrap)."""
        statement = (
            control_secrets.update()
            .where(control_secrets.c.name == sa.bindparam("of"), control_secrets.c.wrapped == sa.bindparam("was"))
            .values(root_version=sa.bindparam("to_version"), wrapped=sa.bindparam("blob"))
        )
        parameters = [{"of": n, "was": was, "to_version": version, "blob": blob} for n, was, version, blob in changes]
        with self.database.writing() as connection:
            return connection.execute(statement, parameters).rowcount

    def adopt_buckets(self, new: Sequence[BucketKeyRow]) -> list[BucketKeyRow]:
        """Let new versions of bucket keys wrap, their former ones only unwrap; one that is adopted already stays.

        Returns:
            The rows as stored.
        """
        stored: list[BucketKeyRow] = []
        with self.database.writing() as connection:
            for row in new:
                place = (bucket_keys.c.sensitivity == row.sensitivity) & (bucket_keys.c.bucket == row.bucket)
                found = connection.execute(
                    sa.select(bucket_keys).where(place, bucket_keys.c.version == row.version)
                ).one_or_none()
                if found is not None:
                    stored.append(bucket_row(found))
                    continue
                former = place & (bucket_keys.c.state == KeyState.ENABLED.value)
                connection.execute(bucket_keys.update().where(former), {"state": KeyState.DECRYPT_ONLY.value})
                connection.execute(bucket_keys.insert(), [values_of(row)])
                stored.append(row)
            move_epoch(connection)
        return stored

    def retire_buckets(self, old: Collection[tuple[int, int, int]]) -> bool:
        """Destroy versions of bucket keys under which no living KEK is left, and the KEKs of erased employees there.

        Returns:
            False if a living KEK is still under one of them; nothing was changed then.
        """
        gone = {"state": KeyState.DESTROYED.value, "wrapped": b""}
        one = (keks.c.kek_id == sa.bindparam("of")) & (keks.c.version == sa.bindparam("of_version"))
        with self.database.writing() as connection:
            for level, version in sorted({(level, version) for level, _, version in old}):
                buckets = sorted(bucket for of_level, bucket, number in old if (of_level, number) == (level, version))
                under = (
                    (keks.c.sensitivity == level)
                    & keks.c.bucket.in_(buckets)
                    & (keks.c.bucket_version == version)
                    & (keks.c.state != KeyState.DESTROYED.value)
                )
                erased = sa.select(subjects.c.subject).where(
                    subjects.c.tombstoned.is_(True), subjects.c.bucket.in_(buckets)
                )
                # One pass over the buckets' rows: after a sweep only those of the erased are left.
                columns = (keks.c.kek_id, keks.c.version, keks.c.subject.in_(erased))
                left = connection.execute(sa.select(*columns).where(under)).all()
                if not all(dies for _, _, dies in left):
                    connection.rollback()
                    return False
                if dying := [{"of": kek_id, "of_version": number} for kek_id, number, _ in left]:
                    connection.execute(keks.update().where(one).values(gone), dying)
                place = (
                    (bucket_keys.c.sensitivity == level)
                    & bucket_keys.c.bucket.in_(buckets)
                    & (bucket_keys.c.version == version)
                )
                connection.execute(bucket_keys.update().where(place), gone)
            touch_buckets(connection, {(sensitivity, bucket) for sensitivity, bucket, _ in old})
            move_epoch(connection)
        return True

    def retire_roots(self, name: str, below: int, state: KeyState) -> None:
        """Note that the provider has destroyed (or will destroy) versions of a root."""
        with self.database.writing() as connection:
            where = (roots.c.name == name) & (roots.c.version < below)
            connection.execute(roots.update().where(where), {"state": state.value})
            move_epoch(connection)

    def tombstone(self, names: Collection[str]) -> int:
        """Erase employees: from here on no key of theirs is opened or made. Gives the new key epoch."""
        with self.database.writing() as connection:
            for part in chunks(sorted(names)):
                where = subjects.c.subject.in_(part)
                touch_subjects(connection, set(connection.execute(sa.select(subjects.c.bucket).where(where)).scalars()))
                connection.execute(subjects.update().where(where), {"tombstoned": True})
            return move_epoch(connection)

    def suspend_subjects(self, names: Collection[str], *, disabled: bool) -> int:
        """Disable or enable every key of some employees; gives how many changed."""
        with self.database.writing() as connection:
            where = subjects.c.disabled.is_(not disabled) & subjects.c.tombstoned.is_(False)
            changed = 0
            for part in chunks(sorted(names)):
                own = where & subjects.c.subject.in_(part)
                touch_subjects(connection, set(connection.execute(sa.select(subjects.c.bucket).where(own)).scalars()))
                changed += connection.execute(subjects.update().where(own), {"disabled": disabled}).rowcount
            move_epoch(connection)
        return changed

    def suspend_root(self, name: str, *, disabled: bool) -> int:
        """Disable every version of a root that opens, or enable them again: the newest wraps, the others unwrap."""
        with self.database.writing() as connection:
            own = roots.c.name == name
            move_epoch(connection)
            if disabled:
                opens = own & roots.c.state.in_([KeyState.ENABLED.value, KeyState.DECRYPT_ONLY.value])
                return connection.execute(roots.update().where(opens), {"state": KeyState.DISABLED.value}).rowcount
            newest = connection.execute(sa.select(sa.func.max(roots.c.version)).where(own)).scalar()
            suspended = own & (roots.c.state == KeyState.DISABLED.value)
            changed = connection.execute(
                roots.update().where(suspended), {"state": KeyState.DECRYPT_ONLY.value}
            ).rowcount
            if changed:
                connection.execute(
                    roots.update().where(own, roots.c.version == newest), {"state": KeyState.ENABLED.value}
                )
            return changed

    def change_keks(self, wanted: Collection[tuple[str, int]], before: Collection[KeyState], after: KeyState) -> int:
        """Move KEKs (id, version) from one state to another; destroyed ones lose their wraps."""
        _check(before, after)
        values = {"state": after.value} | ({"wrapped": b""} if after is KeyState.DESTROYED else {})
        states = [state.value for state in before]
        changed = 0
        with self.database.writing() as connection:
            for part in chunks(sorted(wanted), 500):
                where = sa.tuple_(keks.c.kek_id, keks.c.version).in_(list(part)) & keks.c.state.in_(states)
                places = connection.execute(sa.select(keks.c.sensitivity, keks.c.bucket).where(where))
                touch_buckets(connection, {(row[0], row[1]) for row in places})
                changed += connection.execute(keks.update().where(where), values).rowcount
            move_epoch(connection)
        return changed

    def add_kek_versions(self, new: Sequence[KekRow], former: KeyState = KeyState.DECRYPT_ONLY) -> int:
        """Let new versions of KEKs wrap; the former ones change to ``former``. Gives the new key epoch.

        Raises:
            KeyOperationError: a KEK has changed meanwhile; nothing is stored.
        """
        with self.database.writing() as connection:
            for row in new:
                where = (keks.c.kek_id == row.kek_id) & (keks.c.state == KeyState.ENABLED.value)
                newest = sa.select(sa.func.max(keks.c.version)).where(keks.c.kek_id == row.kek_id)
                if connection.execute(newest).scalar() != row.version - 1:
                    raise KeyOperationError("a KEK was changed by another operation", hint="run the command again")
                parent = sa.select(bucket_keys.c.version).where(
                    bucket_keys.c.sensitivity == row.sensitivity,
                    bucket_keys.c.bucket == row.bucket,
                    bucket_keys.c.version == row.bucket_version,
                    bucket_keys.c.state == KeyState.ENABLED.value,
                )
                if connection.execute(parent).first() is None:
                    raise KeyOperationError("a bucket key was retired meanwhile", hint="run the command again")
                connection.execute(keks.update().where(where), {"state": former.value})
                connection.execute(keks.insert(), [values_of(row)])
            touch_buckets(connection, {(row.sensitivity, row.bucket) for row in new})
            return move_epoch(connection)

    def switch_provider(
        self,
        kind: str,
        epoch: int,
        new_roots: Sequence[RootRow],
        buckets: Sequence[tuple[BucketKeyRow, int, bytes]],
        secrets: Sequence[tuple[str, bytes, int, bytes]],
    ) -> None:
        """Everything under another provider, in one transaction.

        Raises:
            KeyOperationError: a key changed since ``epoch`` was read; nothing is changed.
        """
        with self.database.writing() as connection:
            if read_epoch(connection) != epoch:
                raise KeyOperationError("keys were changed meanwhile", hint="run the command again")
            living = sa.select(sa.func.count()).where(bucket_keys.c.state != KeyState.DESTROYED.value)
            if connection.execute(living).scalar_one() != len(buckets):
                raise KeyOperationError("bucket keys were made meanwhile", hint="run the command again")
            for row, version, blob in buckets:
                where = (
                    (bucket_keys.c.sensitivity == row.sensitivity)
                    & (bucket_keys.c.bucket == row.bucket)
                    & (bucket_keys.c.version == row.version)
                )
                connection.execute(bucket_keys.update().where(where), {"root_version": version, "wrapped": blob})
            for name, _, version, blob in secrets:
                own = control_secrets.c.name == name
                connection.execute(control_secrets.update().where(own), {"root_version": version, "wrapped": blob})
            connection.execute(roots.delete())
            connection.execute(roots.insert(), [values_of(row) for row in new_roots])
            connection.execute(settings.update().where(settings.c.name == PROVIDER), {"value": kind})
            move_epoch(connection)


def _check(before: Collection[KeyState], after: KeyState) -> None:
    for state in before:
        if after not in TRANSITIONS[state]:
            raise KeyIntegrityError(f"a key does not go from {state.value} to {after.value}")
