"""What an operator wants to know of the keys at a glance: versions, states, ages, counts, what is overdue."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from keys.errors import KeysError
from keys.names import ROOT_NAMES, SENSITIVITIES, root_name
from keys.operations.backup import known_backups
from keys.operations.journal import BESIDE
from keys.operations.keeper import Keeper
from keys.refs import KeyState
from keys.tables import bucket_keys, keks, subjects

DAY = 86_400_000_000


@dataclass(frozen=True, slots=True)
class RotationPolicy:
    """Days after which something is overdue; NIST SP 800-57 part 1 rev. 5, section 5.3.6, allows up to two years."""

    roots: int = 365
    buckets: int = 365
    backup: int = 7


def key_status(keeper: Keeper, policy: RotationPolicy) -> dict[str, Any]:
    """A document for ``lake keys status``; asks the provider about every root, and goes on if it does not answer."""
    now = keeper.hierarchy.now()
    roots = [
        asdict(row) | {"state": row.state.value, "age_days": (now - row.created_at) // DAY}
        for row in keeper.changes.roots()
    ]
    levels = [_level(keeper, level, now) for level in SENSITIVITIES]
    backups = [entry | {"age_days": (now - entry["at"]) // DAY} for entry in known_backups(keeper.database)]
    journals = [keeper.journal, *(keeper.journal.of(verb) for verb in BESIDE)]
    unfinished = [(found, journal) for journal in journals if (found := journal.unfinished())]
    with keeper.database.reading() as connection:
        by_life = sa.select(subjects.c.tombstoned, sa.func.count()).group_by(subjects.c.tombstoned)
        people = {row[0]: row[1] for row in connection.execute(by_life)}
        disabled = connection.execute(sa.select(sa.func.count()).where(subjects.c.disabled.is_(True))).scalar_one()
    document: dict[str, Any] = {
        "provider": keeper.hierarchy.provider.kind,
        "key_epoch": keeper.hierarchy.store.epoch(),
        "health": [_health(keeper, name) for name in ROOT_NAMES],
        "roots": roots,
        "levels": levels,
        "employees": {"living": people.get(False, 0), "erased": people.get(True, 0), "disabled": disabled},
        "backups": backups[:10],
        "unfinished": [
            {"operation": found.id, "verb": found.verb, "resume": journal.resume} for found, journal in unfinished
        ],
    }
    return document | {"overdue": _overdue(document, policy)}


def _level(keeper: Keeper, level: int, now: int) -> dict[str, Any]:
    with keeper.database.reading() as connection:
        own = bucket_keys.c.sensitivity == level
        states = connection.execute(
            sa.select(bucket_keys.c.state, sa.func.count()).where(own).group_by(bucket_keys.c.state)
        )
        by_state: dict[str, int] = {row[0]: row[1] for row in states}
        oldest = connection.execute(
            sa.select(sa.func.min(bucket_keys.c.created_at)).where(own, bucket_keys.c.state == KeyState.ENABLED.value)
        ).scalar()
        of_keks = connection.execute(
            sa.select(keks.c.state, sa.func.count()).where(keks.c.sensitivity == level).group_by(keks.c.state)
        )
        kek_states: dict[str, int] = {row[0]: row[1] for row in of_keks}
    return {
        "sensitivity": level,
        "root": root_name(level),
        "bucket_keys": by_state,
        "oldest_bucket_days": None if oldest is None else (now - oldest) // DAY,
        "keks": kek_states,
    }


def _health(keeper: Keeper, name: str) -> dict[str, Any]:
    started = time.monotonic()
    try:
        found = keeper.hierarchy.provider.describe(name)
    except KeysError as error:
        return {"key": name, "answers": False, "error": error.code, "hint": error.hint}
    milliseconds = round((time.monotonic() - started) * 1000, 1)
    states = {str(number): state.value for number, state in sorted(found.versions.items())}
    return {"key": name, "answers": True, "ms": milliseconds, "current": found.current, "versions": states}


def _overdue(document: Mapping[str, Any], policy: RotationPolicy) -> list[str]:
    found = [
        f"{row['name']} was made {row['age_days']} days ago: 'lake keys rotate root'"
        for row in document["roots"]
        if row["state"] == KeyState.ENABLED.value and row["age_days"] >= policy.roots
    ]
    found += [
        f"a bucket key of sensitivity {level['sensitivity']} was made {level['oldest_bucket_days']} days ago:"
        f" 'lake keys rotate bucket --level {level['sensitivity']}'"
        for level in document["levels"]
        if level["oldest_bucket_days"] is not None and level["oldest_bucket_days"] >= policy.buckets
    ]
    tested = [entry for entry in document["backups"] if entry["tested"]]
    if not tested or tested[0]["age_days"] >= policy.backup:
        when = f"{tested[0]['age_days']} days ago" if tested else "never"
        found.append(f"the newest backup that was tested was made {when}: 'lake keys backup'")
    found += [
        f"the provider does not answer for {entry['key']} ({entry['error']})"
        for entry in document["health"]
        if not entry["answers"]
    ]
    found += [f"{entry['verb']} is not finished: '{entry['resume']}'" for entry in document["unfinished"]]
    return found
