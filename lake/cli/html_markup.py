"""HTML elements for the report: escaping, tables, bars and shades, and the page's style.

Only :func:`el` makes markup, and it escapes whatever it did not make itself.
"""

from __future__ import annotations

import html
import math
import unicodedata
from collections.abc import Iterable, Sequence

LEVEL_HEADS = ("Level 1", "Level 2", "Level 3", "Level 4")
KEYS = {head: f"hue{n}" for n, head in enumerate(LEVEL_HEADS)} | {
    "Could": "could",
    "Unwrapped": "unwrapped",
    "Did": "did",
}


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def el(tag: str, *children: str | int, **attributes: str | int) -> Markup:
    """An element. Children are escaped unless they are markup; numbers get thousands separators.

    A trailing underscore of an attribute's name is dropped (``class_``), others become hyphens.
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_escape(str(value))}"' for key, value in attributes.items()
    )
    inner = "".join(child if isinstance(child, Markup) else _escape(_plain(child)) for child in children)
    return Markup(f"<{tag}{given}>{inner}</{tag}>")


def _plain(value: str | int) -> str:
    return f"{value:,}" if isinstance(value, int) else value


def _escape(text: str) -> str:
    """Escapes, and shows characters that control, reorder or cannot be encoded as U+FFFD."""
    return html.escape("".join("\ufffd" if _unshowable(character) else character for character in text))


def _unshowable(character: str) -> bool:
    reorders = unicodedata.bidirectional(character) in {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    return reorders or unicodedata.category(character) in {"Cc", "Cs"}


def table(caption: str, heads: Sequence[Markup], rows: Iterable[Markup], total: Markup | None = None) -> Markup:
    body = list(rows)
    if not body:
        return NOTHING
    parts = [el("caption", caption), el("thead", el("tr", *heads)), el("tbody", *body)]
    foot = [el("tfoot", total)] if total else []
    return el("div", el("table", *parts, *foot), class_="wide", role="region", aria_label=caption, tabindex=0)


def heads(texts: Sequence[str], numbers: Sequence[str], chart: str = "") -> list[Markup]:
    """Heads of the columns; those of numbers that a chart draws are its legend."""
    marked = [head(text, f"n key {KEYS[text]}" if text in KEYS else "n") for text in numbers]
    return [*map(head, texts), *marked, *([head(chart, "chart")] if chart else [])]


def head(text: str, kind: str = "text") -> Markup:
    return el("th", el("bdi", text), scope="col", class_=kind)


def row(texts: Sequence[str], *cells: Markup) -> Markup:
    """A line: its heading, its other texts, then cells."""
    heading, *others = (el("bdi", text) for text in texts)
    return el("tr", el("th", heading, scope="row"), *(el("td", text) for text in others), *cells)


def number(value: int) -> Markup:
    return el("td", value, class_="n" if value else "n zero")


def byte_count(value: int) -> Markup:
    return el("td", size(value), class_="n", title=f"{value:,} bytes")


def heat(value: int, most: int, hue: int) -> Markup:
    """A number on a shade from 1 to 6, logarithmic in the largest; sensitivities have hues 0 to 3, queries 4."""
    if not value:
        return el("td", value, class_=f"n zero hue{hue}")
    shade = min(6, max(1, math.ceil(6 * math.log1p(value) / math.log1p(most))))
    return el("td", value, class_=f"n hue{hue} shade{shade}")


def bar(parts: Sequence[tuple[str, int]], whole: int) -> Markup:
    """A horizontal bar of (style class, length) parts, for the eye only: the numbers stand beside it."""
    start, boxes = 0.0, []
    for kind, length in parts:
        width = 100 * length / whole if whole else 0.0
        boxes.append(el("rect", class_=kind, x=f"{start:.2f}", width=f"{width:.2f}", height=10))
        start += width
    svg = el("svg", *boxes, viewBox="0 0 100 10", preserveAspectRatio="none", aria_hidden="true")
    return el("td", svg, class_="chart")


def size(count: int) -> str:
    size, units = float(count), ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]
    while size >= 1024 and len(units) > 1:
        size, units = size / 1024, units[1:]
    return f"{count:,} B" if units[0] == "B" else f"{size:,.1f} {units[0]}"


NOTHING = el("p", "Nothing recorded.", class_="none")
_STYLE = """
:root{--page:#f6f7f8;--card:#fff;--ink:#1b1f24;--soft:#59616b;--line:#dde1e6;--good:#1a6b3c;--bad:#a82424;
--warn:#8a5a00;--hue0:#4a7fb5;--hue1:#23897c;--hue2:#c98a1b;--hue3:#c23b3b;--hue4:#6a5acd;--bar:#6b7785}
@media screen and (prefers-color-scheme:dark){:root{--page:#121519;--card:#1a1e24;--ink:#e6e9ed;--soft:#a2abb6;
--line:#2e353e;--good:#6fd398;--bad:#ff8f8f;--warn:#e9b552;--hue0:#6aa2da;--hue1:#48b3a5;--hue2:#d99c3c;--hue3:#e26767;
--hue4:#9a8cf0;--bar:#8b97a5}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1160px;padding:32px 24px;background:var(--page);color:var(--ink);
font:14px/1.45 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
h1{margin:0 0 8px;font-size:26px;line-height:1.2;font-weight:650;letter-spacing:-.01em;overflow-wrap:anywhere}
h2{margin:0 0 4px;font-size:16px;font-weight:650}
dl,dl div{display:flex;flex-wrap:wrap;gap:4px 24px;margin:0}dl div{gap:6px}dt{color:var(--soft)}
dd{margin:0;overflow-wrap:anywhere}
.tiles{list-style:none;margin:24px 0 0;padding:0;display:grid;grid-template-columns:repeat(auto-fit,minmax(160px,1fr));
gap:12px}
.tiles li,section{background:var(--card);border:1px solid var(--line);border-radius:8px}
.tiles li{display:flex;flex-direction:column;padding:12px 16px}
.tiles strong{font-size:24px;line-height:1.3;font-weight:650;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
.label,.note,.detail,.none,footer,caption{color:var(--soft)}.note{font-size:12px}
section{margin-top:16px;padding:16px 20px}.none{margin:0}
.check{display:flex;flex-wrap:wrap;gap:4px 12px;align-items:baseline;margin:8px 0}.check b{min-width:130px}
.detail{overflow-wrap:anywhere}
.badge{display:inline-block;padding:0 7px;border:1px solid;border-radius:9px;font-size:12px;white-space:nowrap}
.good{color:var(--good)}.bad{color:var(--bad)}.warn{color:var(--warn)}
.wide{overflow-x:auto}.wide+.wide{margin-top:16px}.wide:focus-visible{outline:2px solid var(--hue0)}
table{width:100%;border-collapse:collapse;font-size:13px}
caption{text-align:left;padding:0 0 6px;font-size:14px}time{white-space:nowrap}
th,td{padding:4px 8px;border-bottom:1px solid var(--line);text-align:left;vertical-align:top;
max-width:20em;overflow-wrap:break-word}
thead th{color:var(--soft);font-weight:600;vertical-align:bottom;border-bottom-color:var(--soft);overflow-wrap:normal}
tbody th{font-weight:500}tbody th:has(+.hue4){min-width:9em}tfoot th,tfoot td{font-weight:650;border-bottom:0}
.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}.zero{color:var(--soft)}
.key{box-shadow:inset 0 -3px var(--hue)}.turned{padding:4px 2px}
.turned bdi{display:inline-block;writing-mode:vertical-rl;transform:rotate(180deg);max-height:140px;overflow:hidden;
text-overflow:ellipsis}td.hue4{padding:4px 3px}
.chart{width:34%;vertical-align:middle}svg{display:block;width:100%;height:10px}
.hue0{--hue:var(--hue0)}.hue1{--hue:var(--hue1)}.hue2{--hue:var(--hue2)}.hue3{--hue:var(--hue3)}.hue4{--hue:var(--hue4)}
.shade1{--mix:6%}.shade2{--mix:13%}.shade3{--mix:21%}.shade4{--mix:30%}.shade5{--mix:40%}.shade6{--mix:50%}
td[class*=shade]{background:color-mix(in srgb,var(--hue) var(--mix),var(--card))}
.plain{--hue:var(--bar)}rect.bad,.did{--hue:var(--hue3)}.unwrapped{--hue:var(--hue2)}
.could{--hue:color-mix(in srgb,var(--bar) 45%,var(--card))}rect{fill:var(--hue)}
footer{margin-top:16px;font-size:12px}
@page{size:A4 landscape;margin:12mm}
@media print{:root{--page:#fff}body{max-width:none;padding:0;font-size:11px}table,.badge{font-size:10px}
caption{font-size:11px}th,td{padding:2px 5px}.wide{overflow:visible}section{border:0;margin-top:8px;padding:8px 0}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}
h2,caption,thead{break-after:avoid}tbody tr:first-child{break-before:avoid}tr,.tiles li{break-inside:avoid}}
"""
HEAD = f"""<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<style>{_STYLE}</style>
"""
