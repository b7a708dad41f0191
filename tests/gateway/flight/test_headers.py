"""Headers: what they must mean, and that they show no credential."""

from __future__ import annotations

import base64
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake.errors import UnauthenticatedError, UsageError
from lake.gateway.flight.headers import read_headers


def basic(text: str) -> str:
    """A header of user and password."""
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "header",
    ["Bearer abc.def.ghi", "bearer  abc.def.ghi", basic("u:abc.def.ghi"), basic("u:abc.def.ghi").rstrip("="),
     basic(":abc.def.ghi"), basic("long-user-name:abc.def.ghi").rstrip("=")],
)  # fmt: skip
def test_tokens_are_found(header: str) -> None:
    """As bearer token and as password, padded or not."""
    token = read_headers({"authorization": [header]}, 64).token()
    assert token is not None
    assert token.text == "abc.def.ghi"


@pytest.mark.parametrize(
    "header",
    ["", "Negotiate abc", "abc", "Basic", "Basic !!!", basic("nocolon"), "Basic " + "A" * 5, "Bearer" + "x" * 20_000,
     b"Bearer abc", "Basic " + base64.b64encode(b"u:\xff\xfe").decode()],
)  # fmt: skip
def test_what_is_no_credential_is_refused(header: str | bytes) -> None:
    """As not authenticated."""
    with pytest.raises(UnauthenticatedError):
        read_headers({"authorization": [header]}, 64).token()


def test_two_credentials_are_none() -> None:
    """Which of them counts is nobody's guess."""
    with pytest.raises(UnauthenticatedError):
        read_headers({"authorization": ["Bearer a", "Bearer b"]}, 64)


def test_no_credential_is_shown() -> None:
    """Neither in the headers' text nor in the token's."""
    headers = read_headers({"authorization": ["Bearer secretcanary"]}, 64)
    assert "secretcanary" not in repr(headers) + repr(headers.token())


@pytest.mark.parametrize(("text", "wanted"), [("1", 1), ("7", 7), ("64", 64), ("99999", 64)])
def test_parts_are_bounded(text: str, wanted: int) -> None:
    """More than the limit is the limit."""
    assert read_headers({"x-lake-endpoints": [text]}, 64).endpoints == wanted


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "x", "²", "٣", "100000", " 1"])
def test_what_is_no_number_of_parts_is_refused(text: str) -> None:
    """With a usage error."""
    with pytest.raises(UsageError):
        read_headers({"x-lake-endpoints": [text]}, 64)


def test_a_purpose_is_named_once() -> None:
    """Two are an error, and so is one that is empty."""
    assert read_headers({"x-lake-purpose": ["study"], "x-lake-role": ["all"]}, 64).role == "all"
    for values in (["a", "b"], [""]):
        with pytest.raises(UsageError):
            read_headers({"x-lake-purpose": values}, 64)


@given(st.dictionaries(st.sampled_from(["authorization", "x-lake-purpose", "x-lake-endpoints"]),
                       st.lists(st.text(max_size=30) | st.binary(max_size=30), max_size=3)))  # fmt: skip
def test_nothing_else_comes_out(given: dict[str, list[str | bytes]]) -> None:
    """Headers, or one of two errors."""
    with suppress(UnauthenticatedError, UsageError):
        assert 1 <= read_headers(given, 64).endpoints <= 64
        read_headers(given, 64).token()
