"""Pauses, devices, and leases of collectors."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Make their tables; commits that are there already account for none of their rows."""
    for name, ids in (("halts", 32), ("devices", 37)):
        op.create_table(
            name,
            sa.Column("id", sa.String(length=ids), nullable=False),
            sa.Column("kind", sa.String(length=16), nullable=False),
            sa.Column("sealed", sa.LargeBinary(), nullable=False),
            sa.Column("at", sa.BigInteger(), nullable=False),
            sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
            sa.PrimaryKeyConstraint("id", "seq"),
        )
        op.create_index(op.f(f"ix_{name}_seq"), name, ["seq"], unique=False)
    op.create_table(
        "leases_issued",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("device", sa.String(length=37), nullable=False),
        sa.Column("dataset", sa.String(length=64), nullable=False),
        sa.Column("claims", sa.Text(), nullable=False),
        sa.Column("mark", sa.BigInteger(), nullable=False),
        sa.Column("issued_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("renewed", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_leases_issued_expires_at"), "leases_issued", ["expires_at"], unique=False)
    op.create_index("ix_leases_issued_device", "leases_issued", ["device", "dataset", "issued_at"], unique=False)
    op.create_table(
        "acknowledgements",
        sa.Column("device", sa.String(length=37), nullable=False),
        sa.Column("mark", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("first_at", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("device", "mark"),
    )
    op.create_table(
        "refusals",
        sa.Column("halt", sa.String(length=32), nullable=False),
        sa.Column("device", sa.String(length=37), nullable=False),
        sa.Column("batches", sa.BigInteger(), nullable=False),
        sa.Column("first_at", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("halt", "device"),
    )
