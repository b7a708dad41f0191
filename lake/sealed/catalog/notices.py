"""What was sent under a dataset's contracts and not stored, summed over its batches for the notice to employees."""

from __future__ import annotations

import json
from collections import Counter

import sqlalchemy as sa

from lake.sealed.catalog import tables
from lake.sealed.catalog.catalog import Catalog


def not_stored(catalog: Catalog, dataset: str) -> dict[str, int]:
    """Counts by reason, over every batch that landed."""
    query = sa.select(tables.batches.c.counts).where(tables.batches.c.dataset == dataset)
    total: Counter[str] = Counter()
    with catalog.database.reading() as connection:
        for counts in connection.execute(query).scalars():
            total.update(json.loads(counts))
    return dict(sorted(total.items()))
