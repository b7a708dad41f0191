"""A stable name for the shape of a query: the same for queries that differ in literals, comments or layout alone.

It must never depend on a literal's value, for the audit log shows fingerprints to people who may not see literals.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

_LEFT_OUT = frozenset({"query_location", "query_location_length", "literal", "named_param_map", "sample_size", "seed"})


def fingerprint(tree: dict[str, Any]) -> str:
    """Return ``sha256:`` and the hex digest of the syntax tree without literals and positions."""
    canonical = json.dumps(_shape(tree), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return "sha256:" + hashlib.sha256(canonical.encode()).hexdigest()


def _shape(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _shape(value) for key, value in node.items() if key not in _LEFT_OUT}
    if isinstance(node, list):
        return [_shape(item) for item in node]
    return node
