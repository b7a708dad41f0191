"""Where a statement ends, and how a word that is being typed may go on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

_WHOLE = re.compile(
    r"""--[^\n]*(?:\n|$) | /\*.*?\*/ | "(?:[^"]|"")*" | (?<!\w)[eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*'
    | \$(?P<tag>[A-Za-z_]\w*|)\$.*?\$(?P=tag)\$""",
    re.VERBOSE | re.DOTALL,
)
_UNFINISHED = re.compile(r"""/\*|"|(?<!\w)[eE]'|'|\$(?:[A-Za-z_]\w*|)\$""")

COMMANDS = ("\\d", "\\timing", "\\o", "\\purpose", "\\q", "\\?")
WORDS = tuple(
    """ALL AND ANTI AS ASC ASOF BETWEEN BY CASE CAST COUNT CROSS DESC DISTINCT ELSE END EXCEPT EXISTS FALSE FILTER FROM
    FULL GROUP HAVING IN INNER INTERSECT INTERVAL IS JOIN LATERAL LEFT LIKE LIMIT NOT NULL OFFSET ON OR ORDER OUTER OVER
    PARTITION PIVOT QUALIFY RECURSIVE RIGHT SELECT SEMI THEN TIMESTAMP TRUE TRY_CAST UNION UNPIVOT USING VALUES WHEN
    WHERE WINDOW WITH""".split()  # noqa: SIM905 - easier to read than sixty lines
)


def split(text: str) -> tuple[list[str], str]:
    """The statements that are whole, each without its semicolon, and the rest.

    A semicolon within quotes or a comment ends nothing.
    """
    statements: list[str] = []
    start = at = 0
    while at < len(text):
        if whole := _WHOLE.match(text, at):
            at = whole.end()
        elif _UNFINISHED.match(text, at):
            break
        elif text[at] == ";":
            statements.append(text[start:at].strip())
            at += 1
            start = at
        else:
            at += 1
    return [statement for statement in statements if statement], text[start:].lstrip()


def blank(text: str) -> bool:
    """Whether there is nothing to run in a text: spaces and comments."""
    return not re.sub(r"--[^\n]*(?:\n|$)|/\*.*?\*/", "", text, flags=re.DOTALL).strip()


def completions(before: str, tables: Mapping[str, Sequence[str]]) -> tuple[str, list[str]]:
    """How the text before the cursor may go on.

    Args:
        tables: columns by table, of those that one may see.

    Returns:
        The beginning of a word that is there already, and the words that begin so.
    """
    if re.fullmatch(r"\\\S*", before):
        return before, _beginning(before, COMMANDS)
    if found := re.search(r"(\w+)\.(\w*)$", before):
        return found[2], _beginning(found[2], tables.get(found[1], ()))
    fragment = re.search(r"\w*$", before)
    word = fragment[0] if fragment else ""
    if before.startswith("\\d "):
        return word, _beginning(word, tables)
    columns = {name for names in tables.values() for name in names}
    # Words of SQL come only when some of one is there: nothing is less helpful than all of them.
    return word, _beginning(word, [*tables, *sorted(columns), *(WORDS if word else ())])


def _beginning(word: str, names: Iterable[str]) -> list[str]:
    return [name for name in dict.fromkeys(names) if name.lower().startswith(word.lower())]
