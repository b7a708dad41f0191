"""Protobuf messages declared from a table, one line for each: ``name:type=number``, ``?`` optional, ``*`` repeated."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

_FIELD = re.compile(r"(?P<name>[a-z_]+):(?P<type>\w+)(?P<mark>[?*]?)=(?P<number>[0-9]+)")
_SCALARS = {
    "string": FieldDescriptorProto.TYPE_STRING,
    "bytes": FieldDescriptorProto.TYPE_BYTES,
    "bool": FieldDescriptorProto.TYPE_BOOL,
    "int32": FieldDescriptorProto.TYPE_INT32,
    "int64": FieldDescriptorProto.TYPE_INT64,
    "uint32": FieldDescriptorProto.TYPE_UINT32,
    "enum": FieldDescriptorProto.TYPE_INT32,
}
"""An enumeration is the int32 that it is on the wire."""


def declared(package: str, table: Mapping[str, str]) -> dict[str, Any]:
    """Message classes by name, in a pool of their own, so that other declarations in the process do not matter.

    Args:
        table: fields by message; a type that is no scalar is a message of the same table.
    """
    file = FileDescriptorProto(name=f"lake/{package}.proto", package=package, syntax="proto3")
    for name, fields in table.items():
        message = file.message_type.add(name=name)
        for text in fields.split():
            _add(message, package, text)
    pool = DescriptorPool()
    pool.Add(file)
    return {name: GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}")) for name in table}


def _add(message: DescriptorProto, package: str, text: str) -> None:
    found = _FIELD.fullmatch(text)
    if found is None:
        raise ValueError(f"not a field: {text}")
    repeated = found["mark"] == "*"
    field = message.field.add(
        name=found["name"],
        number=int(found["number"]),
        label=FieldDescriptorProto.LABEL_REPEATED if repeated else FieldDescriptorProto.LABEL_OPTIONAL,
        type=_SCALARS.get(found["type"], FieldDescriptorProto.TYPE_MESSAGE),
    )
    if found["type"] not in _SCALARS:
        field.type_name = f".{package}.{found['type']}"
    if found["mark"] == "?":
        # Presence of a scalar is a union with one member in proto3.
        field.proto3_optional = True
        field.oneof_index = len(message.oneof_decl)
        message.oneof_decl.add(name=f"_{found['name']}")
