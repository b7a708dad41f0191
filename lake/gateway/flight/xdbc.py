"""Types that columns of a result can have, as JDBC and ODBC number them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from lake.gateway.flight.schemas import XDBC_TYPES

_NULLABLE, _BASIC, _FULL = 1, 2, 3
_DATETIME = 9


@dataclass(frozen=True, slots=True)
class _Type:
    """``size`` in digits, bits or characters; ``radix`` says which for numbers."""

    name: str
    number: int
    size: int | None = None
    radix: int | None = None
    quote: str | None = None
    subcode: int | None = None

    def row(self) -> dict[str, Any]:
        number = self.radix is not None
        return dict.fromkeys(XDBC_TYPES.names) | {
            "type_name": self.name,
            "data_type": self.number,
            "column_size": self.size,
            "literal_prefix": self.quote,
            "literal_suffix": self.quote,
            "nullable": _NULLABLE,
            "case_sensitive": self.name == "VARCHAR",
            "searchable": _FULL if self.name == "VARCHAR" else _BASIC,
            "unsigned_attribute": False if number else None,
            "fixed_prec_scale": False,
            "auto_increment": False if number else None,
            "local_type_name": self.name,
            "sql_data_type": self.number if self.subcode is None else _DATETIME,
            "datetime_subcode": self.subcode,
            "num_prec_radix": self.radix,
        }


_TYPES = (
    _Type("BOOLEAN", -7, 1),
    _Type("TINYINT", -6, 3, 10),
    _Type("BIGINT", -5, 19, 10),
    _Type("BLOB", -3, quote="'"),
    _Type("DECIMAL", 3, 38, 10),
    _Type("INTEGER", 4, 10, 10),
    _Type("SMALLINT", 5, 5, 10),
    _Type("FLOAT", 7, 24, 2),
    _Type("DOUBLE", 8, 53, 2),
    _Type("VARCHAR", 12, quote="'"),
    _Type("DATE", 91, 10, quote="'", subcode=1),
    _Type("TIME", 92, 15, quote="'", subcode=2),
    _Type("TIMESTAMP", 93, 26, quote="'", subcode=3),
)
"""By number, then by name."""


def xdbc_types(number: int | None) -> pa.RecordBatch:
    """All types, or those of one number."""
    rows = [kind.row() for kind in _TYPES if number is None or kind.number == number]
    return pa.RecordBatch.from_pylist(rows, schema=XDBC_TYPES)
