"""What a key does to a text, and of which class it is, by the names that browsers, Windows and X11 give to keys."""

from __future__ import annotations

import re
import unicodedata
from enum import IntEnum


class Edit(IntEnum):
    """What a key does that writes no text."""

    NOTHING = 0
    BACKSPACE = 1
    DELETE = 2
    LEFT = 3
    RIGHT = 4
    HOME = 5
    END = 6
    CLOSE = 7
    """Enter and Tab end a run."""


Stroke = str | Edit
"""Text that a key writes, or what it does instead."""

MAX_WRITTEN = 32
"""Characters that one key writes at most; a longer value is not a key."""
CLASSES = ("letter", "digit", "punct", "space", "edit", "nav", "modifier", "other")

_PREFIX = re.compile(r"^(vk_|key\.|keyboard)")
_EDITS = {
    Edit.BACKSPACE: ("backspace", "back", "bksp"),
    Edit.DELETE: ("delete", "del", "forwarddelete"),
    Edit.LEFT: ("left", "arrowleft", "leftarrow"),
    Edit.RIGHT: ("right", "arrowright", "rightarrow"),
    Edit.HOME: ("home",),
    Edit.END: ("end",),
    Edit.CLOSE: ("enter", "return", "kpenter", "numpadenter", "tab", "\n", "\r", "\r\n", "\t"),
}
_BY_NAME: dict[str, Stroke] = {name: edit for edit, names in _EDITS.items() for name in names}
_BY_NAME |= {
    "space": " ", "spacebar": " ", "period": ".", "dot": ".", "comma": ",", "minus": "-", "hyphen": "-", "slash": "/",
    "at": "@", "semicolon": ";", "colon": ":", "underscore": "_", "plus": "+", "equal": "=", "quote": "'",
    "apostrophe": "'", "backslash": "\\", "exclam": "!", "question": "?", "oemcomma": ",", "oemperiod": ".",
    "oemminus": "-", "oemplus": "+", "decimal": ".", "subtract": "-", "add": "+", "divide": "/", "multiply": "*",
}  # fmt: skip
_BY_NAME |= {f"{prefix}{digit}": str(digit) for prefix in ("digit", "numpad", "kp") for digit in range(10)}
_BY_NAME |= {f"key{letter}": letter for letter in "abcdefghijklmnopqrstuvwxyz"}
_NAVIGATION = frozenset({"up", "down", "arrowup", "arrowdown", "pageup", "pagedown", "prior", "next"})
_MODIFIER = re.compile(
    r"^[lr]?(shift|control|ctrl|alt|altgraph|altgr|menu|meta|win|os|cmd|super|capslock|capital|numlock)[lr]?$"
)
_SHORTCUT = re.compile(r"ctrl|control|meta|cmd|command|super|win", re.IGNORECASE)


def _name(key: str) -> str:
    return re.sub(r"[_\s-]", "", _PREFIX.sub("", key.casefold())) or key


def stroke(key: str) -> Stroke:
    """What a key does; a name that is not known does nothing."""
    named = _BY_NAME.get(_name(key))
    if len(key) == 1 and not isinstance(named, Edit):
        return key if key.isprintable() else Edit.NOTHING
    if named is not None:
        return named
    virtual = key.casefold().removeprefix("vk_")
    if len(virtual) == 1 and virtual.isalnum():
        return virtual
    written = unicodedata.normalize("NFC", key)
    if key.isascii() or len(written) > MAX_WRITTEN or not written.isprintable():
        return Edit.NOTHING
    return written  # what an input method or a key for two characters writes


def is_shortcut(modifiers: str) -> bool:
    """Whether the modifiers held make a command of a key. AltGr writes characters, and so does Shift."""
    return _SHORTCUT.search(modifiers) is not None and "altgr" not in modifiers.casefold()


def key_class(key: str) -> str:
    """One of ``CLASSES``."""
    done = stroke(key)
    if isinstance(done, Edit):
        return _class_of(done, key)
    if done.isspace():
        return "space"
    if done.isdigit():
        return "digit"
    return "letter" if done[0].isalpha() else "punct"


def _class_of(edit: Edit, key: str) -> str:
    name = _name(key)
    if edit in {Edit.BACKSPACE, Edit.DELETE} or name == "insert":
        return "edit"
    if edit is Edit.CLOSE:
        return "space"
    if edit is not Edit.NOTHING or name in _NAVIGATION:
        return "nav"
    return "modifier" if _MODIFIER.match(name) else "other"
