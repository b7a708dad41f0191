"""The messages of Arrow Flight SQL, and those of Flight itself that pyarrow does not show.

Flight SQL puts every command, action and most results into an ``Any`` that names the message: ``pack``, ``unpack``.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.any_pb2 import Any as Wrapped
from google.protobuf.message import DecodeError

from lake.wire.declare import declared

PACKAGE = "arrow.flight.protocol.sql"
_URL = f"type.googleapis.com/{PACKAGE}."

_NAMED_TABLE = "catalog:string?=1 db_schema:string?=2 table:string=3"
_STATEMENT = "query:string=1 transaction_id:bytes?=2"
_HANDLE = "prepared_statement_handle:bytes=1"

SQL_TABLE = {
    "CommandStatementQuery": _STATEMENT,
    "CommandStatementUpdate": _STATEMENT,
    "CommandStatementSubstraitPlan": "plan:SubstraitPlan=1 transaction_id:bytes?=2",
    "CommandStatementIngest": "table:string=2 schema:string?=3 catalog:string?=4 temporary:bool=5 "
    "transaction_id:bytes?=6",
    "CommandPreparedStatementQuery": _HANDLE,
    "CommandPreparedStatementUpdate": _HANDLE,
    "TicketStatementQuery": "statement_handle:bytes=1",
    "CommandGetSqlInfo": "info:uint32*=1",
    "CommandGetXdbcTypeInfo": "data_type:int32?=1",
    "CommandGetCatalogs": "",
    "CommandGetDbSchemas": "catalog:string?=1 db_schema_filter_pattern:string?=2",
    "CommandGetTables": "catalog:string?=1 db_schema_filter_pattern:string?=2 table_name_filter_pattern:string?=3 "
    "table_types:string*=4 include_schema:bool=5",
    "CommandGetTableTypes": "",
    "CommandGetPrimaryKeys": _NAMED_TABLE,
    "CommandGetExportedKeys": _NAMED_TABLE,
    "CommandGetImportedKeys": _NAMED_TABLE,
    "CommandGetCrossReference": "pk_catalog:string?=1 pk_db_schema:string?=2 pk_table:string=3 "
    "fk_catalog:string?=4 fk_db_schema:string?=5 fk_table:string=6",
    "SubstraitPlan": "plan:bytes=1 version:string=2",
    "ActionCreatePreparedStatementRequest": _STATEMENT,
    "ActionCreatePreparedSubstraitPlanRequest": "plan:SubstraitPlan=1 transaction_id:bytes?=2",
    "ActionCreatePreparedStatementResult": "prepared_statement_handle:bytes=1 dataset_schema:bytes=2 "
    "parameter_schema:bytes=3 is_update:bool?=4",
    "ActionClosePreparedStatementRequest": _HANDLE,
    "ActionBeginTransactionRequest": "",
    "ActionBeginTransactionResult": "transaction_id:bytes=1",
    "ActionBeginSavepointRequest": "transaction_id:bytes=1 name:string=2",
    "ActionBeginSavepointResult": "savepoint_id:bytes=1",
    "ActionEndTransactionRequest": "transaction_id:bytes=1 action:enum=2",
    "ActionEndSavepointRequest": "savepoint_id:bytes=1 action:enum=2",
    "ActionCancelQueryRequest": "info:bytes=1",
    "ActionCancelQueryResult": "result:enum=1",
    "DoPutUpdateResult": "record_count:int64=1",
    "DoPutPreparedStatementResult": "prepared_statement_handle:bytes?=1",
}
"""Fields by message; of an ingest, which is only ever refused, those that say into what."""

FLIGHT_TABLE = {
    "CancelFlightInfoRequest": "info:FlightInfo=1",
    "CancelFlightInfoResult": "status:enum=1",
    "FlightInfo": "schema:bytes=1 flight_descriptor:FlightDescriptor=2 endpoint:FlightEndpoint*=3 "
    "total_records:int64=4 total_bytes:int64=5 ordered:bool=6 app_metadata:bytes=7",
    "FlightDescriptor": "type:enum=1 cmd:bytes=2 path:string*=3",
    "FlightEndpoint": "ticket:Ticket=1 location:Location*=2 app_metadata:bytes=4",
    "Location": "uri:string=1",
    "Ticket": "ticket:bytes=1",
    "CloseSessionResult": "status:enum=1",
}
"""As they lie in actions, so without an ``Any``."""

CANCELLED, CANCELLING, NOT_CANCELLABLE = 1, 2, 3
"""``result`` and ``status`` of the two answers to a cancellation."""

SESSION_CLOSED = 1
"""``status`` of the answer to the end of a session."""

_sql: dict[str, Any] = declared(PACKAGE, SQL_TABLE)
_flight: dict[str, Any] = declared("arrow.flight.protocol", FLIGHT_TABLE)

CommandStatementQuery = _sql["CommandStatementQuery"]
CommandPreparedStatementQuery = _sql["CommandPreparedStatementQuery"]
TicketStatementQuery = _sql["TicketStatementQuery"]
CommandGetSqlInfo = _sql["CommandGetSqlInfo"]
CommandGetXdbcTypeInfo = _sql["CommandGetXdbcTypeInfo"]
CommandGetCatalogs = _sql["CommandGetCatalogs"]
CommandGetDbSchemas = _sql["CommandGetDbSchemas"]
CommandGetTables = _sql["CommandGetTables"]
CommandGetTableTypes = _sql["CommandGetTableTypes"]
ActionCreatePreparedStatementRequest = _sql["ActionCreatePreparedStatementRequest"]
ActionCreatePreparedStatementResult = _sql["ActionCreatePreparedStatementResult"]
ActionClosePreparedStatementRequest = _sql["ActionClosePreparedStatementRequest"]
ActionCancelQueryRequest = _sql["ActionCancelQueryRequest"]
ActionCancelQueryResult = _sql["ActionCancelQueryResult"]
DoPutPreparedStatementResult = _sql["DoPutPreparedStatementResult"]
CancelFlightInfoRequest = _flight["CancelFlightInfoRequest"]
CancelFlightInfoResult = _flight["CancelFlightInfoResult"]
FlightInfo = _flight["FlightInfo"]
CloseSessionResult = _flight["CloseSessionResult"]


class MalformedMessageError(ValueError):
    """The bytes are no message of Flight SQL that is known here; quotes none of them."""


def message(name: str, **fields: Any) -> Any:
    """A message of Flight SQL by name."""
    return _sql[name](**fields)


def pack(content: Any) -> bytes:
    """A message of Flight SQL in its ``Any``."""
    wrapped = Wrapped(type_url=_URL + content.DESCRIPTOR.name, value=content.SerializeToString())
    return wrapped.SerializeToString(deterministic=True)


def unpack(content: bytes) -> Any:
    """The message in an ``Any``; which one, ``name`` says.

    Raises:
        MalformedMessageError: it holds none.
    """
    wrapped = Wrapped()
    try:
        wrapped.ParseFromString(content)
    except DecodeError:
        raise MalformedMessageError("not a message of Flight SQL") from None
    kind = _sql.get(wrapped.type_url.removeprefix(_URL)) if wrapped.type_url.startswith(_URL) else None
    if kind is None:
        raise MalformedMessageError("not a message of Flight SQL that is known here")
    return parse(kind, wrapped.value)


def parse(kind: Any, content: bytes) -> Any:
    """A bare message of one kind.

    Raises:
        MalformedMessageError: the bytes are none.
    """
    found = kind()
    try:
        found.ParseFromString(content)
    except DecodeError:
        raise MalformedMessageError(f"not a {kind.DESCRIPTOR.name}") from None
    return found


def name(content: Any) -> str:
    """Which message it is, such as ``CommandStatementQuery``."""
    return str(content.DESCRIPTOR.name)
