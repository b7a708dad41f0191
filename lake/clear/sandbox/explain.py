"""A leading EXPLAIN, told from the SELECT that follows it.

It is found by its letters alone, before any parser: whatever follows must by itself be one complete SELECT that DuckDB
parses and the guard admits, so ANALYZE and options are refused without being known here. No SELECT begins with the
word, so none is misread.
"""

from __future__ import annotations

import re

_LEADING = re.compile(r"(?:\s|--[^\n]*\n|/\*(?:[^*]|\*(?!/))*\*/)*(explain)(?=[\s(/-])", re.IGNORECASE | re.ASCII)


def split(sql: str) -> tuple[bool, str]:
    """Tell whether the text begins with EXPLAIN, and return it with blanks in the place of that word.

    Positions in the rest stay what they were, so that errors show where they are in the text as typed.
    """
    found = _LEADING.match(sql)
    if found is None:
        return False, sql
    start, end = found.span(1)
    return True, sql[:start] + " " * (end - start) + sql[end:]
