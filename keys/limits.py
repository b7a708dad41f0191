"""How many DEKs the broker hands out in a minute: what bounds the harm of a caller that holds receipts of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(slots=True)
class BrokerLimits:
    """Most DEKs in any minute.

    Attributes:
        per_level: by sensitivity, over everybody together; a level that is absent has no limit.
        per_principal: over all levels, for each actor of a receipt; None for no limit.
    """

    per_level: Mapping[int, int] = field(default_factory=dict)
    per_principal: int | None = None
