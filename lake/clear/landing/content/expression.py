"""An expression asked of many texts at once: by Arrow where there are many, one by one where there are few."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import re2

from lake.clear.landing.content.detector import compiled

FEW = 200
"""Texts below which Arrow, which compiles an expression at each call, may be slower."""
Flags = npt.NDArray[np.bool_]


class Expression:
    """A linear-time expression over texts."""

    def __init__(self, pattern: str, ready: re2._Regexp | None = None) -> None:
        self.pattern = pattern
        self._compiled = ready or compiled(pattern)

    def matches(self, texts: pa.StringArray) -> Flags:
        """Which of ``texts`` it matches anywhere."""
        if len(texts) >= FEW:
            return np.asarray(pc.match_substring_regex(texts, self.pattern).to_numpy(zero_copy_only=False))
        search = self._compiled.search
        return np.fromiter((search(text.encode()) is not None for text in texts.to_pylist()), np.bool_, len(texts))
