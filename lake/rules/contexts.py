"""Names of programs, sites and windows in one form each, and whether they are never collected.

Allowed is what is named exactly. Denied is also what only looks like it: letters of other scripts are read as the Latin
ones that they imitate, so that no lookalike of a listed name is allowed and none of a denied one escapes.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping

from lake.rules import denied

_LATIN = "abcdefghijklmnopqrstuvwxyz"
LOOKALIKES: Mapping[int, str] = {
    ord(glyph): plain
    for glyphs, plain in (
        ("аɑα", "a"), ("ьЬ", "b"), ("сϲᴄ", "c"), ("ԁ", "d"), ("еєҽ", "e"), ("ϝ", "f"), ("ɡց", "g"), ("һн", "h"),
        ("іιıї", "i"), ("јϳ", "j"), ("кκ", "k"), ("ӏⅼǀ", "l"), ("м", "m"), ("пո", "n"), ("оοօσө", "o"), ("рρ", "p"),
        ("ԛգ", "q"), ("гᴦ", "r"), ("ѕꜱ", "s"), ("тτ", "t"), ("υսᴜ", "u"), ("νѵᴠ", "v"), ("ѡωԝ", "w"), ("хχ", "x"),
        ("уγү", "y"), ("ᴢ", "z"), ("β", "b"), ("η", "n"), ("ε", "e"), ("вв", "b"),
    )
    for glyph in glyphs
}  # fmt: skip
"""Small letters of Cyrillic, Greek, Armenian and phonetic scripts by the Latin letter that they look like.

After Unicode's confusables (UTS 39), cut down to what a name of ours can be imitated with.
"""
_ENDINGS = re.compile(r"\.(exe|app|msix|appimage|lnk)$")
_HOST = re.compile(r"(?=.{1,253}$)[^\s./:@?#]{1,63}(\.[^\s./:@?#]{1,63})+")
_SUFFIXES = frozenset(
    {
        "co.uk", "org.uk", "gov.uk", "ac.uk", "com.au", "com.br", "co.jp", "co.in", "co.nz", "co.za", "com.cn",
        "com.mx",
        "com.tr", "github.io", "gitlab.io", "vercel.app", "netlify.app", "herokuapp.com", "cloudfront.net",
        "azurewebsites.net", "web.app", "pages.dev", "workers.dev",
    }
)  # fmt: skip
"""Suffixes under which anybody gets a name: never a site of their own."""


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold().strip()


def skeleton(text: str) -> str:
    """What a text looks like: no accents, no invisible characters, lookalikes as the Latin letters."""
    decomposed = unicodedata.normalize("NFKD", _plain(text))
    seen = "".join(char for char in decomposed if unicodedata.category(char) not in {"Mn", "Cf", "Cc"})
    return seen.translate(LOOKALIKES)


def app_name(text: str) -> str:
    """A program's name without its folder and the ending of its file."""
    return _ENDINGS.sub("", re.split(r"[\\/]", _plain(text))[-1].strip())


def host_name(text: str) -> str:
    """The host of a URL or a bare host, IDNs as Unicode; empty if there is none."""
    plain = _plain(text)
    if "://" in plain:
        plain = plain.partition("://")[2]
    plain = re.split(r"[/?#\\]", plain, maxsplit=1)[0].rpartition("@")[2]
    plain = re.sub(r":\d*$", "", plain).rstrip(".")
    if not plain.isascii() or "xn--" not in plain:
        return plain
    try:
        return _plain(".".join(_unicode_label(label) for label in plain.split(".")))
    except UnicodeError:
        return ""


def _unicode_label(label: str) -> str:
    return label[4:].encode().decode("punycode") if label.startswith("xn--") else label


def is_site(host: str) -> bool:
    """Whether a contract may list this host: a domain with a name of its own."""
    return _HOST.fullmatch(host) is not None and host not in _SUFFIXES


def domains(host: str) -> Iterator[str]:
    """A host and every domain that it lies in."""
    labels = host.split(".")
    return (".".join(labels[start:]) for start in range(len(labels)))


_APPS = {skeleton(app_name(name)): category for category, names in denied.APPS.items() for name in names}
_SITES = {skeleton(name): category for category, names in denied.SITES.items() for name in names}
_BROWSERS = frozenset(map(skeleton, denied.BROWSERS))


def denied_app(name: str) -> str | None:
    """The category for which a program (as ``app_name`` gives it) is never collected."""
    return _APPS.get(skeleton(name))


def denied_host(host: str) -> str | None:
    """The category for which a host (as ``host_name`` gives it) is never collected."""
    seen = skeleton(host)
    return next((_SITES[domain] for domain in domains(seen) if domain in _SITES), None)


def is_browser(name: str) -> bool:
    """Whether a program shows pages, and so is judged by the page."""
    return skeleton(name) in _BROWSERS


def _pattern(words: tuple[str, ...]) -> str:
    """RE2 for any of the words, standing alone if they are in a script that has spaces."""
    alone = "|".join(re.escape(skeleton(word)) for word in words if skeleton(word)[0].isascii())
    within = "|".join(re.escape(skeleton(word)) for word in words if not skeleton(word)[0].isascii())
    edges = rf"(?:^|[^\pL\pN])(?:{alone})(?:$|[^\pL\pN])"
    return f"{edges}|{within}" if within else edges


TITLES: Mapping[str, str] = {category: _pattern(words) for category, words in denied.WORDS.items()}
"""RE2 patterns over the skeleton of a window title, by the category that they deny."""

TITLE_SCREEN = "|".join(sorted({re.escape(skeleton(word)) for words in denied.WORDS.values() for word in words}))
"""RE2 for any word of any category, edges aside: several hundred times as quick as the exact patterns."""
