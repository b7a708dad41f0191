"""Who proposed, approved, rejected and withdrew versions of contracts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Make their table; commits that are there already account for none of its rows."""
    op.create_table(
        "contract_events",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("id", "seq"),
    )
    op.create_index(op.f("ix_contract_events_seq"), "contract_events", ["seq"], unique=False)
