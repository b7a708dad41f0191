"""Images of slices, and what is kept of them between queries. It holds no key."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa

from lake.clear.reading.decode import opened
from lake.clear.reading.image import footer
from lake.clear.reading.image.build import Image, Wanted, build
from lake.clear.reading.image.footer import Footer
from lake.clear.reading.kept import Kept
from lake.clear.reading.plan import Era, FileToRead, SealedPlan, SliceKey

FOOTER_BYTES = 64 * 1024 * 1024
"""Of all footers that are kept."""
FOOTER_SECONDS = 60.0
_FOOTER_COST = 4
"""What a footer takes in memory, times its own length, once it is read."""


@dataclass(frozen=True, slots=True)
class Need:
    """What one query can need of one slice.

    Attributes:
        key: what the slice's rows depend on.
        columns: visible ones; no other is named in the query.
        first, last: capture times, inclusive, naive UTC; no row outside is needed.
    """

    images: Images
    key: SliceKey
    columns: frozenset[str]
    first: datetime | None
    last: datetime | None

    def chosen(self, schema: pa.Schema) -> list[pa.Field]:
        """Columns of a slice that an image for it has; a query that names none counts rows, and a column has them."""
        return [field for field in schema if field.name in self.columns] or [schema.field(0)]

    def kept(self, schema: pa.Schema) -> Image | None:
        """An image that is there already, with all of these columns."""
        return self.images.kept(self, [field.name for field in self.chosen(schema)])


class Images:
    """Makes images. Safe for many threads.

    Args:
        most_bytes: of encrypted column chunks in one image; what needs more is decoded part by part instead.
        kept_bytes: of images kept between queries, for ``kept_seconds``; 0 keeps none.
        least_rows: of a file, on average, for which an image is worth it.
    """

    def __init__(self, most_bytes: int, kept_bytes: int, kept_seconds: float, *, least_rows: int = 0) -> None:
        self._most = most_bytes
        self._least_rows = least_rows
        self._footers: Kept[bytes, Footer] = Kept(FOOTER_BYTES, FOOTER_SECONDS)
        self._images: Kept[tuple[SliceKey, datetime | None, datetime | None], Image] = Kept(
            kept_bytes, kept_seconds, most_of_one=kept_bytes // 4
        )

    def keep_only(self, era: Era) -> None:
        """Drop what is of another era."""
        self._footers.keep_only(era)
        self._images.keep_only(era)

    def kept(self, need: Need, columns: Collection[str]) -> Image | None:
        """An image that was made before, if it has these columns."""
        found = self._images.find((need.key, need.first, need.last))
        return found if found is not None and found.chunks.keys() >= set(columns) else None

    def image(self, plan: SealedPlan, need: Need, columns: pa.Schema, go_on: Callable[[], None]) -> Image | None:
        """An image with at least these columns; see ``build``."""
        if sum(file.rows for file in plan.files) < self._least_rows * len(plan.files):
            return None
        key = (need.key, need.first, need.last)
        known = self._images.find(key)
        wanted = Wanted(plan.location, columns, need.first, need.last, self._most)

        def footer_of(file: FileToRead) -> Footer:
            return self._footer(file, plan, need.key.era)

        image = build(plan.files, wanted, footer_of, go_on, known)
        if image is not None and image is not known:
            self._images.put(need.key.era, key, image, image.size)
        return image

    def _footer(self, file: FileToRead, plan: SealedPlan, era: Era) -> Footer:
        """A file's footer, found again only by who has the file's key."""
        key = hashlib.sha256(b"".join((file.dek, file.aad_prefix, file.object_key.encode()))).digest()
        found = self._footers.find(key)
        if found is None:
            with opened(file, plan.location) as descriptor:
                found = footer.read(file, lambda start, count: os.pread(descriptor, count, start))
            self._footers.put(era, key, found, _FOOTER_COST * found.size)
        return found
