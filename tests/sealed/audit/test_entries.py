"""Entries: canonical, of bounded size, with large fields beside the log under their digest."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake.errors import AuditUnavailableError, IntegrityError
from lake.sealed.audit import entries

NOW = datetime(2026, 9, 15, 12, tzinfo=UTC)


@given(st.sets(st.integers(0, 2**32 - 1), max_size=50))
def test_a_bitmap_holds_its_numbers(numbers: set[int]) -> None:
    """Numbers come back from their bitmap, and equal sets have equal bitmaps."""
    assert entries.members(entries.bitmap(numbers)) == numbers
    assert entries.bitmap(sorted(numbers)) == entries.bitmap(sorted(numbers, reverse=True))


VALUES = st.recursive(
    st.text() | st.integers() | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), VALUES, max_size=4))
def test_canonical_json_depends_on_content_alone(value: dict[str, object]) -> None:
    """The order of names does not count, and the text reads back as it was."""
    backwards = dict(reversed(list(value.items())))
    assert entries.canonical(value) == entries.canonical(backwards)
    assert json.loads(entries.canonical(value)) == value


def test_numbers_without_a_canonical_form_are_refused() -> None:
    """NaN and infinity are no JSON."""
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="JSON"):
            entries.canonical({"a": value})


def test_two_entries_of_one_content_differ() -> None:
    """A salt and an id of its own keep a leaf's hash from confirming a guess."""
    first, second = (entries.new_entry("x", NOW, {"a": 1}) for _ in range(2))
    assert first["salt"] != second["salt"]
    assert first["id"] != second["id"]
    assert (first["type"], first["a"], first["ts"]) == ("x", 1, "2026-09-15T12:00:00.000Z")


def test_a_small_entry_stays_whole(tmp_path: Path) -> None:
    """What fits is moved nowhere."""
    content, moved = entries.Attachments(tmp_path).fit(entries.new_entry("x", NOW, {"scope": {"a": 1}}))
    assert json.loads(content)["scope"] == {"a": 1}
    assert moved == {}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("large", [("scope",), ("scope", "sealed"), ("scope", "sealed", "touched")])
def test_large_fields_lie_beside_the_log(tmp_path: Path, large: tuple[str, ...]) -> None:
    """However large its scope, an entry fits into the log, and every field comes back as it was."""
    attachments = entries.Attachments(tmp_path)
    fields: dict[str, object] = {"scope": {"a": "s"}, "sealed": "t", "touched": {"b": "u"}}
    for name in large:
        fields[name] = "x" * 70_000 if name == "sealed" else {"x": "y" * 70_000}
    content, moved = attachments.fit(entries.new_entry("x", NOW, fields))
    assert len(content) <= entries.MAX_INLINE
    assert set(moved) == set(large)
    entry = json.loads(content)
    assert {name: attachments.resolve(entry[name]) for name in fields} == fields


def test_a_changed_or_missing_attachment_is_damage(tmp_path: Path) -> None:
    """An attachment is taken only as its digest names it."""
    attachments = entries.Attachments(tmp_path)
    content, _ = attachments.fit(entries.new_entry("x", NOW, {"scope": {"x": "y" * 70_000}}))
    reference = json.loads(content)["scope"]
    (path,) = (path for path in tmp_path.rglob("*") if path.is_file())
    path.write_bytes(path.read_bytes()[:-1] + b" ")
    with pytest.raises(IntegrityError, match="changed"):
        attachments.resolve(reference)
    path.unlink()
    with pytest.raises(IntegrityError, match="missing"):
        attachments.resolve(reference)


def test_an_attachment_that_cannot_be_written_stops_the_entry(tmp_path: Path) -> None:
    """Without its attachment an entry is not recorded."""
    (tmp_path / "sealed").write_bytes(b"")
    with pytest.raises(AuditUnavailableError):
        entries.Attachments(tmp_path).fit(entries.new_entry("x", NOW, {"scope": {"x": "y" * 70_000}}))
