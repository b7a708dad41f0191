"""Addresses of gateways: no token in the clear over a network, none in an address, and nothing of one shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from lake.client.place import Place, is_url
from lake.errors import UsageError


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("grpc+tls://lake.example", "grpc+tls://lake.example:8815"),
        ("grpc+tls://lake.example:9000/", "grpc+tls://lake.example:9000"),
        ("grpc+tls://[2001:db8::1]:9000", "grpc+tls://[2001:db8::1]:9000"),
        ("grpc://127.0.0.1:7", "grpc://127.0.0.1:7"),
        ("grpc://127.9.9.9:7", "grpc://127.9.9.9:7"),
        ("grpc://localhost:7", "grpc://localhost:7"),
        ("grpc://[::1]:7", "grpc://[::1]:7"),
    ],
)
def test_an_address(url: str, location: str) -> None:
    """With TLS to anywhere; without it on this machine."""
    assert is_url(url)
    assert Place(url).location() == location


@pytest.mark.parametrize(
    "url",
    [
        "grpc+tls://",
        "grpc+tls://:8815",
        "grpc+tls://canary:secret@lake.example",
        "grpc+tls://lake.example/?token=canary",
        "grpc+tls://lake.example/path-canary",
        "grpc+tls://lake.example#canary",
        "grpc+tls://lake.example:canary",
        "grpc+tls://lake.example:99999",
        "https://canary.example",
        "grpc+unix:///canary",
        "grpc+tls://[canary",
    ],
)
def test_what_is_no_address_is_not_shown(url: str) -> None:
    """Somebody may have put a token in it."""
    with pytest.raises(UsageError) as caught:
        Place(url)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("host", ["lake.example", "10.0.0.1", "[2001:db8::1]", "localhost.example", "192.0.2.1"])
def test_no_token_travels_in_the_clear(host: str) -> None:
    """Only loopback goes without TLS."""
    with pytest.raises(UsageError, match="without TLS"):
        Place(f"grpc://{host}:8815")


def test_a_folder_is_no_address(tmp_path: Path) -> None:
    """Paths stay what they are."""
    assert not is_url(tmp_path)
    assert not is_url("./mylake")


@pytest.mark.parametrize(
    "options",
    [{"cert": Path("c")}, {"key": Path("k")}, {"patience": 0}, {"purpose": ""}, {"role": "two\nlines"}],
)
def test_options_that_cannot_be(options: dict[str, object]) -> None:
    """Half a certificate, no time at all, names that are none."""
    with pytest.raises(UsageError):
        Place("grpc+tls://lake.example", **options)  # type: ignore[arg-type]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """Said by name, when the connection is made."""
    with pytest.raises(UsageError, match=r"ca\.pem cannot be read"):
        Place("grpc+tls://lake.example", ca=tmp_path / "ca.pem").tls()
