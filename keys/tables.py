"""Tables of the key store. Format: docs/formats.md, "Key store database". No open key lies in any of them."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()
_big = sa.BigInteger().with_variant(sa.Integer, "sqlite")

settings = sa.Table(
    "settings",
    metadata,
    sa.Column("name", sa.String(32), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

control_secrets = sa.Table(
    "control_secrets",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("root_version", sa.Integer, nullable=False),
    sa.Column("wrapped", sa.LargeBinary, nullable=False),
)

roots = sa.Table(
    "roots",
    metadata,
    sa.Column("name", sa.String(32), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("state", sa.String(24), nullable=False),
    sa.Column("created_at", _big, nullable=False),
)

bucket_keys = sa.Table(
    "bucket_keys",
    metadata,
    sa.Column("sensitivity", sa.SmallInteger, primary_key=True),
    sa.Column("bucket", sa.SmallInteger, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("state", sa.String(24), nullable=False),
    sa.Column("root_version", sa.Integer, nullable=False),
    sa.Column("wrapped", sa.LargeBinary, nullable=False),
    sa.Column("created_at", _big, nullable=False),
)

subjects = sa.Table(
    "subjects",
    metadata,
    sa.Column("subject", sa.String(26), primary_key=True),
    sa.Column("number", sa.Integer, nullable=False, unique=True),
    sa.Column("bucket", sa.SmallInteger, nullable=False, index=True),
    sa.Column("tombstoned", sa.Boolean, nullable=False),
    sa.Column("disabled", sa.Boolean, nullable=False),
)

keks = sa.Table(
    "keks",
    metadata,
    sa.Column("kek_id", sa.String(32), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("subject", sa.String(26), nullable=False),
    sa.Column("sensitivity", sa.SmallInteger, nullable=False),
    sa.Column("month", sa.String(7), nullable=False),
    sa.Column("state", sa.String(24), nullable=False),
    sa.Column("bucket", sa.SmallInteger, nullable=False),
    sa.Column("bucket_version", sa.Integer, nullable=False),
    sa.Column("wrapped", sa.LargeBinary, nullable=False),
    sa.Column("created_at", _big, nullable=False),
    sa.UniqueConstraint("subject", "sensitivity", "month", "version"),
    sa.Index("ix_keks_bucket", "sensitivity", "bucket"),
)

counters = sa.Table(
    "counters",
    metadata,
    sa.Column("name", sa.String(32), primary_key=True),
    sa.Column("value", _big, nullable=False),
)

anchors = sa.Table(
    "anchors",
    metadata,
    sa.Column("name", sa.String(32), primary_key=True),
    sa.Column("seq", _big, nullable=False),
    sa.Column("value", sa.LargeBinary(32), nullable=False),
)

releases = sa.Table(
    "releases",
    metadata,
    sa.Column("receipt", _big, primary_key=True, autoincrement=False),
    sa.Column("actor", sa.String(64), nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False, index=True),
    *(sa.Column(f"dss{level}", sa.Integer, nullable=False) for level in (1, 2, 3, 4)),
)

operations = sa.Table(
    "operations",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("verb", sa.String(24), nullable=False),
    sa.Column("scope", sa.Text, nullable=False),
    sa.Column("phase", sa.String(24), nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("started_at", _big, nullable=False),
    sa.Column("updated_at", _big, nullable=False),
    sa.Column("done", sa.Boolean, nullable=False),
)

backups = sa.Table(
    "backups",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("at", _big, nullable=False),
    sa.Column("place", sa.Text, nullable=False),
    sa.Column("digest", sa.LargeBinary(32), nullable=False),
    sa.Column("tested", sa.Boolean, nullable=False),
)
