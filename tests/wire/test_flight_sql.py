"""Messages of Flight SQL: their bytes are fixed, they agree with those of others, and rubbish is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import adbc_driver_flightsql
import pyarrow.flight as fl
import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from lake.wire import flight_sql as wire

URL = b"type.googleapis.com/arrow.flight.protocol.sql."
VECTORS = {
    "CommandStatementQuery": ({"query": "SELECT 1"}, b"\x0a\x08SELECT 1"),
    "TicketStatementQuery": ({"statement_handle": b"\x00\xff"}, b"\x0a\x02\x00\xff"),
    "CommandPreparedStatementQuery": ({"prepared_statement_handle": b"h"}, b"\x0a\x01h"),
    "CommandGetTables": (
        {"catalog": "", "table_name_filter_pattern": "%", "table_types": ["A", "B"], "include_schema": True},
        b"\x0a\x00\x1a\x01%\x22\x01A\x22\x01B\x28\x01",
    ),
    "CommandGetSqlInfo": ({"info": [0, 503]}, b"\x0a\x03\x00\xf7\x03"),
    "ActionCreatePreparedStatementResult": (
        {"prepared_statement_handle": b"h", "dataset_schema": b"s", "is_update": False},
        b"\x0a\x01h\x12\x01s\x20\x00",
    ),
    "ActionCancelQueryResult": ({"result": 1}, b"\x08\x01"),
    "DoPutPreparedStatementResult": ({"prepared_statement_handle": b""}, b"\x0a\x00"),
    "CommandGetXdbcTypeInfo": ({"data_type": -5}, b"\x08\xfb\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
}


@pytest.mark.parametrize("name", VECTORS)
def test_bytes_are_fixed(name: str) -> None:
    """Packed and unpacked, each message is what it was, and its bytes are these."""
    fields, content = VECTORS[name]
    url = URL + name.encode()
    packed = b"\x0a" + bytes([len(url)]) + url + b"\x12" + bytes([len(content)]) + content
    assert wire.pack(wire.message(name, **fields)) == packed
    found = wire.unpack(packed)
    assert wire.name(found) == name
    assert found == wire.message(name, **fields)


def driver_messages(proto: bytes) -> dict[str, DescriptorProto]:
    """Messages as the Flight SQL driver of others declares them; its binary holds the descriptors."""
    library = Path(adbc_driver_flightsql.__file__).parent / "libadbc_driver_flightsql.so"
    content = library.read_bytes()
    start = content.index(b"\n" + bytes([len(proto)]) + proto + b"\x12")
    # A descriptor does not say where it ends, and what follows may look like more of it.
    found: dict[str, DescriptorProto] = {}
    for message in _messages(content, start):
        found.setdefault(message.name, message)
    return found


def _messages(content: bytes, place: int) -> Iterator[DescriptorProto]:
    while True:
        tag, length, place = _head(content, place)
        if tag & 7 != 2 or tag >> 3 > 12:
            return
        if tag >> 3 == FileDescriptorProto.MESSAGE_TYPE_FIELD_NUMBER:
            try:
                yield DescriptorProto.FromString(content[place : place + length])
            except DecodeError:
                return
        place += length


def _head(content: bytes, place: int) -> tuple[int, int, int]:
    numbers = []
    for _ in range(2):
        number = shift = 0
        while True:
            byte = content[place]
            number, shift, place = number | (byte & 127) << shift, shift + 7, place + 1
            if byte < 128:
                break
        numbers.append(number)
    return numbers[0], numbers[1], place


@pytest.mark.parametrize(
    ("table", "proto"), [(wire.SQL_TABLE, b"FlightSql.proto"), (wire.FLIGHT_TABLE, b"Flight.proto")]
)
def test_the_tables_agree_with_the_driver(table: dict[str, str], proto: bytes) -> None:
    """Every field that is declared here has the number, type, label and presence that the driver gives it."""
    theirs = driver_messages(proto)
    for name in table:
        kind = wire._sql.get(name) or wire._flight[name]
        ours = DescriptorProto()
        kind.DESCRIPTOR.CopyToProto(ours)
        fields = {field.name: field for field in theirs[name].field}
        for field in ours.field:
            assert shape(field) == shape(fields[field.name]), (name, field.name)


def shape(field: FieldDescriptorProto) -> tuple[Any, ...]:
    """What matters of a field; an enumeration is an int32 on the wire."""
    enum = field.type == FieldDescriptorProto.TYPE_ENUM
    kind = FieldDescriptorProto.TYPE_INT32 if enum else field.type
    return field.number, kind, field.label, field.proto3_optional, "" if enum else field.type_name


def test_a_flight_info_of_pyarrow_is_read() -> None:
    """Tickets come out of the bytes that a client sends to cancel."""
    import pyarrow as pa

    endpoints = [fl.FlightEndpoint(fl.Ticket(name), []) for name in (b"one", b"two")]
    info = fl.FlightInfo(pa.schema([("n", pa.int8())]), fl.FlightDescriptor.for_command(b"c"), endpoints)
    found = wire.parse(wire.FlightInfo, info.serialize())
    assert [endpoint.ticket.ticket for endpoint in found.endpoint] == [b"one", b"two"]
    request = wire.CancelFlightInfoRequest(info=found)
    assert wire.parse(wire.CancelFlightInfoRequest, request.SerializeToString()).info == found


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"SELECT 1",
        b"\x0a\x00",
        b"\x0a\x05other\x12\x00",
        wire.pack(wire.CommandStatementQuery(query="q")).replace(b"CommandStatementQuery", b"CommandStatementQuerz"),
        wire.pack(wire.CommandStatementQuery(query="q")).replace(b"type.googleapis.com", b"type.evil-sites.com"),
        wire.pack(wire.CommandStatementQuery(query="\x00")).replace(b"\x0a\x01\x00", b"\x0a\x02\x00"),
        wire.pack(wire.CommandStatementQuery(query="q")).replace(b"\x0a\x01q", b"\x0a\x01\xff"),
    ],
)
def test_what_is_no_message_is_refused(content: bytes) -> None:
    """And the refusal quotes nothing of it."""
    with pytest.raises(wire.MalformedMessageError, match=r"^not a [ \w]+$"):
        wire.unpack(content)


@given(st.binary(max_size=200))
def test_no_bytes_do_anything_else(content: bytes) -> None:
    """A message or a refusal."""
    for kind in (wire.FlightInfo, wire.CommandGetTables, wire.CloseSessionResult):
        try:
            assert wire.parse(kind, content).DESCRIPTOR is kind.DESCRIPTOR
        except wire.MalformedMessageError:
            continue
    with pytest.raises(wire.MalformedMessageError):
        wire.unpack(content)
