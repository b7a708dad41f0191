"""Cards, accounts and wallets."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from lake.clear.landing.content import checksums, words
from lake.clear.landing.content.detector import (
    VALUE,
    Bounds,
    Detector,
    Gate,
    compact,
    digits_of,
    holds,
    keyed,
    number,
)

SEPARATORS = r" \t.,\-_/|:*~+=#;'\"()\\"
_GROUP = re.compile(rb"[0-9]+")
_GROUPINGS = frozenset({(4, 6, 5), (4, 6, 4), (4, 4, 5), (6, 13), (4, 4, 4, 4, 3), (5, 4, 5), (4, 4, 4, 1), (6, 4, 6)})
IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BI": 27, "BR": 29,
    "BY": 28, "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DJ": 27, "DK": 18, "DO": 28, "EE": 20, "EG": 29,
    "ES": 24, "FI": 18, "FK": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28,
    "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28,
    "LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MN": 20,
    "MR": 27, "MT": 31, "MU": 30, "NI": 28, "NL": 18, "NO": 15, "OM": 23, "PK": 24, "PL": 28, "PS": 29, "PT": 25,
    "QA": 29, "RO": 24, "RS": 22, "RU": 33, "SA": 24, "SC": 31, "SD": 18, "SE": 24, "SI": 19, "SK": 24, "SM": 27,
    "SO": 23, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20, "YE": 30,
}  # fmt: skip
"""Length by country, of the IBAN registry (SWIFT)."""


def is_card(digits: str) -> bool:
    """Whether a scheme issues such a number: its beginning, its length, its check digit."""
    length, head = len(digits), int(digits[:4])
    if digits[0] == "4":
        known = length in {13, 16, 19}
    elif 5100 <= head < 5600 or 2221 <= head <= 2720:
        known = length == 16
    elif digits[:2] in {"34", "37"}:
        known = length == 15
    elif digits[:2] in {"30", "36", "38", "39"}:
        known = 14 <= length <= 19
    elif digits[:2] == "35":
        known = 16 <= length <= 19
    elif digits[:4] in {"1800", "2131"}:
        known = length == 15
    elif digits[:2] in {"62", "60", "64", "65", "81", "22"}:
        known = 16 <= length <= 19 or (digits[0] == "6" and length >= 12)
    else:
        known = digits[0] in "56"
    return known and checksums.luhn(digits) and not checksums.monotone(digits)


def _regular(sizes: list[int], gaps: list[bytes]) -> bool:
    """Whether digits stand in groups as people write a card, and not as a list of numbers stands."""
    if len(sizes) == 1 or tuple(sizes) in _GROUPINGS:
        return True
    if len(set(gaps)) > 1:
        return sizes[0] >= 4 and all(size == sizes[0] for size in sizes[:-1]) and sizes[-1] <= sizes[0]
    return min(sizes) >= 3 or (all(size == sizes[0] for size in sizes[:-1]) and sizes[-1] <= sizes[0])


def _runs(text: bytes, start: int, end: int) -> list[Bounds]:
    """The groups of digits of a candidate."""
    return [match.span() for match in _GROUP.finditer(text, start, end)]


def cards(text: bytes, start: int, end: int) -> Iterator[Bounds]:
    """Cards within groups of digits, wherever they begin."""
    runs = _runs(text, start, end)
    taken = start
    for index, (first, _) in enumerate(runs):
        if first >= taken:
            last = _card_from(text, runs[index : index + 19])
            if last and not _fraction(text, runs, index, last):
                yield first, last
                taken = last


def _card_from(text: bytes, runs: Sequence[Bounds]) -> int:
    """Where the longest card ends that begins with the first group; 0 if none does."""
    best, digits = 0, ""
    sizes: list[int] = []
    gaps: list[bytes] = []
    for position, (first, last) in enumerate(runs):
        if position:
            gaps.append(text[runs[position - 1][1] : first])
        digits += text[first:last].decode()
        sizes.append(last - first)
        if len(digits) > 19:
            break
        if len(digits) >= 12 and _regular(sizes, gaps) and is_card(digits):
            best = last
    return best


def _fraction(text: bytes, runs: Sequence[Bounds], index: int, last: int) -> bool:
    """Whether it is what stands behind a decimal point: 0.4539148803436467."""
    first, end = runs[index]
    return end == last and index > 0 and runs[index - 1][1] == first - 1 and text[first - 1 : first] == b"."


def _ibans(text: bytes, start: int, end: int) -> Iterator[Bounds]:
    """Cut to the length of its country; with letters small, or a checksum that fails, only where a word says so."""
    raw = text[start:end]
    wanted = IBAN_LENGTHS.get(raw[:2].decode().upper())
    if wanted is None:
        return
    kept = [position for position, char in enumerate(raw, 1) if chr(char).isalnum()]
    if len(kept) < wanted or raw[kept[wanted - 1] : kept[wanted - 1] + 1].isalnum():
        return
    length = kept[wanted - 1]
    value = compact(raw[:length].decode())
    before = text[max(0, start - 60) : start]
    if checksums.mod97(value) or (_IBAN_WORD.search(before) and sum(map(str.isdigit, value)) >= wanted // 3):
        yield start, start + length


def _account(value: str) -> bool:
    digits = digits_of(value)
    return 6 <= len(digits) <= 20 or (len(digits) >= 3 and "*" in value)


def _base58(value: str) -> bool:
    return checksums.base58check(value)


CARD = Detector(
    "CARD",
    Gate.SHAPE,
    rf"\d(?:[{SEPARATORS}]{{0,3}}\d){{11,}}",
    cards,
    ("4539 1488 0343 6467", "pay 3782-822463-10005 now", "5.1.0.5.1.0.5.1.0.5.1.0.5.1.0.0", "6304000000000000"),
)


_IBAN_WORD = Detector("IBAN", Gate.NUMBER, rf"(?i){words.IBAN}").compiled

DETECTORS = (
    CARD,
    keyed(
        "CARD",
        words.CARD,
        number(12, 19),
        "credit card: 1234 5678 9012 3456",
        "Kreditkarte 4539 1488 0343 6468",
        value=r"\d(?:[ \-.]{0,2}\d){11,18}\b",
        gap=30,
    ),
    keyed("CARD_CODE", words.CARD_CODE, number(3, 4), "CVV: 123", value=r"\d{3,4}\b", gap=12),
    Detector(
        "IBAN",
        Gate.SHAPE,
        r"(?i)\b[A-Z]{2}\d{2}(?:[ \-.]?[A-Z0-9]){11,31}",
        _ibans,
        ("GB82 WEST 1234 5698 7654 32 and then", "DE89370400440532013000", "IBAN DE89370400440532013001"),
    ),
    keyed(
        "IBAN",
        r"\biban\b",
        number(6, 34),
        "IBAN 'XX60 ABCD0000000012A'",
        value=r"\b[A-Z]{2}[ \-]?[A-Z0-9]{2,4}(?:[ \-]?[A-Z0-9]{2,20}){1,8}\b",
        gap=12,
    ),
    keyed(
        "BANK_ACCOUNT",
        words.ACCOUNT,
        holds(_account),
        "account number 123456789",
        "routing number: 021000021",
        "Konto 0532013000",
        value=rf"(?:\*{{0,12}}\d(?:[ \-]?[\d*]){{2,22}}\b|{VALUE})",
        gap=30,
    ),
    Detector(
        "WALLET",
        Gate.SHAPE,
        r"\b[13LMD][1-9A-HJ-NP-Za-km-z]{25,34}\b",
        holds(_base58),
        ("to 1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa",),
    ),
    Detector(
        "WALLET",
        Gate.SHAPE,
        r"\b(?:bc1|BC1|tb1|ltc1)[02-9ac-hj-np-zAC-HJ-NP-Z]{11,71}\b",
        holds(checksums.bech32),
        ("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",),
    ),
    Detector("WALLET", Gate.SHAPE, r"\b0x[0-9a-fA-F]{40}\b", None, ("0x52908400098527886E0F7030069857D2E4169EE7",)),
    Detector("WALLET", Gate.SHAPE, r"\b4[0-9AB][1-9A-HJ-NP-Za-km-z]{93}\b"),
)
