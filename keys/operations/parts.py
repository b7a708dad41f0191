"""The key store as parts of a backup: what each part holds, as canonical lines. Format: docs/formats.md, "Key backup".

There is a part for every bucket key's KEKs and for every bucket's employees, so that a backup writes only what changed.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from keys.errors import KeyIntegrityError
from keys.tables import anchors, bucket_keys, control_secrets, counters, keks, roots, settings, subjects

COMMON = "common"
_COMMON_TABLES = (settings, counters, anchors, control_secrets, roots, bucket_keys)
_TABLES = {table.name: table for table in (*_COMMON_TABLES, subjects, keks)}


def stamps(connection: sa.Connection) -> dict[str, int]:
    """How often each part was changed; one that is absent is empty. The common part is always read."""
    found = connection.execute(sa.select(counters.c.name, counters.c.value).where(counters.c.name.like("%-b%")))
    return {row.name: row.value for row in found}


def read_part(connection: sa.Connection, name: str) -> bytes:
    """A part as it stands in this transaction's snapshot."""
    return b"".join(_line(table, row) for table, row in _rows(connection, name))


def _rows(connection: sa.Connection, name: str) -> Iterator[tuple[str, Any]]:
    if name == COMMON:
        for table in _COMMON_TABLES:
            for row in connection.execute(sa.select(table).order_by(*table.primary_key.columns)):
                yield table.name, row
    elif name.startswith("subjects-"):
        query = sa.select(subjects).where(subjects.c.bucket == int(name[-3:])).order_by(subjects.c.number)
        for row in connection.execute(query):
            yield subjects.name, row
    else:
        where = (keks.c.sensitivity == int(name[3])) & (keks.c.bucket == int(name[-3:]))
        for row in connection.execute(sa.select(keks).where(where).order_by(keks.c.kek_id, keks.c.version)):
            yield keks.name, row


def _line(table: str, row: Sequence[Any]) -> bytes:
    values = [{"b": base64.b64encode(value).decode()} if isinstance(value, bytes) else value for value in row]
    return json.dumps([table, *values], separators=(",", ":")).encode() + b"\n"


def parse_part(content: bytes) -> Iterator[tuple[sa.Table, dict[str, Any]]]:
    """Rows of a part with their tables.

    Raises:
        KeyIntegrityError: it is not a part of a key store.
    """
    try:
        for line in content.splitlines():
            name, *values = json.loads(line)
            table = _TABLES[name]
            raw = [base64.b64decode(v["b"], validate=True) if isinstance(v, dict) else v for v in values]
            yield table, dict(zip((column.name for column in table.columns), raw, strict=True))
    except (ValueError, KeyError, TypeError):
        raise KeyIntegrityError("a part of a key backup is not one", hint="use another backup") from None
