"""The header of a batch: what it says of itself, read strictly. docs/formats.md, "Ingest over HTTP"."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from lake.errors import UsageError
from lake.gateway.collection.devices import DEVICE
from lake.gateway.identity.tokens import read_object
from lake.rules.model import MAX_EMPLOYEE_ID, NAME

BATCH = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
COLLECTOR = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_-]{0,63}")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
NONCE = re.compile(r"[0-9a-f]{32}")
REASON = re.compile(r"[a-z][a-z0-9_.]{0,63}")
MOST_REASONS, MOST_TYPES = 64, 200
LARGEST = 2**53 - 1
"""The largest whole number that every JSON library reads exactly."""
_BASE64URL = re.compile(r"[A-Za-z0-9_-]*")
_HINT = "docs/formats.md, 'A batch', has the keys and their forms"


@dataclass(frozen=True, slots=True)
class BatchHeader:
    """What a batch says of itself; its ``repr`` names nobody.

    Attributes:
        captured: first and last capture time of its rows, naive UTC; None if it does not say.
        seq: first and last number of its events; None if they are not numbered.
        rules, filtered: of the collector's own filter, and what that left out, by reason.
        types: event types in it; None if it does not say.
    """

    batch: str
    device: str = field(repr=False)
    employee: str = field(repr=False)
    dataset: str
    version: int
    contract: str
    lease: str = field(repr=False)
    content: str
    captured: tuple[datetime, datetime] | None
    seq: tuple[int, int] | None
    collector: str
    rules: str
    filtered: Mapping[str, int]
    types: frozenset[str] | None

    @property
    def name(self) -> str:
        """The batch's id in the lake: no device can take another's."""
        return f"{self.device}:{self.batch}"


def decode_header(text: str, most: int) -> BatchHeader:
    """A header as it comes over HTTP: base64url without padding.

    Raises:
        UsageError: it is missing, too long, or not what it should be.
    """
    if not text:
        raise UsageError("the batch has no header", hint="send Lake-Batch: docs/formats.md")
    if len(text) > most:
        raise UsageError(f"the batch header is longer than {most} characters", hint=_HINT)
    try:
        # Only the alphabet of base64url is left to the decoder, which would take that of base64 too.
        plain = text if _BASE64URL.fullmatch(text) else "="
        content = base64.b64decode(plain + "=" * (-len(plain) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise UsageError("the batch header is not base64url without padding", hint=_HINT) from None
    return parse_header(content)


def parse_header(content: bytes) -> BatchHeader:
    """A header as JSON.

    Raises:
        UsageError: it is not what it should be; says which key, and never a value.
    """
    document = read_object(content)
    if document is None:
        raise UsageError("the batch header is not one JSON object with every key once", hint=_HINT)
    words = Words(document, "the batch header")
    found = BatchHeader(
        batch=words.text("batch", BATCH),
        device=words.text("device", DEVICE),
        employee=words.employee("employee"),
        dataset=words.text("dataset", NAME),
        version=words.number("version", 1),
        contract=words.text("contract", DIGEST),
        lease=words.text("lease", re.compile(r"[A-Za-z0-9._-]{1,8192}")),
        content=words.text("content", DIGEST),
        captured=words.moments("captured"),
        seq=words.numbers("seq"),
        collector=words.text("collector", COLLECTOR),
        types=words.names("types") if "types" in document else None,
        **_filter(words),
    )
    words.end()
    return found


def _filter(words: Words) -> dict[str, Any]:
    inner = Words(words.take("filter", dict), "the batch header's filter")
    rules = inner.text("rules", re.compile(rf"{DIGEST.pattern}|"))
    dropped = inner.take("dropped", dict)
    if len(dropped) > MOST_REASONS or not all(REASON.fullmatch(reason) for reason in dropped):
        raise inner.misfit("dropped")
    counts = Words(dropped, "the batch header's filter")
    found = {reason: counts.number(reason, 0, shown="dropped") for reason in list(dropped)}
    inner.end()
    return {"rules": rules, "filtered": found}


class Words:
    """A JSON object of a collector's, taken key by key; what is left at the end is too much."""

    def __init__(self, document: Mapping[str, Any], what: str) -> None:
        self._left = dict(document)
        self._what = what

    def misfit(self, key: str) -> UsageError:
        """The error for one key."""
        return UsageError(f"{self._what}: {key!r} is missing or not of its form", hint=_HINT)

    def take(self, key: str, kind: type) -> Any:
        """A value of a type."""
        value = self._left.pop(key, None)
        if not isinstance(value, kind):
            raise self.misfit(key)
        return value

    def text(self, key: str, form: re.Pattern[str]) -> str:
        """A text of a form."""
        value: str = self.take(key, str)
        if form.fullmatch(value) is None:
            raise self.misfit(key)
        return value

    def employee(self, key: str) -> str:
        """An employee's id."""
        value: str = self.take(key, str)
        if not 0 < len(value) <= MAX_EMPLOYEE_ID or not value.isprintable():
            raise self.misfit(key)
        return value

    def number(self, key: str, least: int, *, shown: str = "") -> int:
        """A whole number."""
        value: int = self._whole(self._left.pop(key, None), shown or key)
        if value < least:
            raise self.misfit(shown or key)
        return value

    def numbers(self, key: str) -> tuple[int, int] | None:
        """Two whole numbers from 0 on in order, or null."""
        pair = self._pair(key)
        if pair is None:
            return None
        first, last = (self._whole(value, key) for value in pair)
        if not 0 <= first <= last:
            raise self.misfit(key)
        return first, last

    def moments(self, key: str) -> tuple[datetime, datetime] | None:
        """Two times with an offset in order as naive UTC, or null."""
        pair = self._pair(key)
        if pair is None:
            return None
        first, last = (self._moment(value, key) for value in pair)
        if first > last:
            raise self.misfit(key)
        return first, last

    def names(self, key: str) -> frozenset[str]:
        """Some names."""
        values = self.take(key, list)
        if not 0 < len(values) <= MOST_TYPES or not all(isinstance(v, str) and NAME.fullmatch(v) for v in values):
            raise self.misfit(key)
        return frozenset(values)

    def end(self) -> None:
        """Nothing more may be there. A key that is not known could be anything, so it is not named."""
        if self._left:
            raise UsageError(f"{self._what} has a key that is not known", hint=_HINT)

    def _pair(self, key: str) -> list[Any] | None:
        if key not in self._left:
            raise self.misfit(key)
        value = self._left.pop(key)
        if value is None:
            return None
        if not isinstance(value, list) or len(value) != 2:
            raise self.misfit(key)
        return value

    def _whole(self, value: Any, key: str) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or abs(value) > LARGEST:
            raise self.misfit(key)
        return value

    def _moment(self, value: Any, key: str) -> datetime:
        try:
            moment = datetime.fromisoformat(value) if isinstance(value, str) else None
            if moment is not None and moment.tzinfo is not None:
                return moment.astimezone(UTC).replace(tzinfo=None)
        except (ValueError, OverflowError):
            pass
        raise self.misfit(key)
