"""Metadata as one caller sees it: their tables, and what they need not be asked about."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

from lake.gateway.flight import schemas
from lake.gateway.flight.limits import FlightLimits
from lake.gateway.flight.patterns import matches
from lake.gateway.flight.sqlinfo import sql_info
from lake.gateway.flight.xdbc import xdbc_types
from lake.gateway.service import ShownTable
from lake.wire import names

Tables = Callable[[], Sequence[ShownTable]]
"""Gives the caller's tables."""

_KEYS = {
    "CommandGetPrimaryKeys": schemas.PRIMARY_KEYS,
    "CommandGetExportedKeys": schemas.REFERENCES,
    "CommandGetImportedKeys": schemas.REFERENCES,
    "CommandGetCrossReference": schemas.REFERENCES,
}
"""Rows of events have no keys, so the answers are empty, for tables that exist and for others."""

_FIXED = {
    "CommandGetSqlInfo": schemas.SQL_INFO,
    "CommandGetXdbcTypeInfo": schemas.XDBC_TYPES,
    "CommandGetCatalogs": schemas.CATALOGS,
    "CommandGetDbSchemas": schemas.DB_SCHEMAS,
    "CommandGetTableTypes": schemas.TABLE_TYPES,
    **_KEYS,
}


def schema_of(kind: str, command: Any) -> pa.Schema | None:
    """Columns of the answer to a metadata command; None if the command is none."""
    if kind == "CommandGetTables":
        return schemas.TABLES_WITH_SCHEMA if command.include_schema else schemas.TABLES
    return _FIXED.get(kind)


def answer(kind: str, command: Any, tables: Tables, limits: FlightLimits) -> pa.RecordBatch:
    """The answer to a metadata command that ``schema_of`` knows.

    Raises:
        LakeError: the caller has no tables, or asks for what is not known.
    """
    if kind == "CommandGetSqlInfo":
        return sql_info(command.info, limits)
    if kind == "CommandGetXdbcTypeInfo":
        return xdbc_types(command.data_type if command.HasField("data_type") else None)
    if kind == "CommandGetTables":
        return _tables(command, tables)
    return _batch(_FIXED[kind], _rows(kind, command))


def _rows(kind: str, command: Any) -> list[tuple[Any, ...]]:
    match kind:
        case "CommandGetCatalogs":
            return [(names.CATALOG,)]
        case "CommandGetDbSchemas":
            return [(names.CATALOG, names.SCHEMA)] if _in_schema(command) else []
        case "CommandGetTableTypes":
            return [(names.TABLE_TYPE,)]
    return []


def _tables(command: Any, tables: Tables) -> pa.RecordBatch:
    rows: list[tuple[Any, ...]] = []
    types = command.table_types
    if _in_schema(command) and (not types or names.TABLE_TYPE in types):
        for table in sorted(tables(), key=lambda one: one.name):
            if _fits(command, "table_name_filter_pattern", table.name):
                rows.append((names.CATALOG, names.SCHEMA, table.name, names.TABLE_TYPE))
                if command.include_schema:
                    rows[-1] += (_described(table).serialize().to_pybytes(),)
    return _batch(schemas.TABLES_WITH_SCHEMA if command.include_schema else schemas.TABLES, rows)


def _described(table: ShownTable) -> pa.Schema:
    """Its columns, each with where it is."""
    where = {
        "ARROW:FLIGHT:SQL:CATALOG_NAME": names.CATALOG,
        "ARROW:FLIGHT:SQL:DB_SCHEMA_NAME": names.SCHEMA,
        "ARROW:FLIGHT:SQL:TABLE_NAME": table.name,
        "ARROW:FLIGHT:SQL:IS_READ_ONLY": "1",
    }
    fields = [field.with_metadata(where) for field in table.schema]
    return pa.schema(fields, metadata={names.DESCRIPTION: table.description})


def _in_schema(command: Any) -> bool:
    in_catalog = not command.HasField("catalog") or command.catalog == names.CATALOG
    return in_catalog and _fits(command, "db_schema_filter_pattern", names.SCHEMA)


def _fits(command: Any, field: str, text: str) -> bool:
    return not command.HasField(field) or matches(getattr(command, field), text)


def _batch(schema: pa.Schema, rows: Sequence[tuple[Any, ...]]) -> pa.RecordBatch:
    columns = list(zip(*rows, strict=True)) or [()] * len(schema)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
