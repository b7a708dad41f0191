"""What receipts say of batches that landed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Make their table; batches that are there already have none."""
    op.create_table(
        "outcomes",
        sa.Column("dataset", sa.String(length=64), nullable=False),
        sa.Column("batch_id", sa.String(length=128), nullable=False),
        sa.Column("entry", sa.BigInteger(), nullable=False),
        sa.Column("lease", sa.String(length=32), nullable=False),
        sa.Column("levels", sa.Text(), nullable=False),
        sa.Column("masked", sa.Text(), nullable=False),
        sa.Column("rules", sa.String(length=71), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("dataset", "batch_id"),
    )
    op.create_index(op.f("ix_outcomes_seq"), "outcomes", ["seq"], unique=False)
