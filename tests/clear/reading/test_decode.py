"""Decoding: a file opens only as the file that it is."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lake.clear.reading.decode import fragment
from lake.clear.reading.plan import SealedPlan
from lake.errors import IntegrityError, UnavailableError

Plans = Callable[..., SealedPlan]


def test_a_fragment_has_its_rows(plan: Plans) -> None:
    """The file's rows come back, and its partition's columns are constants."""
    made = plan()
    found = fragment(made.files[0], made.location).to_table()
    assert found["n"].to_pylist() == list(range(100, 110))


@pytest.mark.parametrize("name", ["dek", "aad_prefix"])
def test_another_key_or_identity_opens_nothing(plan: Plans, name: str) -> None:
    """Under another key or another identity, no row comes."""
    made = plan()
    change: dict[str, Any] = {name: os.urandom(32)}
    other = replace(made.files[0], **change)
    with pytest.raises((OSError, pa.ArrowException)):
        fragment(other, made.location).to_table()


@pytest.mark.parametrize("changes", [{"format": "plain"}, {"format_version": 2}])
def test_an_unknown_format_is_refused(plan: Plans, changes: dict[str, Any]) -> None:
    """A format of a newer version is named and not guessed."""
    made = plan()
    with pytest.raises(IntegrityError, match="unknown format"):
        fragment(replace(made.files[0], **changes), made.location)


@pytest.mark.parametrize("content", [b"", b"PARE", b"PAREPARE", b"PAR1" + bytes(50) + b"PAR1", bytes(100)])
def test_what_is_no_encrypted_file_is_refused(plan: Plans, content: bytes) -> None:
    """Whatever lies there, of the right length or not, is refused before it is parsed."""
    made = plan()
    path = Path(made.location.root, made.files[0].object_key)
    path.write_bytes(content)
    for length in (made.files[0].length, len(content)):
        with pytest.raises(IntegrityError, match="not what was written"):
            fragment(replace(made.files[0], length=length), made.location)


def test_a_missing_object_is_damage_and_an_unreadable_one_is_not(plan: Plans) -> None:
    """Gone is damage; a store that does not answer is another matter."""
    made = plan()
    path = Path(made.location.root, made.files[0].object_key)
    path.unlink()
    with pytest.raises(IntegrityError, match="missing"):
        fragment(made.files[0], made.location)
    path.mkdir()
    with pytest.raises(UnavailableError):
        fragment(made.files[0], made.location)
