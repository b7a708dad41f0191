"""Numbers by which states, insurers and employers know a person."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

from lake.clear.landing.content import checksums, words
from lake.clear.landing.content.detector import VALUE, Check, Detector, Gate, compact, digits_of, holds, keyed, number


def is_ssn(value: str) -> bool:
    """US social security numbers that can have been issued: no area 000, 666 or 900 and above, no zero group."""
    digits = digits_of(value)
    return digits[:3] not in {"000", "666"} and digits[0] != "9" and digits[3:5] != "00" and digits[5:] != "0000"


def is_itin(value: str) -> bool:
    """US taxpayer numbers: area 9xx, and the groups that the IRS gives out."""
    group = int(digits_of(value)[3:5])
    return 50 <= group <= 65 or 70 <= group <= 88 or 90 <= group <= 92 or 94 <= group <= 99


def _nino(value: str) -> bool:
    return compact(value)[:2] not in {"BG", "GB", "KN", "NK", "NT", "TN", "ZZ"}


def _is_date(digits: str) -> bool:
    """Whether eight digits are a day of the last and this century."""
    try:
        return 1900 <= date(int(digits[:4]), int(digits[4:6]), int(digits[6:8])).year <= 2100
    except ValueError:
        return False


def _personnummer(value: str) -> bool:
    digits = digits_of(value)
    short = digits[-10:]
    month, day = int(short[2:4]), int(short[4:6])
    return 1 <= month <= 12 and 1 <= (day if day < 61 else day - 60) <= 31 and checksums.luhn(short)


def _checked(length: int, test: Callable[[str], bool]) -> Check:
    """Digits of one length whose check digit holds."""

    def sound(value: str) -> bool:
        digits = digits_of(value)
        return len(digits) == length and test(digits)

    return holds(sound)


def _whole(test: Callable[[str], bool]) -> Check:
    return holds(lambda value: test(compact(value)))


DETECTORS = (
    Detector(
        "SSN",
        Gate.SHAPE,
        r"(?:^|[^\d\-./])(\d{3}-\d{2}-\d{4})(?:$|[^\d\-/]|[\-/][^\d])",
        holds(is_ssn),
        ("078-05-1120",),
    ),
    keyed(
        "SSN",
        words.SSN,
        number(9, 9),
        "SSN 078051120",
        "social security number is 078 05 1120",
        value=r"\d{3}[ .\-]{0,3}\d{2}[ .\-]{0,3}\d{4}\b",
    ),
    keyed(
        "SSN", words.SSN, number(4, 4), "last four of her SSN: 1120", value=r"(?:[*xX]{3}-?[*xX]{2}-?)?\d{4}\b", gap=20
    ),
    Detector("TAX_ID", Gate.SHAPE, r"\b9\d{2}-\d{2}-\d{4}\b", holds(is_itin), ("912-70-1234",)),
    keyed("TAX_ID", words.TAX, number(6), "EIN: 12-3456789", "Steuer-ID 36 574 261 809", "tax ID number is T12345678"),
    Detector("TAX_ID", Gate.SHAPE, r"\b[A-Z]{3}[ABCFGHJLPT][A-Z]\d{4}[A-Z]\b", None, ("ABCPE1234F",)),
    Detector(
        "TAX_ID",
        Gate.SHAPE,
        r"\b[A-Z]{6}\d{2}[A-EHLMPRST]\d{2}[A-Z]\d{3}[A-Z]\b",
        holds(checksums.codice_fiscale),
        ("RSSMRA85T10A562S",),
    ),
    Detector("TAX_ID", Gate.SHAPE, r"\b\d{3}\.\d{3}\.\d{3}-\d{2}\b", _checked(11, checksums.cpf), ("529.982.247-25",)),
    keyed("PASSPORT", words.PASSPORT, number(5, 12), "passport no. X1234567", "Reisepass C01X00T47"),
    keyed(
        "DRIVER_LICENSE",
        words.DRIVER_LICENSE,
        number(4, 18),
        "driver's license D1234567",
        "Führerschein B072RRE2I55",
        value=rf"(?:\b[A-Z]{{0,5}}[-*]?\d[A-Z0-9*]*(?:[-./ ]?[A-Z0-9*]*\d[A-Z0-9*]*){{0,6}}\b|{VALUE})",
    ),
    Detector(
        "NATIONAL_ID",
        Gate.SHAPE,
        r"\b[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D]\b",
        holds(_nino),
        ("AB 12 34 56 C", "AB123456C"),
    ),
    Detector(
        "NATIONAL_ID",
        Gate.SHAPE,
        r"\b[2-9]\d{3}[ -]\d{4}[ -]\d{4}\b",
        _checked(12, checksums.verhoeff),
        ("2341 2341 2346",),
    ),
    Detector("NATIONAL_ID", Gate.SHAPE, r"\b(?:\d{8}|[XYZ]\d{7})-?[A-Z]\b", _whole(checksums.dni), ("12345678Z",)),
    Detector(
        "NATIONAL_ID",
        Gate.SHAPE,
        r"\b[12] ?\d{2} ?(?:0[1-9]|1[0-2]|[2-9]\d) ?(?:\d{2}|2[AB]) ?\d{3} ?\d{3} ?\d{2}\b",
        _whole(checksums.nir),
        ("2 55 08 14 168 025 38",),
    ),
    Detector("NATIONAL_ID", Gate.SHAPE, r"\b(?:\d{2})?\d{6}[-+]\d{4}\b", holds(_personnummer), ("811228-9874",)),
    Detector(
        "NATIONAL_ID",
        Gate.SHAPE,
        r"\b\d{17}[\dXx]\b",
        holds(lambda value: _is_date(value[6:14]) and checksums.mod11_2(value)),
        ("11010519491231002X",),
    ),
    Detector(
        "NATIONAL_ID",
        Gate.SHAPE,
        r"\b\d{6}-[1-8]\d{6}\b",
        holds(lambda value: 1 <= int(value[2:4]) <= 12 and 1 <= int(value[4:6]) <= 31),
        ("900101-1234567",),
    ),
    keyed(
        "NATIONAL_ID",
        words.NATIONAL_ID,
        number(6),
        "Aadhaar 1234 5678 9012",
        "voter ID is ABC1234567",
        "PESEL 44051401359",
    ),
    keyed("MEDICAL_ID", words.MEDICAL, number(4), "MRN: 00123456", "patient ID P-48213", "NHS number 943 476 5919"),
    keyed(
        "DIAGNOSIS",
        words.DIAGNOSIS,
        number(2),
        "diagnosis: E11.9",
        value=r"\b[A-TV-Z]\d[0-9AB](?:\.[0-9A-Z]{1,4})?\b",
        gap=40,
    ),
    keyed("PERSONAL_ID", words.PERSONAL_ID, number(3), "employee ID: 48213", "customer number C-10023"),
)
