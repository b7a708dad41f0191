"""Columns of Flight SQL's metadata answers: names, types, and which may be null, are what clients rely on."""

from __future__ import annotations

import pyarrow as pa


def _schema(*fields: tuple[str, pa.DataType] | tuple[str, pa.DataType, bool]) -> pa.Schema:
    """Fields; a third item says that there are no nulls."""
    return pa.schema([pa.field(field[0], field[1], nullable=len(field) == 2) for field in fields])


_TEXT, _INT, _RULE = pa.string(), pa.int32(), pa.uint8()

CATALOGS = _schema(("catalog_name", _TEXT, True))
DB_SCHEMAS = _schema(("catalog_name", _TEXT), ("db_schema_name", _TEXT, True))
TABLE_TYPES = _schema(("table_type", _TEXT, True))
TABLES = _schema(
    ("catalog_name", _TEXT), ("db_schema_name", _TEXT), ("table_name", _TEXT, True), ("table_type", _TEXT, True)
)
TABLES_WITH_SCHEMA = TABLES.append(pa.field("table_schema", pa.binary(), nullable=False))
PRIMARY_KEYS = _schema(
    ("catalog_name", _TEXT),
    ("db_schema_name", _TEXT),
    ("table_name", _TEXT, True),
    ("column_name", _TEXT, True),
    ("key_name", _TEXT),
    ("key_sequence", _INT, True),
)
REFERENCES = _schema(
    ("pk_catalog_name", _TEXT),
    ("pk_db_schema_name", _TEXT),
    ("pk_table_name", _TEXT, True),
    ("pk_column_name", _TEXT, True),
    ("fk_catalog_name", _TEXT),
    ("fk_db_schema_name", _TEXT),
    ("fk_table_name", _TEXT, True),
    ("fk_column_name", _TEXT, True),
    ("key_sequence", _INT, True),
    ("fk_key_name", _TEXT),
    ("pk_key_name", _TEXT),
    ("update_rule", _RULE, True),
    ("delete_rule", _RULE, True),
)
XDBC_TYPES = _schema(
    ("type_name", _TEXT, True),
    ("data_type", _INT, True),
    ("column_size", _INT),
    ("literal_prefix", _TEXT),
    ("literal_suffix", _TEXT),
    ("create_params", pa.list_(pa.field("item", _TEXT, nullable=False))),
    ("nullable", _INT, True),
    ("case_sensitive", pa.bool_(), True),
    ("searchable", _INT, True),
    ("unsigned_attribute", pa.bool_()),
    ("fixed_prec_scale", pa.bool_(), True),
    ("auto_increment", pa.bool_()),
    ("local_type_name", _TEXT),
    ("minimum_scale", _INT),
    ("maximum_scale", _INT),
    ("sql_data_type", _INT, True),
    ("datetime_subcode", _INT),
    ("num_prec_radix", _INT),
    ("interval_precision", _INT),
)

INFO_VALUES = (
    pa.field("string_value", _TEXT),
    pa.field("bool_value", pa.bool_()),
    pa.field("bigint_value", pa.int64()),
    pa.field("int32_bitmask", _INT),
    pa.field("string_list", pa.list_(pa.field("string_data", _TEXT))),
    pa.field("int32_to_int32_list_map", pa.map_(_INT, pa.list_(pa.field("$data$", _INT)))),
)
"""Members of the union of information values, in the order of their codes."""

SQL_INFO = pa.schema(
    [
        pa.field("info_name", pa.uint32(), nullable=False),
        pa.field("value", pa.dense_union(list(INFO_VALUES)), nullable=True),
    ]
)
