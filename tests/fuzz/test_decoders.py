"""A short run of the fuzzer over every decoder, and proof that it would find something."""

from __future__ import annotations

import pytest

from tests.fuzz import decoders


@pytest.mark.parametrize("name", decoders.DECODERS)
def test_no_input_breaks_a_decoder(name: str) -> None:
    """The same inputs each time; ``make fuzz`` tries others, and more."""
    tried, reached = decoders.fuzz(name, 30.0, seed=7, most=3000)
    assert tried == 3000
    assert reached > 30


def test_a_decoder_that_breaks_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the input that breaks it."""

    def fragile(content: bytes) -> None:
        content.decode()

    monkeypatch.setitem(decoders.DECODERS, "header", fragile)
    with pytest.raises(AssertionError, match="UnicodeDecodeError for the input"):
        decoders.fuzz("header", 30.0, seed=7, most=500)
