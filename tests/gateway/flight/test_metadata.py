"""Metadata: what this caller may see, with the columns that clients rely on."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.flight as fl
import pytest

from lake.gateway.flight import schemas
from lake.gateway.flight.limits import FlightLimits
from lake.gateway.flight.sqlinfo import sql_info
from lake.wire import flight_sql as wire
from tests.gateway.flight.asking import ask, refusal
from tests.gateway.flight.doors import Opened

KEYS = ("CommandGetPrimaryKeys", "CommandGetExportedKeys", "CommandGetImportedKeys")


def tables(client: fl.FlightClient, options: fl.FlightCallOptions, **filters: Any) -> list[str]:
    """Names of tables that a request finds."""
    found: list[str] = ask(client, options, wire.CommandGetTables(**filters)).column("table_name").to_pylist()
    return found


def test_tables_are_those_of_the_grant(door: Opened, client: fl.FlightClient) -> None:
    """By caller and purpose."""
    assert tables(client, door.options()) == ["events", "moods"]
    assert tables(client, door.options("stu", "study")) == ["events"]
    kind, document = refusal(lambda: tables(client, door.options("none", "study")))
    assert (kind, document["error"]) == (fl.FlightUnauthorizedError, "denied")


@pytest.mark.parametrize(
    ("filters", "wanted"),
    [
        ({"table_name_filter_pattern": "ev%"}, ["events"]),
        ({"table_name_filter_pattern": "_oods"}, ["moods"]),
        ({"table_name_filter_pattern": "EVENTS"}, []),
        ({"table_name_filter_pattern": ""}, []),
        ({"table_name_filter_pattern": "ev\\%"}, []),
        ({"catalog": "lake"}, ["events", "moods"]),
        ({"catalog": ""}, []),
        ({"catalog": "other"}, []),
        ({"db_schema_filter_pattern": "ma%"}, ["events", "moods"]),
        ({"db_schema_filter_pattern": "x"}, []),
        ({"table_types": ["TABLE", "VIEW"]}, ["events", "moods"]),
        ({"table_types": ["VIEW"]}, []),
    ],
)
def test_tables_are_filtered(door: Opened, client: fl.FlightClient, filters: dict[str, Any], wanted: list[str]) -> None:
    """By pattern, by catalog, by type."""
    assert tables(client, door.options(), **filters) == wanted


def test_columns_are_those_of_the_grant(door: Opened, client: fl.FlightClient) -> None:
    """Hidden ones are not there; the schema is that of a query for all of them."""
    options = door.options("stu", "study")
    found = ask(client, options, wire.CommandGetTables(include_schema=True))
    assert found.schema == schemas.TABLES_WITH_SCHEMA
    shown = pa.ipc.read_schema(pa.py_buffer(found.column("table_schema")[0].as_py()))
    assert "flag" not in shown.names
    result = ask(client, options, wire.CommandStatementQuery(query="SELECT * FROM events LIMIT 0"))
    assert shown.remove_metadata().equals(result.schema.remove_metadata())
    assert shown.field("app").metadata[b"ARROW:FLIGHT:SQL:TABLE_NAME"] == b"events"
    assert shown.metadata[b"lake.description"]


def test_the_rest_of_the_catalog(door: Opened, client: fl.FlightClient) -> None:
    """One catalog, one schema, one type of table, no keys."""
    options = door.options()
    assert ask(client, options, wire.CommandGetCatalogs()).to_pylist() == [{"catalog_name": "lake"}]
    schema = [{"catalog_name": "lake", "db_schema_name": "main"}]
    for filters, wanted in (({}, schema), ({"catalog": "lake"}, schema), ({"db_schema_filter_pattern": "x%"}, [])):
        assert ask(client, options, wire.CommandGetDbSchemas(**filters)).to_pylist() == wanted
    assert ask(client, options, wire.CommandGetTableTypes()).to_pylist() == [{"table_type": "TABLE"}]
    for name in KEYS:
        for table in ("events", "nowhere"):
            assert ask(client, options, wire.message(name, table=table)).num_rows == 0
    cross = wire.message("CommandGetCrossReference", pk_table="events", fk_table="moods")
    assert ask(client, options, cross).schema == schemas.REFERENCES


def test_types_are_told(door: Opened, client: fl.FlightClient) -> None:
    """All, or those of a number, in order."""
    found = ask(client, door.options(), wire.CommandGetXdbcTypeInfo())
    assert found.schema == schemas.XDBC_TYPES
    order = list(zip(found["data_type"].to_pylist(), found["type_name"].to_pylist(), strict=True))
    assert order == sorted(order)
    one = ask(client, door.options(), wire.CommandGetXdbcTypeInfo(data_type=12))
    assert one["type_name"].to_pylist() == ["VARCHAR"]
    assert ask(client, door.options(), wire.CommandGetXdbcTypeInfo(data_type=999)).num_rows == 0


def test_the_server_tells_of_itself(door: Opened, client: fl.FlightClient) -> None:
    """Name, version, that it only reads, how names are quoted."""
    found = ask(client, door.options(), wire.CommandGetSqlInfo(info=[0, 3, 8, 504, 557]))
    assert found.schema == schemas.SQL_INFO
    values = dict(zip(found["info_name"].to_pylist(), found["value"].to_pylist(), strict=True))
    assert values == {0: "telemetry-lake", 3: True, 8: 0, 504: '"', 557: 100_000}
    every = ask(client, door.options(), wire.CommandGetSqlInfo())
    assert every.num_rows > 40
    _, document = refusal(lambda: ask(client, door.options(), wire.CommandGetSqlInfo(info=[99_999])))
    assert document["error"] == "usage"


def test_information_is_well_formed() -> None:
    """The union is what its columns say, value by value."""
    batch = sql_info([], FlightLimits())
    batch.validate(full=True)
    value = batch.column("value")
    assert [value.type.field(code).name for code in range(6)] == [field.name for field in schemas.INFO_VALUES]


def test_metadata_asks_nothing_of_the_engine(
    door: Opened, client: fl.FlightClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No query is run or described for it."""

    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError

    for name in ("run", "describe"):
        monkeypatch.setattr(type(door.service), name, never)
    assert tables(client, door.options(), include_schema=True) == ["events", "moods"]
