"""What the server says of itself and of its SQL, by the numbers of Flight SQL's ``SqlInfo``."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version

import pyarrow as pa

from lake.errors import UsageError
from lake.gateway.flight.limits import FlightLimits
from lake.gateway.flight.patterns import ESCAPE
from lake.gateway.flight.schemas import INFO_VALUES, SQL_INFO

Value = str | bool | int
_TEXT, _BOOL, _BIGINT, _INT = 0, 1, 2, 3

_IGNORES_CASE, _NULLS_AT_END = 1, 3
_BIGINTS = frozenset({557, 558})
"""Limits are int64; every other number is an int32."""


def _known(limits: FlightLimits) -> dict[int, Value]:
    return {
        0: "telemetry-lake",
        1: version("telemetry-lake"),
        2: pa.__version__,
        3: True,  # read only
        4: True,  # SQL
        5: False,  # Substrait
        8: 0,  # transactions: none
        9: True,  # cancellation
        100: int(limits.statement_seconds * 1000),
        101: 0,
        500: False,  # catalogs, schemas and tables are not created here
        501: False,
        502: False,
        503: _IGNORES_CASE,
        504: '"',
        505: _IGNORES_CASE,
        506: True,  # every table that is shown may be selected from
        507: _NULLS_AT_END,
        513: ESCAPE,
        514: "",
        515: True,  # AS
        516: True,  # NULL || 'text' is NULL
        518: True,  # table aliases
        519: False,
        520: True,  # expressions in ORDER BY
        521: True,  # ORDER BY a column that is not selected
        522: 3,  # GROUP BY, all kinds
        523: True,  # LIKE ... ESCAPE
        524: False,
        525: 7,  # grammar, all levels
        526: 1,  # SQL-92, entry level
        527: False,
        528: 2,  # outer joins, all
        529: "schema",
        530: "procedure",
        531: "catalog",
        532: True,  # a catalog stands first
        533: 0,  # in a query, tables have no schema
        534: 0,  # and no catalog
        535: 0,
        536: False,
        537: False,
        538: 15,  # subqueries, all kinds
        539: True,  # correlated
        540: 3,  # UNION and UNION ALL
        557: limits.sql,
        558: limits.statements_each,
        562: 0,
        563: False,
        572: False,
        573: False,
        574: False,
        576: False,
    }


def sql_info(wanted: Iterable[int], limits: FlightLimits) -> pa.RecordBatch:
    """The pieces of information asked for, all if none is named.

    Raises:
        UsageError: one of them is not known.
    """
    known = _known(limits)
    names = list(dict.fromkeys(wanted)) or list(known)
    if any(name not in known for name in names):
        raise UsageError("this piece of SQL information is not known here")
    codes: list[int] = []
    offsets: list[int] = []
    values: list[list[Value]] = [[] for _ in INFO_VALUES]
    for name in names:
        code = _code(name, known[name])
        codes.append(code)
        offsets.append(len(values[code]))
        values[code].append(known[name])
    children = [pa.array(own, field.type) for own, field in zip(values, INFO_VALUES, strict=True)]
    union = pa.UnionArray.from_dense(
        pa.array(codes, pa.int8()), pa.array(offsets, pa.int32()), children, [field.name for field in INFO_VALUES]
    )
    return pa.RecordBatch.from_arrays([pa.array(names, pa.uint32()), union], schema=SQL_INFO)


def _code(name: int, value: Value) -> int:
    if isinstance(value, str):
        return _TEXT
    if isinstance(value, bool):
        return _BOOL
    return _BIGINT if name in _BIGINTS else _INT
