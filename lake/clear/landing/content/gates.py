"""What a text has to have before detectors look at it.

Wide: no detector behind a gate finds anything in a text that does not pass it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lake.clear.landing.content import contact, topics, words
from lake.clear.landing.content.detector import Gate
from lake.clear.landing.content.expression import Batch, Expression, Frequent

_SHAPE = Expression(
    r"@|[\[({] ?(?i:at) ?[\])}]|[0-9](?:[^0-9\n]{0,3}[0-9]){5}|[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]"
    r"|[0-9A-Fa-f]{0,4}:[0-9A-Fa-f]{0,4}:[0-9A-Fa-f]{0,4}:|[0-9A-Fa-f]{2}-[0-9A-Fa-f]{2}-[0-9A-Fa-f]{2}-"
    r"|[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}\.|[1-9A-HJ-NP-Za-km-z]{25}|(?i:bc1|tb1|ltc1)|0x[0-9A-Fa-f]{40}"
    r"|[A-Z]{2}[0-9]{2}|(?i:[a-z]{2}[0-9]{2}[ \-.]?[a-z0-9])"
)
_DIGIT = Frequent("[0-9]")
_NUMBER = Expression(
    "(?i)(?:" + "|".join((
        words.CARD, words.CARD_CODE, words.SSN, words.PASSPORT, words.DRIVER_LICENSE, words.TAX, words.NATIONAL_ID,
    )) + ")"
)  # fmt: skip
_NUMBER_TOO = Expression(
    "(?i)(?:" + "|".join((
        words.MEDICAL, words.DIAGNOSIS, words.ACCOUNT, words.PHONE, words.BIRTH, words.PERSONAL_ID, words.PIN,
        words.POSTCODE, words.HOME, contact.DEVICE,
    )) + ")"
)  # fmt: skip
_WORD = Expression(rf"(?i)(?:{contact.HINT}|{topics.HINT})")
_SECRET = Expression(
    rf"(?i)(?:{words.PASSWORD}|{words.USERNAME}|--?(?:pass|pwd|token|secret|api)|://[^\s/]*@|@[^\s]*[:|;/]"
    r"|@[^\s]{3,200} [:|/] |api[ _\-]?key|secret|token|bearer|access[ _\-]?key|auth[a-z]{0,10}[ _\-]?key|session"
    r"|licen[cs]e[ _\-]?key|encryption[ _\-]?key|recovery|backup|seed|mnemonic|private key)"
)
_ALONE = Expression(r"^\s*[^\s\x00]{8,64}\s*$")


def _number(batch: Batch) -> list[int]:
    rows = _DIGIT.rows(batch)
    if not rows:
        return rows
    some = batch.take(rows)
    passed = sorted({*_NUMBER.rows(some), *_NUMBER_TOO.rows(some)})
    return [rows[index] for index in passed]


GATES: Mapping[Gate, Callable[[Batch], list[int]]] = {
    Gate.SHAPE: _SHAPE.rows,
    Gate.NUMBER: _number,
    Gate.WORD: _WORD.rows,
    Gate.SECRET: _SECRET.rows,
    Gate.ALONE: _ALONE.rows,
}
