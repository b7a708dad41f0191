"""The overview of a lake as one HTML file: what is stored about whom, what was refused, and who read what.

Works offline: style and charts are inline, there is no script, and its own content security policy forbids every fetch.
Holds counts and names only; must never hold a row's value, SQL text or a key, and never put a text into the page
unescaped: only :func:`_el` makes markup, and it escapes whatever it did not make itself.
"""

from __future__ import annotations

import html
import math
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

TOP = 40
"""Employees and users shown by name in a matrix; the rest are summed in one line."""
LATEST = 200
"""Queries listed one by one, the newest."""
NAMED = 3
"""Employees named in a query's line."""

Levels = tuple[int, int, int, int]
"""One count for each sensitivity, 1 to 4."""

Outcome = Literal["allow", "deny", "error"]


@dataclass(frozen=True, slots=True)
class Figure:
    """A headline: a number (shown with thousands separators) or a short text, its label, and a line below it."""

    label: str
    value: int | str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Holding:
    """What one dataset stores about one employee, by sensitivity; at most one for each dataset and employee."""

    employee: str
    dataset: str
    rows: Levels
    files: Levels
    bytes: Levels


@dataclass(frozen=True, slots=True)
class Month:
    """Rows captured in a month (``YYYY-MM``), by sensitivity."""

    month: str
    rows: Levels


@dataclass(frozen=True, slots=True)
class EventType:
    """Stored rows of one event type."""

    dataset: str
    name: str
    rows: int


@dataclass(frozen=True, slots=True)
class Drop:
    """Events that did not land, for one reason; ``breach`` where they broke the collection contract."""

    dataset: str
    reason: str
    count: int
    breach: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    """One query as the audit log has it: ``employees`` are those whose rows it touched, ``entry`` its audit index."""

    time: str
    user: str
    roles: tuple[str, ...]
    purpose: str
    dataset: str
    outcome: Outcome
    rows: int
    employees: tuple[str, ...]
    levels: tuple[int, ...]
    entry: int


@dataclass(frozen=True, slots=True)
class Access:
    """Employees whose rows a user could read by policy, had file keys released for, and did read."""

    user: str
    could: int
    unwrapped: int
    did: int


@dataclass(frozen=True, slots=True)
class AuditState:
    """The audit log's newest checkpoint: entries, root hash as text, and whether its signature was verified."""

    size: int
    root_hash: str
    signature_ok: bool


@dataclass(frozen=True, slots=True)
class Scan:
    """A search of every stored byte for known plaintext: bytes read, needles looked for, hits."""

    bytes_searched: int
    needles: int
    found: int


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything the page says. Times are text; empty parts are shown as empty, a missing check as not done."""

    title: str
    lake_id: str
    created: str
    generated: str
    figures: tuple[Figure, ...] = ()
    holdings: tuple[Holding, ...] = ()
    months: tuple[Month, ...] = ()
    events: tuple[EventType, ...] = ()
    drops: tuple[Drop, ...] = ()
    queries: tuple[Query, ...] = ()
    access: tuple[Access, ...] = ()
    audit: AuditState | None = None
    scan: Scan | None = None


def render(overview: Overview) -> str:
    """The whole page; the same overview gives the same text. Write it as UTF-8."""
    name = _el("title", overview.title)
    sections = (
        _section("Checks", _audit(overview.audit), _scan(overview.scan)),
        _section("Stored, by sensitivity", _by_level(overview.holdings)),
        _section("Stored, by month", _by_month(overview.months)),
        _section("Who is recorded", *_matrices(overview.holdings)),
        _section("Event types", _events(overview.events)),
        _section("Not let in", _drops(overview.drops)),
        _section("Could, unwrapped, did", _access(overview.access)),
        _section("Who touched whose rows", _touches(overview.queries)),
        _section("Who read what", _queries(overview.queries)),
    )
    footer = _el("footer", "This page names people: keep it as you would keep the audit log.")
    body = _el("body", _header(overview), _el("main", _figures(overview.figures), *sections), footer)
    return f'<!DOCTYPE html>\n<html lang="en">\n<head>\n{_HEAD}{name}\n</head>\n{body}\n</html>\n'


class _Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def _el(tag: str, *children: str | int, **attributes: str | int) -> _Markup:
    """An element. Children are escaped unless they are markup; numbers get thousands separators.

    A trailing underscore of an attribute's name is dropped (``class_``), others become hyphens.
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_escape(str(value))}"' for key, value in attributes.items()
    )
    inner = "".join(child if isinstance(child, _Markup) else _escape(_plain(child)) for child in children)
    return _Markup(f"<{tag}{given}>{inner}</{tag}>")


def _plain(value: str | int) -> str:
    return f"{value:,}" if isinstance(value, int) else value


def _escape(text: str) -> str:
    """Escapes, and shows characters that control, reorder or cannot be encoded as U+FFFD."""
    return html.escape("".join("\ufffd" if _unshowable(character) else character for character in text))


def _unshowable(character: str) -> bool:
    reorders = unicodedata.bidirectional(character) in {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    return reorders or unicodedata.category(character) in {"Cc", "Cs"}


def _header(overview: Overview) -> _Markup:
    facts = (("Lake", overview.lake_id), ("Created", overview.created), ("Report of", overview.generated))
    listed = [_el("div", _el("dt", term), _el("dd", fact)) for term, fact in facts]
    return _el("header", _el("h1", overview.title), _el("dl", *listed))


def _section(heading: str, *content: _Markup) -> _Markup:
    return _el("section", _el("h2", heading), *content)


def _figures(figures: Sequence[Figure]) -> _Markup:
    tiles = [
        _el("li", _el("span", f.label, class_="label"), _el("strong", f.value), _el("span", f.note, class_="note"))
        for f in figures
    ]
    return _el("ul", *tiles, class_="tiles") if tiles else _Markup()


def _check(heading: str, good: bool, verdict: str, detail: str) -> _Markup:
    badge = _el("span", verdict, class_="badge good" if good else "badge bad")
    return _el("p", _el("b", heading), badge, _el("span", detail, class_="detail"), class_="check")


def _audit(audit: AuditState | None) -> _Markup:
    if audit is None:
        return _check("Audit log", False, "not checked", "No checkpoint was read for this report.")
    verdict = "signature verified" if audit.signature_ok else "signature NOT verified"
    return _check("Audit log", audit.signature_ok, verdict, f"{audit.size:,} entries, root {audit.root_hash}")


def _scan(scan: Scan | None) -> _Markup:
    heading = "Plaintext search"
    if scan is None or not (scan.needles and scan.bytes_searched):
        return _check(heading, False, "not checked", "Nothing was searched for this report.")
    looked = f"{scan.needles:,} known values looked for in {_size(scan.bytes_searched)} ({scan.bytes_searched:,} bytes)"
    return _check(heading, scan.found == 0, f"{scan.found:,} found", looked)


def _by_level(holdings: Sequence[Holding]) -> _Markup:
    rows, files = _sums(h.rows for h in holdings), _sums(h.files for h in holdings)
    size = _sums(h.bytes for h in holdings)
    lines = []
    for n, head in enumerate(_LEVEL_HEADS if holdings else ()):
        bar = _bar([(_KEYS[head], size[n])], sum(size))
        lines.append(_row([head], _number(rows[n]), _number(files[n]), _bytes(size[n]), bar))
    total = _row(["All levels"], *_totals(holdings), _el("td"))
    heads = _heads(["Sensitivity"], ["Rows", "Files", "Bytes"], chart="Share of bytes")
    return _table("Rows, files and encrypted bytes of each sensitivity.", heads, lines, total)


def _by_month(months: Sequence[Month]) -> _Markup:
    widest = max((sum(m.rows) for m in months), default=0)
    lines = []
    for m in sorted(months, key=lambda m: m.month):
        bar = _bar([(_KEYS[head], count) for head, count in zip(_LEVEL_HEADS, m.rows, strict=True)], widest)
        lines.append(_row([m.month], *map(_number, m.rows), _number(sum(m.rows)), bar))
    heads = _heads(["Month"], [*_LEVEL_HEADS, "Rows"], chart="Rows by sensitivity")
    return _table("Rows by month of capture and sensitivity.", heads, lines)


def _matrices(holdings: Sequence[Holding]) -> list[_Markup]:
    names = sorted({h.dataset for h in holdings})
    return [_matrix(name, [h for h in holdings if h.dataset == name]) for name in names] or [_NOTHING]


def _matrix(dataset: str, holdings: Sequence[Holding]) -> _Markup:
    ordered = sorted(holdings, key=lambda h: (-sum(h.rows), h.employee))
    shown, others = ordered[:TOP], ordered[TOP:]
    most = [max(counts) for counts in zip(*(h.rows for h in shown), strict=True)]
    lines = [_row([h.employee], *map(_heat, h.rows, most, range(4)), *_totals([h])) for h in shown]
    if others:
        lines.append(_row([f"{len(others):,} others"], *map(_number, _sums(h.rows for h in others)), *_totals(others)))
    total = _row(["All employees"], *map(_number, _sums(h.rows for h in holdings)), *_totals(holdings))
    heads = _heads(["Employee"], [*_LEVEL_HEADS, "Rows", "Files", "Bytes"])
    caption = f"{dataset}: rows by employee and sensitivity. Shades are logarithmic, within each level."
    return _table(caption, heads, lines, total)


def _totals(holdings: Sequence[Holding]) -> list[_Markup]:
    rows, files = sum(sum(h.rows) for h in holdings), sum(sum(h.files) for h in holdings)
    return [_number(rows), _number(files), _bytes(sum(sum(h.bytes) for h in holdings))]


def _events(events: Sequence[EventType]) -> _Markup:
    most = max((e.rows for e in events), default=0)
    ordered = sorted(events, key=lambda e: (-e.rows, e.dataset, e.name))
    lines = [_row([e.name, e.dataset], _number(e.rows), _bar([("plain", e.rows)], most)) for e in ordered]
    return _table("Stored rows by type of event.", _heads(["Event type", "Dataset"], ["Rows"], chart="Rows"), lines)


def _drops(drops: Sequence[Drop]) -> _Markup:
    most = max((d.count for d in drops), default=0)
    lines = []
    for d in sorted(drops, key=lambda d: (not d.breach, -d.count, d.dataset, d.reason)):
        kind = _el("span", "contract breach", class_="badge bad") if d.breach else "filtered"
        bar = _bar([("bad" if d.breach else "plain", d.count)], most)
        lines.append(_row([d.reason, d.dataset, kind], _number(d.count), bar))
    heads = _heads(["Reason", "Dataset", "Kind"], ["Events"], chart="Events dropped")
    return _table("Events dropped before anything was written, by reason.", heads, lines)


def _access(access: Sequence[Access]) -> _Markup:
    widest = max((max(a.could, a.unwrapped, a.did) for a in access), default=0)
    lines = []
    for a in sorted(access, key=lambda a: (-a.could, a.user)):
        parts = [("did", a.did), ("unwrapped", max(0, a.unwrapped - a.did)), ("could", max(0, a.could - a.unwrapped))]
        lines.append(_row([a.user], _number(a.could), _number(a.unwrapped), _number(a.did), _bar(parts, widest)))
    heads = _heads(["User"], ["Could", "Unwrapped", "Did"], chart="Employees")
    caption = "Employees whose rows a user could read by policy, had file keys released for, and did read."
    return _table(caption, heads, lines)


def _touches(queries: Sequence[Query]) -> _Markup:
    cells = Counter((q.user, employee) for q in queries for employee in dict.fromkeys(q.employees))
    users, employees = Counter[str](), Counter[str]()
    for (user, employee), count in cells.items():
        users[user] += count
        employees[employee] += count
    columns, hidden = _top(employees)[:TOP], len(employees) - TOP
    most = max(cells.values(), default=0)
    lines = []
    for user in _top(users):
        counts = [cells[user, employee] for employee in columns]
        rest = [_number(users[user] - sum(counts))] if hidden > 0 else []
        lines.append(_row([user], *(_heat(count, most, 4) for count in counts), *rest))
    heads = [_head("User"), *(_head(employee, "n turned") for employee in columns)]
    heads += [_head(f"{hidden:,} others", "n turned")] if hidden > 0 else []
    return _table("Queries of each user that touched rows of each employee. Shades are logarithmic.", heads, lines)


def _queries(queries: Sequence[Query]) -> _Markup:
    newest = sorted(queries, key=lambda q: (-q.entry, q.time, q.user))[:LATEST]
    counts = Counter(q.outcome for q in queries)
    said = ", ".join(f"{counts[outcome]:,} {word}" for outcome, (word, _) in _OUTCOMES.items())
    older = f"; the newest {LATEST:,} are listed" if len(queries) > LATEST else ""
    caption = f"{len(queries):,} queries: {said}{older}. Entry is the index in the audit log."
    texts = ["Entry", "Time", "User", "Roles", "Purpose", "Dataset", "Outcome", "Levels", "Employees"]
    return _table(caption, _heads(texts, ["Touched", "Rows"]), map(_query, newest))


def _query(query: Query) -> _Markup:
    word, tone = _OUTCOMES[query.outcome]
    employees = sorted(set(query.employees))
    more = [f"and {len(employees) - NAMED:,} more"] if len(employees) > NAMED else []
    return _row(
        [
            f"{query.entry:,}",
            _el("time", query.time),
            query.user,
            ", ".join(query.roles),
            query.purpose,
            query.dataset,
            _el("span", word, class_=f"badge {tone}"),
            ", ".join(map(str, sorted(query.levels))) or "none",
            ", ".join([*employees[:NAMED], *more]) or "none",
        ],
        _number(len(employees)),
        _number(query.rows),
    )


def _table(caption: str, heads: Sequence[_Markup], rows: Iterable[_Markup], total: _Markup | None = None) -> _Markup:
    body = list(rows)
    if not body:
        return _NOTHING
    parts = [_el("caption", caption), _el("thead", _el("tr", *heads)), _el("tbody", *body)]
    foot = [_el("tfoot", total)] if total else []
    return _el("div", _el("table", *parts, *foot), class_="wide", role="region", aria_label=caption, tabindex=0)


def _heads(texts: Sequence[str], numbers: Sequence[str], chart: str = "") -> list[_Markup]:
    """Heads of the columns; those of numbers that a chart draws are its legend."""
    marked = [_head(text, f"n key {_KEYS[text]}" if text in _KEYS else "n") for text in numbers]
    return [*map(_head, texts), *marked, *([_head(chart, "chart")] if chart else [])]


def _head(text: str, kind: str = "text") -> _Markup:
    return _el("th", _el("bdi", text), scope="col", class_=kind)


def _row(texts: Sequence[str], *cells: _Markup) -> _Markup:
    """A line: its heading, its other texts, then cells."""
    heading, *others = (_el("bdi", text) for text in texts)
    return _el("tr", _el("th", heading, scope="row"), *(_el("td", text) for text in others), *cells)


def _number(value: int) -> _Markup:
    return _el("td", value, class_="n" if value else "n zero")


def _bytes(value: int) -> _Markup:
    return _el("td", _size(value), class_="n", title=f"{value:,} bytes")


def _heat(value: int, most: int, hue: int) -> _Markup:
    """A number on a shade from 1 to 6, logarithmic in the largest; sensitivities have hues 0 to 3, queries 4."""
    if not value:
        return _el("td", value, class_=f"n zero hue{hue}")
    shade = max(1, math.ceil(6 * math.log1p(value) / math.log1p(most)))
    return _el("td", value, class_=f"n hue{hue} shade{shade}")


def _bar(parts: Sequence[tuple[str, int]], whole: int) -> _Markup:
    """A horizontal bar of (style class, length) parts, for the eye only: the numbers stand beside it."""
    start, boxes = 0.0, []
    for kind, length in parts:
        width = 100 * length / whole if whole else 0.0
        boxes.append(_el("rect", class_=kind, x=f"{start:.2f}", width=f"{width:.2f}", height=10))
        start += width
    svg = _el("svg", *boxes, viewBox="0 0 100 10", preserveAspectRatio="none", aria_hidden="true")
    return _el("td", svg, class_="chart")


def _sums(counts: Iterable[Levels]) -> list[int]:
    return [sum(column) for column in zip((0, 0, 0, 0), *counts, strict=True)]


def _top(counts: Counter[str]) -> list[str]:
    return sorted(counts, key=lambda name: (-counts[name], name))


def _size(count: int) -> str:
    size, units = float(count), ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]
    while size >= 1024 and len(units) > 1:
        size, units = size / 1024, units[1:]
    return f"{count:,} B" if units[0] == "B" else f"{size:,.1f} {units[0]}"


_LEVEL_HEADS = ("Level 1", "Level 2", "Level 3", "Level 4")
_KEYS = {head: f"hue{n}" for n, head in enumerate(_LEVEL_HEADS)} | {
    "Could": "could",
    "Unwrapped": "unwrapped",
    "Did": "did",
}
_OUTCOMES: dict[Outcome, tuple[str, str]] = {
    "allow": ("allowed", "good"),
    "deny": ("denied", "bad"),
    "error": ("failed", "warn"),
}
_NOTHING = _el("p", "Nothing recorded.", class_="none")
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
_HEAD = f"""<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<style>{_STYLE}</style>
"""
