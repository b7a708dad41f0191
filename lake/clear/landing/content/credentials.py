"""Passwords, codes and keys that a word before them gives away, or their look."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

from lake.clear.landing.content import words
from lake.clear.landing.content.detector import Bounds, Check, Detector, Gate, compiled, digits_of, holds, keyed, number

_QUOTES = frozenset({b'"', b"'", b"*"})
_OPEN, _CLOSE = "\"'*([{<", "\"'*)]}>,;.:!?"
_SEPARATED = compiled(
    r"(?i)(?:[:=]|->|→|=>|：|\bis\b|\bwas\b|\bist\b|\blautet\b|\best\b|\bes\b|\bè\b|\bé\b|\bto\b|\bjest\b|это|は|是|为)[\s\"'*(\[{]*$"
)
_POINTED = compiled(r"(?:[:=]|->|→|=>|：|は|是|为|--?\w{1,20} )[\s\"'*(\[{]*$")
_PLACEHOLDER = compiled(
    r"(?i)^(?:[*•.xX#_\-]+|<.*>?|\$\{?\w.*|\{\{.*|%\w+%?|\[.*|\(.*|your.*|example|changeme|n/?a|redacted|hidden|masked)$"
)


def entropy(text: str) -> float:
    """Shannon's, bits a character."""
    size = len(text)
    return -sum(count / size * math.log2(count / size) for count in Counter(text).values()) if size else 0.0


def looks_made_up(value: str) -> bool:
    """Whether a word looks like a password: digits or marks among letters, or a capital within."""
    body = value.strip(_OPEN + _CLOSE)
    if len(body) < 4:
        return False
    letters = any(map(str.isalpha, body))
    digits = any(map(str.isdigit, body))
    marks = any(not char.isalnum() and char not in "-'’./,:" for char in value.rstrip(",;.:()\"'"))
    inner = any(char.isupper() for char in body[1:]) and any(map(str.islower, body))
    return (letters and digits) or (letters and marks) or (digits and marks) or (inner and len(body) >= 6)


def _trimmed(text: bytes, start: int, end: int) -> Bounds:
    """Without the quotes around it and the stop after it."""
    while start < end and chr(text[start]) in "\"'*([{<":
        start += 1
    if start and text[start - 1 : start] in _QUOTES:
        close = text.find(text[start - 1 : start], start, end)
        if close > start:
            return start, close
    while end > start and chr(text[end - 1]) in "\"',;.:)]}>":
        end -= 1
    return start, end


def _said(text: bytes, start: int, end: int) -> Iterable[Bounds]:
    """A word after "password" that is one: pointed at by a colon, or said to be it, or looking like it."""
    quoted = text[start : start + 1] in _QUOTES
    first, last = _trimmed(text, start, end)
    value = text[first:last].decode(errors="replace")
    if len(value) < 3 or value.casefold() in words.NO_PASSWORDS or _PLACEHOLDER.search(value) is not None:
        return ()
    lead = text[max(0, start - 24) : start]
    pointed = _POINTED.search(lead) is not None
    if pointed or quoted or looks_made_up(text[first:end].decode(errors="replace")):
        return ((first, last),)
    alone = not text[end:].strip(b" .!?\n") or text[last : last + 1] in {b".", b",", b";"}
    return ((first, last),) if alone and _SEPARATED.search(lead) is not None else ()


def _strong(least: int, bits: float) -> Check:
    def check(text: bytes, start: int, end: int) -> Iterable[Bounds]:
        first, last = _trimmed(text, start, end)
        value = text[first:last].decode(errors="replace")
        mixed = bool(digits_of(value)) or (value.lower() != value != value.upper() and entropy(value) >= 3.5)
        if len(value) >= least and mixed and entropy(value) >= bits and _PLACEHOLDER.search(value) is None:
            return ((first, last),)
        return ()

    return check


def _paired(text: bytes, start: int, end: int) -> Iterable[Bounds]:
    """What stands behind an address and a mark, as in leaked lists."""
    first, last = _trimmed(text, start, end)
    value = text[first:last].decode(errors="replace")
    return ((first, last),) if looks_made_up(text[first:end].decode(errors="replace")) and "@" not in value[1:] else ()


def _alone(value: str) -> bool:
    """A whole text that is one word of letters, digits and marks as only passwords have them."""
    classes = sum((any(map(str.islower, value)), any(map(str.isupper, value)), any(map(str.isdigit, value))))
    marks = sum(char in "!@#$%^&*?+=~|" for char in value)
    path = (
        any(char in '/()[]{}<>",;' for char in value)
        or ("=" in value and "&" in value)
        or value.startswith(("http", "/", "\\", "www.", "#", "@", "--", "$"))
        or "://" in value
        or ".com" in value
    )
    assigned = value.count("=") == 1 and value.find("=") > 1 and value.replace("=", "").isalnum() and marks == 1
    return (
        marks >= 1
        and classes >= 2
        and any(map(str.isdigit, value))
        and not path
        and not assigned
        and entropy(value) >= 2.5
    )


DETECTORS = (
    Detector(
        "PASSWORD",
        Gate.SECRET,
        rf"(?i){words.PASSWORD}s?(?:[\"']?\s{{0,3}}(?:[:=(]|->|→|=>|：){{1,2}}|\s{{1,3}}(?:for \S{{1,60}} |of \S{{1,60}} |again |here )?(?:is|was|are|ist|war|lautet|est|es|è|é|to|jest|это|now|called|set to|changed to|named){{0,1}}(?: now| still| just)?\s?[:=]?|は|是|为|\s)\s{{0,3}}([\"'*(\[{{]{{0,2}}[^\s\x00]{{3,128}})",
        _said,
        (
            "password: hunter2",
            "my password is correcthorse.",
            "with password 'Sommer!24'",
            "password R3boot!Now appeared",
            "Passwort: geheim",
            "pwd=abc",
            "密码是 abc12345",
        ),
    ),
    Detector(
        "PASSWORD",
        Gate.SECRET,
        r"(?i)--?(?:password|passwd|pass|pwd|token|secret|api-?key)[ =]([\"']?[^\s\x00]{3,256})",
        _said,
        ("mysql --password hunter2",),
    ),
    Detector(
        "PASSWORD",
        Gate.SECRET,
        r"(?i)\b[a-z][a-z0-9+.\-]{1,20}://[^\s/:@\x00]*:([^\s/@\x00]+)@",
        None,
        ("postgres://admin:hunter2@db.example.com/x",),
    ),
    Detector(
        "PASSWORD",
        Gate.SECRET,
        r"[\w.+\-]+@[\w\-]+(?:\.[\w\-]+)+(?:[:|;]| / | : | \| )([^\s\x00]{4,64})",
        _paired,
        ("jane@example.com:Sommer24", "jane@example.com / Winter!"),
    ),
    Detector("PASSWORD", Gate.ALONE, r"^\s*([^\s\x00]{8,64})\s*$", holds(_alone), ("Tr0ub4dor&3", "P@ssw0rd1")),
    keyed(
        "PIN",
        words.PIN,
        number(3, 10),
        "PIN: 4711",
        "verification code is 482 913",
        value=r"\d(?:[ \-]?\d){2,9}\b",
        gap=20,
    ),
    Detector(
        "SECRET",
        Gate.SECRET,
        r"(?i)(?:api[ _\-]?keys?|secrets?(?:[ _\-]?(?:access[ _\-]?)?keys?)?|access[ _\-]?(?:token|key)s?|auth(?:entication|orization)?[ _\-]?(?:token|key)s?|client[ _\-]?secret|bearer|session[ _\-]?(?:id|token|key)|refresh[ _\-]?token|license[ _\-]?keys?|encryption[ _\-]?keys?|\btokens?)\b[\"']?\s{0,3}(?:is|was|ist|[:=]|->|=>|of)?\s{0,3}([\"'*]?[A-Za-z0-9_+/=.~\-]{8,})",
        _strong(8, 2.8),
        ("api_key = 9f8a7b6c5d4e3f2a1b0c", "Authorization: Bearer abc123.def456.ghi789"),
    ),
    Detector(
        "SECRET",
        Gate.SECRET,
        r"(?i)(?:recovery|backup|seed|mnemonic)[ \-]?(?:phrase|words|codes?|key)s?\s{0,3}(?:is|are|[:=])\s{0,3}((?:[a-z0-9\-]{3,12}[ ,]{1,2}){3,23}[a-z0-9\-]{3,12})",
        None,
        ("seed phrase: abandon ability able about above absent absorb abstract absurd abuse access accident",),
    ),
    Detector(
        "PRIVATE_KEY",
        Gate.SECRET,
        r"(?s)-----BEGIN [A-Z ]{0,30}PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z ]{0,30}PRIVATE KEY(?: BLOCK)?-----|\z)",
        None,
        (
            "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n-----END OPENSSH PRIVATE KEY-----",
            "-----BEGIN PRIVATE KEY----- MIIE",
        ),
    ),
    Detector(
        "USERNAME",
        Gate.SECRET,
        rf"(?i){words.USERNAME}(?:[\"']?\s{{0,3}}(?:is|was|ist|[:=])\s{{0,3}}|\s)([\"'*]{{0,1}}[^\s\x00,;\"']{{2,64}})",
        _said,
        ("username: jroe", "UserID 'jroe_admin'"),
    ),
)
