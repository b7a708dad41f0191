"""The doctor's look at the object store's server: what it lacks, and what to do where it does not answer."""

from __future__ import annotations

from lake.gateway import places
from lake.gateway.config import LakeConfig


def examined(config: LakeConfig) -> tuple[list[str], list[str]]:
    """What a lake's object store does well, and what it lacks; nothing of a folder.

    Raises:
        StoreRefusedError, UnavailableError: it cannot be used as it is; the hint says what to do.
    """
    place = places.store_place(config)
    if place is None:
        return [], []
    from lake.sealed.objects.s3_examination import examine  # noqa: PLC0415 - needs an extra

    found = examine(place)
    return found.good, found.lacking
