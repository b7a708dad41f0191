"""The fields of requests and answers: names and keys as lists in a fixed order, read back with every type checked."""

from __future__ import annotations

import re
from datetime import datetime

from keys.envelope import KEY_BYTES
from keys.errors import BrokerMessageError
from keys.names import SENSITIVITIES
from keys.receipts import Receipt
from keys.refs import DekRequest, FileBinding, KeyEvent, PartitionRef, SubjectRef, WrappedDek
from keys.remote.wire import MIB, Value
from keys.rows import KekName

_MONTH = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])")
_MOST = 2**63 - 1
_NAME = 256
_LONG = 32 * MIB


def text(value: Value, most: int = _NAME) -> str:
    """A text of at most ``most`` characters."""
    if not isinstance(value, str) or len(value) > most:
        raise _wrong()
    return value


def number(value: Value, least: int = 0, most: int = _MOST) -> int:
    """A whole number within bounds."""
    if type(value) is not int or not least <= value <= most:
        raise _wrong()
    return value


def blob(value: Value, most: int = _NAME) -> bytes:
    """Bytes, at most that many."""
    if not isinstance(value, bytes) or len(value) > most:
        raise _wrong()
    return value


def items(value: Value, length: int | None = None) -> list[Value]:
    """A list, of that length if it is given."""
    if not isinstance(value, list) or (length is not None and len(value) != length):
        raise _wrong()
    return value


def fields(value: Value, *names: str) -> dict[str, Value]:
    """A mapping with exactly these keys."""
    if not isinstance(value, dict) or set(value) != set(names):
        raise _wrong()
    return value


def key(value: Value, *, held: bool = False) -> bytes:
    """A DEK: 32 bytes, or none of a file whose rows are held."""
    if len(blob(value)) != (0 if held else KEY_BYTES):
        raise _wrong()
    return blob(value)


def kek_name_of(value: Value) -> KekName:
    """Subject, sensitivity, month."""
    subject, level, month = items(value, 3)
    return text(subject), number(level, SENSITIVITIES[0], SENSITIVITIES[-1]), _month(month)


def binding_fields(binding: FileBinding) -> list[Value]:
    """A binding as it travels."""
    partition = binding.partition
    return [
        partition.dataset,
        partition.subject,
        partition.sensitivity,
        partition.month,
        binding.file_id,
        binding.object_key,
        binding.format,
        binding.format_version,
        binding.schema_version,
        binding.length,
        binding.sha256,
        binding.rows,
        binding.first_ts.isoformat(),
        binding.last_ts.isoformat(),
    ]


def binding_of(value: Value) -> FileBinding:
    """A binding that has arrived."""
    dataset, subject, level, month, file_id, object_key, *rest = items(value, 14)
    form, form_version, schema_version, length, sha256, rows, first, last = rest
    return FileBinding(
        partition=PartitionRef(text(dataset), *kek_name_of([subject, level, month])),
        file_id=text(file_id),
        object_key=text(object_key, 1024),
        format=text(form),
        format_version=number(form_version),
        schema_version=number(schema_version),
        length=number(length),
        sha256=blob(sha256),
        rows=number(rows),
        first_ts=_moment(first),
        last_ts=_moment(last),
    )


def wrapped_fields(wrapped: WrappedDek) -> list[Value]:
    """A wrap as it travels."""
    return [wrapped.kek_id, wrapped.kek_version, wrapped.blob]


def wrapped_of(value: Value) -> WrappedDek:
    """A wrap that has arrived."""
    kek_id, version, content = items(value, 3)
    return WrappedDek(text(kek_id), number(version), blob(content, 1024))


def request_fields(request: DekRequest) -> list[Value]:
    """A request for a DEK as it travels."""
    return [binding_fields(request.binding), wrapped_fields(request.wrapped), request.held]


def request_of(value: Value) -> DekRequest:
    """A request for a DEK that has arrived."""
    binding, wrapped, held = items(value, 3)
    return DekRequest(binding_of(binding), wrapped_of(wrapped), _flag(held))


def receipt_fields(receipt: Receipt) -> list[Value]:
    """A receipt as it travels."""
    return [receipt.proof, receipt.entry, receipt.scope, list(receipt.consistency)]


def receipt_of(value: Value) -> Receipt:
    """A receipt that has arrived; whether it holds is not decided here."""
    proof, entry, scope, consistency = items(value, 4)
    return Receipt(
        proof=text(proof, MIB),
        entry=blob(entry, MIB),
        scope=None if scope is None else blob(scope, _LONG),
        consistency=tuple(blob(each) for each in items(consistency)),
    )


def subject_fields(ref: SubjectRef) -> list[Value]:
    """An employee's keys as they travel."""
    return [ref.subject, ref.number, ref.bucket, ref.disabled]


def subject_of(value: Value) -> SubjectRef:
    """An employee's keys, arrived."""
    subject, dense, bucket, disabled = items(value, 4)
    return SubjectRef(text(subject), number(dense), number(bucket), disabled=_flag(disabled))


def event_fields(event: KeyEvent) -> list[Value]:
    """An event as it travels."""
    return [event.action, event.kind, event.key_id, event.version]


def event_of(value: Value) -> KeyEvent:
    """An event that has arrived."""
    action, kind, key_id, version = items(value, 4)
    return KeyEvent(text(action), text(kind), text(key_id), number(version))


def _flag(value: Value) -> bool:
    if not isinstance(value, bool):
        raise _wrong()
    return value


def _month(value: Value) -> str:
    if _MONTH.fullmatch(text(value)) is None:
        raise _wrong()
    return text(value)


def _moment(value: Value) -> datetime:
    try:
        moment = datetime.fromisoformat(text(value))
    except ValueError:
        raise _wrong() from None
    if moment.tzinfo is not None or moment.isoformat() != value:
        raise _wrong()
    return moment


def _wrong() -> BrokerMessageError:
    return BrokerMessageError("a field of a broker's message is wrong", hint="do both sides have the same version?")
