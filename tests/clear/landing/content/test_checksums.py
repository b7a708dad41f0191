"""Check digits, against numbers that their standards and makers publish as examples."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lake.clear.landing.content import checksums as c

HOLD: list[tuple[Callable[[str], bool], str]] = [
    (c.luhn, "4111111111111111"), (c.luhn, "378282246310005"), (c.luhn, "490154203237518"),
    (c.mod97, "GB82WEST12345698765432"), (c.mod97, "DE89370400440532013000"), (c.mod97, "FR1420041010050500013M02606"),
    (c.aba, "021000021"), (c.mod11_10, "36574261809"), (c.mod11_2, "11010519491231002X"), (c.verhoeff, "234123412346"),
    (c.nhs, "9434765919"), (c.cpf, "52998224725"), (c.bsn, "111222333"), (c.pesel, "44051401359"), (c.dni, "12345678Z"),
    (c.dni, "X1234567L"), (c.nir, "255081416802538"), (c.codice_fiscale, "RSSMRA85T10A562S"),
    (c.base58check, "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa"), (c.bech32, "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"),
]  # fmt: skip


@pytest.mark.parametrize(("test", "number"), HOLD)
def test_a_number_holds_and_its_neighbours_do_not(test: Callable[[str], bool], number: str) -> None:
    """Any one digit changed by one breaks it, for these schemes; for a few digits it may not, so most must."""
    assert test(number)
    digits = [index for index, char in enumerate(number) if char.isdigit() and index > 1]
    broken = 0
    for index in digits:
        changed = number[:index] + str((int(number[index]) + 1) % 10) + number[index + 1 :]
        try:
            broken += not test(changed)
        except (KeyError, ValueError):
            broken += 1
    assert broken >= len(digits) - 2


def test_placeholders_are_told() -> None:
    """One digit over and over, or counting."""
    assert c.monotone("0000000")
    assert c.monotone("1234567890")
    assert not c.monotone("4539148803436467")
