"""Tables of the catalog. Times are microseconds since 1970 in UTC; employees appear by pseudonym and number only."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()

commits = sa.Table(
    "commits",
    metadata,
    sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=False),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("digest", sa.LargeBinary(32), nullable=False),
    sa.Column("mac", sa.LargeBinary(32), nullable=False),
)

contracts = sa.Table(
    "contracts",
    metadata,
    sa.Column("dataset", sa.String(64), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("digest", sa.String(71), nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("seq", sa.BigInteger, nullable=False, index=True),
)

policies = sa.Table(
    "policies",
    metadata,
    sa.Column("digest", sa.String(71), nullable=False),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
    sa.Column("applied_at", sa.BigInteger, nullable=False),
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
)

directory = sa.Table(
    "directory",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("subject", sa.String(26), nullable=False, unique=True),
    sa.Column("lookup", sa.LargeBinary(32), nullable=False, unique=True),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
    sa.Column("seq", sa.BigInteger, nullable=False, index=True),
)

actors = sa.Table(
    "actors",
    metadata,
    sa.Column("actor", sa.String(34), primary_key=True),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
    sa.Column("seq", sa.BigInteger, nullable=False, index=True),
)

batches = sa.Table(
    "batches",
    metadata,
    sa.Column("dataset", sa.String(64), primary_key=True),
    sa.Column("batch_id", sa.String(128), primary_key=True),
    sa.Column("content", sa.String(71), nullable=False),
    sa.Column("contract_version", sa.Integer, nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("counts", sa.Text, nullable=False),
    sa.Column("landed_at", sa.BigInteger, nullable=False),
    sa.Column("seq", sa.BigInteger, nullable=False, index=True),
)

outcomes = sa.Table(
    "outcomes",
    metadata,
    sa.Column("dataset", sa.String(64), primary_key=True),
    sa.Column("batch_id", sa.String(128), primary_key=True),
    sa.Column("entry", sa.BigInteger, nullable=False),
    sa.Column("lease", sa.String(32), nullable=False),
    sa.Column("levels", sa.Text, nullable=False),
    sa.Column("masked", sa.Text, nullable=False),
    sa.Column("rules", sa.String(71), nullable=False),
    sa.Column("seq", sa.BigInteger, nullable=False, index=True),
)
"""What receipts say of a batch beside its row; batches from before version 0009 have none."""

_HOUR = 3_600_000_000
SPANS: dict[str, tuple[int, int | None]] = {
    "hour": (-1, _HOUR),
    "day": (_HOUR, 24 * _HOUR),
    "month": (24 * _HOUR, 31 * 24 * _HOUR),
    "more": (31 * 24 * _HOUR, None),
}
"""Live files by the time between first and last row: longer than the first bound, at most the second; microseconds.

Of files that are not longer than a bound, those that begin before a moment end before that moment and the bound: so an
index on ends finds what overlaps a time, and does not look at all that came later.
"""


def of_span(name: str) -> sa.TextClause:
    """Which files have a span; in these very words, as an index has them."""
    longer, most = SPANS[name]
    words = f"removed_seq IS NULL AND last_ts - first_ts > {longer}"
    return sa.text(words if most is None else f"{words} AND last_ts - first_ts <= {most}")


def _by_span(kind: str, *columns: str) -> list[sa.Index]:
    return [
        sa.Index(f"ix_files_{kind}_{name}", *columns, sqlite_where=of_span(name), postgresql_where=of_span(name))
        for name in SPANS
    ]


files = sa.Table(
    "files",
    metadata,
    sa.Column("file_id", sa.String(32), primary_key=True),
    sa.Column("dataset", sa.String(64), nullable=False),
    sa.Column("subject", sa.String(26), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("sensitivity", sa.SmallInteger, nullable=False),
    sa.Column("month", sa.String(7), nullable=False),
    sa.Column("object_key", sa.String(512), nullable=False, unique=True),
    sa.Column("format", sa.String(16), nullable=False),
    sa.Column("format_version", sa.SmallInteger, nullable=False),
    sa.Column("schema_version", sa.Integer, nullable=False),
    sa.Column("length", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.LargeBinary(32), nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("first_ts", sa.BigInteger, nullable=False),
    sa.Column("last_ts", sa.BigInteger, nullable=False),
    sa.Column("batch_id", sa.String(128), nullable=False),
    sa.Column("seq", sa.BigInteger, nullable=False, index=True),
    sa.Column("removed_seq", sa.BigInteger, nullable=True, index=True),
    # Re-wrapped in place by rotation; each authenticates itself and its whole row. A removed file has no wrap.
    sa.Column("kek_id", sa.String(32), nullable=False),
    sa.Column("kek_version", sa.Integer, nullable=False),
    sa.Column("wrapped_dek", sa.LargeBinary, nullable=True, unique=True),
    *_by_span("time", "dataset", "last_ts", "first_ts"),
    *_by_span("person", "dataset", "number", "last_ts", "first_ts"),
    sa.Index("ix_files_number", "number"),
    sa.Index("ix_files_kek", "kek_id", "kek_version"),
)

removals = sa.Table(
    "removals",
    metadata,
    sa.Column("file_id", sa.String(32), primary_key=True),
    sa.Column("seq", sa.BigInteger, nullable=False, index=True),
)

elevations = sa.Table(
    "elevations",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("kind", sa.String(16), primary_key=True),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("seq", sa.BigInteger, nullable=False, index=True),
)
"""Events of break-glass, at most one of a kind for each id; see elevations.py."""

marks = sa.Table(
    "marks",
    metadata,
    sa.Column("name", sa.String(32), primary_key=True),
    sa.Column("value", sa.BigInteger, nullable=False),
)
"""Numbers that only grow, outside the chain: the fence (see upkeep.py)."""

leases = sa.Table(
    "leases",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("holder", sa.String(200), nullable=False),
    sa.Column("token", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False),
)
"""Who does a job now, outside the chain as it is no content; see leases.py."""


def _events(name: str, *, ids: int) -> sa.Table:
    """Events of which a commit adds one; each is sealed together with a digest of all before it. See ledgers.py."""
    return sa.Table(
        name,
        metadata,
        sa.Column("id", sa.String(ids), primary_key=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False, index=True),
    )


halts = _events("halts", ids=32)
"""Pauses of collection, opt-outs, frozen reads, and who has ended them."""
devices = _events("devices", ids=37)
"""Devices that may collect, by tag: enrolled and retired."""
contract_events = _events("contract_events", ids=32)
"""Versions of contracts: proposed, approved, rejected, withdrawn."""
holds = _events("holds", ids=32)
"""Legal holds: placed, asked to be released, released."""
retention = _events("retention", ids=32)
"""Rules of retention, and approvals of purges."""

erasures = sa.Table(
    "erasures",
    metadata,
    sa.Column("erased", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("seq", sa.BigInteger, nullable=False, index=True),
)
"""Commits that account for no rows any more, as entries of the directory were erased; see erasure.py."""

job_runs = sa.Table(
    "job_runs",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("job", sa.String(64), nullable=False),
    sa.Column("plan", sa.String(71), nullable=False),
    sa.Column("mac", sa.LargeBinary(32), nullable=False),
    sa.Column("facts", sa.Text, nullable=False),
    sa.Column("items", sa.BigInteger, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("started_at", sa.BigInteger, nullable=False),
    sa.Column("updated_at", sa.BigInteger, nullable=False),
    sa.Index("ix_job_runs_job", "job", "started_at"),
)
"""Runs of jobs, outside the chain as they are no content; the MAC ties a run to its plan. See jobs/runner."""

job_items = sa.Table(
    "job_items",
    metadata,
    sa.Column("run", sa.String(32), primary_key=True),
    sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("item", sa.String(200), nullable=False),
    sa.Column("work", sa.Text, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Index("ix_job_items_state", "run", "state", "position"),
    sa.Index("ix_job_items_item", "run", "item", unique=True),
)
"""Work items of a run, in order; outside the chain."""

leases_issued = sa.Table(
    "leases_issued",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("device", sa.String(37), nullable=False),
    sa.Column("dataset", sa.String(64), nullable=False),
    sa.Column("claims", sa.Text, nullable=False),
    sa.Column("mark", sa.BigInteger, nullable=False),
    sa.Column("issued_at", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False, index=True),
    sa.Column("renewed", sa.Boolean, nullable=False),
    sa.Index("ix_leases_issued_device", "device", "dataset", "issued_at"),
)
"""Leases of collectors, outside the chain: they come and go by the minute. A lease without its row is none."""

acknowledgements = sa.Table(
    "acknowledgements",
    metadata,
    sa.Column("device", sa.String(37), primary_key=True),
    sa.Column("mark", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("first_at", sa.BigInteger, nullable=False),
    sa.Column("last_at", sa.BigInteger, nullable=False),
)
"""Devices that say that they have stopped what pauses up to a mark forbid; outside the chain."""

refusals = sa.Table(
    "refusals",
    metadata,
    sa.Column("halt", sa.String(32), primary_key=True),
    sa.Column("device", sa.String(37), primary_key=True),
    sa.Column("batches", sa.BigInteger, nullable=False),
    sa.Column("first_at", sa.BigInteger, nullable=False),
    sa.Column("last_at", sa.BigInteger, nullable=False),
)
"""Batches refused because of a pause; outside the chain."""

quarantine = sa.Table(
    "quarantine",
    metadata,
    sa.Column("file_id", sa.String(32), primary_key=True),
    sa.Column("reason", sa.String(16), nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)
"""Files that a scrub found damaged, outside the chain; see quarantine.py."""

CHAINED = (
    contracts,
    policies,
    directory,
    actors,
    batches,
    outcomes,
    files,
    removals,
    elevations,
    halts,
    devices,
    contract_events,
    holds,
    retention,
    erasures,
)
"""Tables whose rows the commits account for; see chain.py."""

REWRAPPED = frozenset({"kek_id", "kek_version", "wrapped_dek", "removed_seq"})
"""Columns of ``files`` that change after a row's commit and are therefore not part of the commit's digest."""
