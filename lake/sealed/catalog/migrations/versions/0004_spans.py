"""Files are found by time and by employee through indexes for each span; see ``tables.SPANS``."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_SPANS = {
    "hour": "last_ts - first_ts > -1 AND last_ts - first_ts <= 3600000000",
    "day": "last_ts - first_ts > 3600000000 AND last_ts - first_ts <= 86400000000",
    "month": "last_ts - first_ts > 86400000000 AND last_ts - first_ts <= 2678400000000",
    "more": "last_ts - first_ts > 2678400000000",
}
_COLUMNS = {"time": ["dataset", "last_ts", "first_ts"], "person": ["dataset", "number", "last_ts", "first_ts"]}


def upgrade() -> None:
    """Put them in the place of those over all files."""
    op.drop_index("ix_files_time", "files")
    op.drop_index("ix_files_partition", "files")
    for kind, columns in _COLUMNS.items():
        for name, span in _SPANS.items():
            where = sa.text(f"removed_seq IS NULL AND {span}")
            op.create_index(f"ix_files_{kind}_{name}", "files", columns, sqlite_where=where, postgresql_where=where)
    op.create_index("ix_files_number", "files", ["number"])
