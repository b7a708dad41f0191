"""Check digits of cards, accounts and identity numbers, over digits as text. Each says whether the number holds."""

from __future__ import annotations

import hashlib
from itertools import pairwise

_LUHN = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)
_BASE58 = {char: value for value, char in enumerate("123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz")}
_BECH32 = {char: value for value, char in enumerate("qpzry9x8gf2tvdw0s3jn54khce6mua7l")}
_BECH32_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_VERHOEFF_D = (
    "0123456789", "1234067895", "2340178956", "3401289567", "4012395678",
    "5987604321", "6598710432", "7659821043", "8765932104", "9876543210",
)  # fmt: skip
_VERHOEFF_P = (
    "0123456789", "1576283094", "5803796142", "8916043527", "9453126870", "4286573901", "2793806415", "7046913258",
)  # fmt: skip


def luhn(digits: str) -> bool:
    """Cards (ISO/IEC 7812), IMEI, Canadian SIN, Swedish personnummer."""
    total = 0
    for position, char in enumerate(reversed(digits)):
        value = ord(char) - 48
        total += _LUHN[value] if position % 2 else value
    return total % 10 == 0


def mod97(text: str) -> bool:
    """IBAN (ISO 13616), its four first characters moved to the end and letters as numbers."""
    number = "".join(str(int(char, 36)) for char in text[4:] + text[:4])
    return int(number) % 97 == 1


def aba(digits: str) -> bool:
    """US routing numbers: weights 3, 7, 1, and a district that exists."""
    weighted = sum(int(digit) * weight for digit, weight in zip(digits, (3, 7, 1) * 3, strict=True))
    return weighted % 10 == 0 and (int(digits[:2]) <= 12 or 21 <= int(digits[:2]) <= 32 or 61 <= int(digits[:2]) <= 72)


def mod11_10(digits: str) -> bool:
    """German Steuer-ID (ISO 7064 MOD 11,10)."""
    product = 10
    for digit in digits[:-1]:
        product = ((int(digit) + product) % 10 or 10) * 2 % 11
    return (11 - product) % 10 == int(digits[-1])


def mod11_2(text: str) -> bool:
    """Chinese resident identity numbers (ISO 7064 MOD 11-2); the last may be X."""
    total = 0
    for char in text[:-1]:
        total = (total + int(char)) * 2 % 11
    return (12 - total) % 11 == (10 if text[-1] in "Xx" else int(text[-1]))


def verhoeff(digits: str) -> bool:
    """Indian Aadhaar numbers."""
    check = 0
    for position, digit in enumerate(reversed(digits)):
        check = int(_VERHOEFF_D[check][int(_VERHOEFF_P[position % 8][int(digit)])])
    return check == 0


def nhs(digits: str) -> bool:
    """Ten digits of the British NHS, modulo 11."""
    total = sum(int(digit) * weight for digit, weight in zip(digits, range(10, 1, -1), strict=False))
    check = (11 - total % 11) % 11
    return check != 10 and check == int(digits[9])


def cpf(digits: str) -> bool:
    """Brazilian CPF: two check digits modulo 11."""
    if len(set(digits)) == 1:
        return False
    for length in (9, 10):
        total = sum(int(digit) * (length + 1 - index) for index, digit in enumerate(digits[:length]))
        if total * 10 % 11 % 10 != int(digits[length]):
            return False
    return True


def bsn(digits: str) -> bool:
    """Nine digits of the Dutch burgerservicenummer, the eleven test."""
    total = sum(int(digit) * weight for digit, weight in zip(digits, (9, 8, 7, 6, 5, 4, 3, 2, -1), strict=True))
    return total % 11 == 0 and digits != "000000000"


def pesel(digits: str) -> bool:
    """Eleven digits of the Polish PESEL."""
    total = sum(int(digit) * weight for digit, weight in zip(digits, (1, 3, 7, 9) * 2 + (1, 3, 1), strict=True))
    return total % 10 == 0


def dni(text: str) -> bool:
    """Spanish DNI and NIE: the letter is the number modulo 23."""
    number = text[:-1].translate({ord("X"): "0", ord("Y"): "1", ord("Z"): "2"})
    return number.isdigit() and "TRWAGMYFPDXBNJZSQVHLCKE"[int(number) % 23] == text[-1]


def nir(text: str) -> bool:
    """French social security numbers: 13 characters, and 97 less their remainder."""
    body = text[:13].replace("2A", "19").replace("2B", "18")
    return body.isdigit() and 97 - int(body) % 97 == int(text[13:])


def codice_fiscale(text: str) -> bool:
    """Italian tax codes: the last of sixteen characters is of the others."""
    odd = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)
    values = [ord(char) - (48 if char.isdigit() else 65) for char in text[:15]]
    total = sum(value if index % 2 else odd[value] for index, value in enumerate(values))
    return chr(65 + total % 26) == text[15]


def base58check(text: str) -> bool:
    """Addresses of Bitcoin and its kin: the last four of 25 bytes are of the others."""
    number = 0
    for char in text:
        number = number * 58 + _BASE58[char]
    if number.bit_length() > 200:
        return False
    raw = number.to_bytes(25, "big")
    return hashlib.sha256(hashlib.sha256(raw[:21]).digest()).digest()[:4] == raw[21:]


def bech32(text: str) -> bool:
    """Segregated-witness addresses (BIP 173 and 350)."""
    human, _, data = text.lower().rpartition("1")
    values = [ord(char) >> 5 for char in human] + [0] + [ord(char) & 31 for char in human]
    values += [_BECH32[char] for char in data]
    check = 1
    for value in values:
        top, check = check >> 25, (check & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate(_BECH32_GENERATOR):
            check ^= generator if top >> bit & 1 else 0
    return check in {1, 0x2BC830A3}


def monotone(digits: str) -> bool:
    """Whether it is one digit over and over, or counts up or down: a placeholder."""
    steps = ((int(after) - int(before)) % 10 for before, after in pairwise(digits))
    first = next(steps, 0)
    return first in {0, 1, 9} and all(step == first for step in steps)
