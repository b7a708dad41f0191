"""How a contract's types are stored in Arrow and Parquet. Times are microseconds, UTC, without a zone."""

from __future__ import annotations

import pyarrow as pa

from lake.rules.contract import Contract, FieldType
from lake.rules.model import EMPLOYEE_COLUMN, SENSITIVITY_COLUMN, TIME_COLUMN, TYPE_COLUMN

TIMESTAMP = pa.timestamp("us")

ARROW_TYPES: dict[FieldType, pa.DataType] = {
    FieldType.STRING: pa.string(),
    FieldType.BOOLEAN: pa.bool_(),
    FieldType.INT32: pa.int32(),
    FieldType.INT64: pa.int64(),
    FieldType.FLOAT64: pa.float64(),
    FieldType.TIMESTAMP: TIMESTAMP,
}


def stored_schema(contract: Contract) -> pa.Schema:
    """Columns of a data file: capture time, event type, then the contract's fields. No employee, no sensitivity."""
    fields = [pa.field(field.name, ARROW_TYPES[field.type]) for field in contract.fields.values()]
    return pa.schema([pa.field(TIME_COLUMN, TIMESTAMP), pa.field(TYPE_COLUMN, pa.string()), *fields])


def incoming_schema(contract: Contract) -> pa.Schema:
    """Columns of a row on its way in: the employee, the stored ones, and the sender's rating, which only raises."""
    employee, rating = pa.field(EMPLOYEE_COLUMN, pa.string()), pa.field(SENSITIVITY_COLUMN, pa.int32())
    return stored_schema(contract).insert(0, employee).append(rating)


def ready_schema(contract: Contract) -> pa.Schema:
    """Columns of a row that may land: the employee, the stored ones, and its sensitivity."""
    schema = incoming_schema(contract)
    return schema.set(schema.get_field_index(SENSITIVITY_COLUMN), pa.field(SENSITIVITY_COLUMN, pa.int8()))
