"""Column masks: a closed list, each for the types that it fits."""

from __future__ import annotations

import pytest

from lake.errors import DocumentError
from lake.rules.contract import FieldType
from lake.rules.document import read_document
from lake.rules.masks import Mask, MaskKind, describe, parse_mask

NUMBERS = {FieldType.INT32, FieldType.INT64, FieldType.FLOAT64}


def read(text, kind):
    """The mask of a document ``mask: <text>``."""
    return parse_mask(dict(read_document(f"mask: {text}\n", "f").items())["mask"], kind)


@pytest.mark.parametrize(
    ("text", "mask", "fits", "words"),
    [
        ("null", Mask(MaskKind.NULL), set(FieldType), "always NULL"),
        ("pseudonym", Mask(MaskKind.PSEUDONYM), {FieldType.STRING}, "pseudonym"),
        ("{constant: hidden}", Mask(MaskKind.CONSTANT, text="hidden"), {FieldType.STRING}, "always 'hidden'"),
        ("hash", Mask(MaskKind.HASH), {FieldType.STRING}, "a keyed hash"),
        ("{keep_last: 4}", Mask(MaskKind.KEEP_LAST, number=4), {FieldType.STRING}, "the last 4 characters"),
        ("{bucket: [-5, 10, 100]}", Mask(MaskKind.BUCKET, edges=(-5, 10, 100)), NUMBERS, "edge of its bucket: -5"),
        ("{truncate: 8}", Mask(MaskKind.TRUNCATE, number=8), {FieldType.STRING}, "the first 8 characters"),
        ("{truncate_time: day}", Mask(MaskKind.TRUNCATE_TIME, text="day"), {FieldType.TIMESTAMP}, "down to the day"),
        ("{round: 10}", Mask(MaskKind.ROUND, number=10), NUMBERS, "a multiple of 10"),
    ],
)
@pytest.mark.parametrize("kind", list(FieldType))
def test_a_mask_fits_its_types_only(text, mask, fits, words, kind):
    """Each mask is read for its own types, refused for all others, and described in words."""
    if kind in fits:
        assert read(text, kind) == mask
        assert words in describe(mask)
    else:
        with pytest.raises(DocumentError, match="does not fit"):
            read(text, kind)


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("sha256", 7),
        ("{hash: 1}", 14),
        ("{keep_last: 0}", 19),
        ("{bucket: 5}", 16),
        ("{bucket: []}", 16),
        ("{bucket: [1, x]}", 20),
        ("{bucket: [1, 1]}", 20),
        ("{bucket: [10, 1]}", 21),
        ("{bucket: [.nan]}", 17),
        ("{bucket: [1.0e+999]}", 17),
        ("NULL", 7),
        ("~", 7),
        ("[null]", 7),
        ("{}", 7),
        ("{truncate: 1, constant: x}", 7),
        ("{null: 1}", 14),
        ("{pseudonym: 1}", 19),
        ("{other: 1}", 15),
        ("{truncate: 0}", 18),
        ("{truncate: 10001}", 18),
        ("{truncate: x}", 18),
        ("{constant: ''}", 18),
        ("{constant: 7}", 18),
        ("{truncate_time: week}", 23),
        ("{round: 1}", 15),
        ("{round: -5}", 15),
    ],
)
def test_unknown_masks_are_refused_where_they_stand(text, column):
    """A mask that is not on the list, or whose argument is out of range, names its place."""
    for kind in FieldType:
        with pytest.raises(DocumentError) as caught:
            read(text, kind)
        assert (caught.value.line, caught.value.column) == (1, column)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("{bucket: [2147483648]}", FieldType.INT32),
        ("{bucket: [1.5]}", FieldType.INT64),
        ("{bucket: [9223372036854775808]}", FieldType.INT64),
    ],
)
def test_edges_lie_within_the_type(text, kind):
    """An edge that no value of the column can have is refused."""
    with pytest.raises(DocumentError):
        read(text, kind)
    assert read("{bucket: [0.5, 1.5]}", FieldType.FLOAT64).edges == (0.5, 1.5)
