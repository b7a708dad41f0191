"""The layout of C2SP tlog-tiles."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake.errors import IntegrityError
from lake.sealed.audit.tiles import decode_bundle, encode_bundle, parse_tile_path, partial_tiles, tile_path


def test_layout_of_70000_entries() -> None:
    """The specification's example: partial tiles 112, 17 and 1 wide behind 273, 1 and 0 full ones."""
    assert list(partial_tiles(70_000)) == [(0, 273, 112), (1, 1, 17), (2, 0, 1)]
    assert list(partial_tiles(256)) == [(1, 0, 1)]
    assert list(partial_tiles(0)) == []


def test_paths() -> None:
    """Tile indices are path elements of three digits, all but the last behind an x."""
    assert tile_path(0, 1_234_067) == "tile/0/x001/x234/067"
    assert tile_path(None, 0, 5) == "tile/entries/000.p/5"
    assert tile_path(2, 1000, 255) == "tile/2/x001/000.p/255"


@given(st.none() | st.integers(0, 63), st.integers(0, 2**60), st.integers(1, 256))
def test_paths_parse_back(level: int | None, index: int, width: int) -> None:
    """Every path parses to what it was made of."""
    assert parse_tile_path(tile_path(level, index, width)) == (level, index, width)


@pytest.mark.parametrize(
    "path",
    [
        "tile/00/000",
        "tile/0/x000/000",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/07",
        "tile/0/1",
        "tile/a/000",
    ],
)
def test_other_paths_are_refused(path: str) -> None:
    """A path in any other form is no tile."""
    assert parse_tile_path(path) is None


@pytest.mark.parametrize(
    "change", [lambda data: data[:-1], lambda data: data + b"\x00", lambda data: data + b"\x00\x01a"]
)
def test_a_bundle_is_256_whole_entries(change: object) -> None:
    """A cut or lengthened bundle is refused, and a whole one gives its entries."""
    entries = [b"e%d" % number for number in range(256)]
    data = encode_bundle(entries)
    assert decode_bundle(data, "bundle") == entries
    assert callable(change)
    with pytest.raises(IntegrityError, match="bundle"):
        decode_bundle(change(data), "bundle")
