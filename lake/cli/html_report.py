"""The overview of a lake as one HTML file: what is stored about whom, what was refused, and who read what.

Works offline: style and charts are inline, there is no script, and its own content security policy forbids every fetch.
Holds counts and names only; must never hold a row's value, SQL text or a key, and never put a text into the page
unescaped: only :func:`ui.el` makes markup, and it escapes whatever it did not make itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from lake.cli import html_markup as ui
from lake.cli.overview import (
    Access,
    AuditState,
    Drop,
    Figure,
    Holding,
    Levels,
    Month,
    Outcome,
    Overview,
    Query,
    Scan,
)

TOP = 40
"""Employees and users shown by name in a matrix; the rest are summed in one line."""
LATEST = 200
"""Queries listed one by one, the newest."""
NAMED = 3
"""Employees named in a query's line."""

_OUTCOMES: dict[Outcome, tuple[str, str]] = {
    "allow": ("allowed", "good"),
    "deny": ("denied", "bad"),
    "error": ("failed", "warn"),
}


def render(overview: Overview) -> str:
    """The whole page; the same overview gives the same text. Write it as UTF-8."""
    name = ui.el("title", overview.title)
    sections = (
        _section("Checks", _audit(overview.audit), _scan(overview.scan)),
        _section("Stored, by sensitivity", _by_level(overview.holdings)),
        _section("Stored, by month", _by_month(overview.months)),
        _section("Who is recorded", *_matrices(overview.holdings)),
        _section("Not let in", _drops(overview.drops)),
        _section("Could, unwrapped, did", _access(overview.access)),
        _section("Who touched whose rows", _touches(overview.queries)),
        _section("Who read what", _queries(overview.queries)),
    )
    footer = ui.el("footer", "This page names people: keep it as you would keep the audit log.")
    body = ui.el("body", _header(overview), ui.el("main", _figures(overview.figures), *sections), footer)
    return f'<!DOCTYPE html>\n<html lang="en">\n<head>\n{ui.HEAD}{name}\n</head>\n{body}\n</html>\n'


def _header(overview: Overview) -> ui.Markup:
    facts = (("Lake", overview.lake_id), ("Created", overview.created), ("Report of", overview.generated))
    listed = [ui.el("div", ui.el("dt", term), ui.el("dd", fact)) for term, fact in facts]
    return ui.el("header", ui.el("h1", overview.title), ui.el("dl", *listed))


def _section(heading: str, *content: ui.Markup) -> ui.Markup:
    return ui.el("section", ui.el("h2", heading), *content)


def _figures(figures: Sequence[Figure]) -> ui.Markup:
    tiles = [
        ui.el(
            "li", ui.el("span", f.label, class_="label"), ui.el("strong", f.value), ui.el("span", f.note, class_="note")
        )
        for f in figures
    ]
    return ui.el("ul", *tiles, class_="tiles") if tiles else ui.Markup()


def _check(heading: str, good: bool, verdict: str, detail: str) -> ui.Markup:
    badge = ui.el("span", verdict, class_="badge good" if good else "badge bad")
    return ui.el("p", ui.el("b", heading), badge, ui.el("span", detail, class_="detail"), class_="check")


def _audit(audit: AuditState | None) -> ui.Markup:
    if audit is None:
        return _check("Audit log", False, "not checked", "No checkpoint was read for this report.")
    verdict = "signature verified" if audit.signature_ok else "signature NOT verified"
    return _check("Audit log", audit.signature_ok, verdict, f"{audit.size:,} entries, root {audit.root_hash}")


def _scan(scan: Scan | None) -> ui.Markup:
    heading = "Plaintext search"
    if scan is None or not (scan.needles and scan.bytes_searched):
        return _check(heading, False, "not checked", "Nothing was searched for this report.")
    looked = (
        f"{scan.needles:,} known values looked for in {ui.size(scan.bytes_searched)} ({scan.bytes_searched:,} bytes)"
    )
    return _check(heading, scan.found == 0, f"{scan.found:,} found", looked)


def _by_level(holdings: Sequence[Holding]) -> ui.Markup:
    rows, files = _sums(h.rows for h in holdings), _sums(h.files for h in holdings)
    size = _sums(h.bytes for h in holdings)
    lines = []
    for n, head in enumerate(ui.LEVEL_HEADS if holdings else ()):
        bar = ui.bar([(ui.KEYS[head], size[n])], sum(size))
        lines.append(ui.row([head], ui.number(rows[n]), ui.number(files[n]), ui.byte_count(size[n]), bar))
    total = ui.row(["All levels"], *_totals(holdings), ui.el("td"))
    heads = ui.heads(["Sensitivity"], ["Rows", "Files", "Bytes"], chart="Share of bytes")
    return ui.table("Rows, files and encrypted bytes of each sensitivity.", heads, lines, total)


def _by_month(months: Sequence[Month]) -> ui.Markup:
    widest = max((sum(m.rows) for m in months), default=0)
    lines = []
    for m in sorted(months, key=lambda m: m.month):
        bar = ui.bar([(ui.KEYS[head], count) for head, count in zip(ui.LEVEL_HEADS, m.rows, strict=True)], widest)
        lines.append(ui.row([m.month], *map(ui.number, m.rows), ui.number(sum(m.rows)), bar))
    heads = ui.heads(["Month"], [*ui.LEVEL_HEADS, "Rows"], chart="Rows by sensitivity")
    return ui.table("Rows by month of capture and sensitivity.", heads, lines)


def _matrices(holdings: Sequence[Holding]) -> list[ui.Markup]:
    names = sorted({h.dataset for h in holdings})
    return [_matrix(name, [h for h in holdings if h.dataset == name]) for name in names] or [ui.NOTHING]


def _matrix(dataset: str, holdings: Sequence[Holding]) -> ui.Markup:
    ordered = sorted(holdings, key=lambda h: (-sum(h.rows), h.employee))
    shown, others = ordered[:TOP], ordered[TOP:]
    most = [max(counts) for counts in zip(*(h.rows for h in shown), strict=True)]
    lines = [ui.row([h.employee], *map(ui.heat, h.rows, most, range(4)), *_totals([h])) for h in shown]
    if others:
        lines.append(
            ui.row([f"{len(others):,} others"], *map(ui.number, _sums(h.rows for h in others)), *_totals(others))
        )
    total = ui.row(["All employees"], *map(ui.number, _sums(h.rows for h in holdings)), *_totals(holdings))
    heads = ui.heads(["Employee"], [*ui.LEVEL_HEADS, "Rows", "Files", "Bytes"])
    caption = f"{dataset}: rows by employee and sensitivity. Shades are logarithmic, within each level."
    return ui.table(caption, heads, lines, total)


def _totals(holdings: Sequence[Holding]) -> list[ui.Markup]:
    rows, files = sum(sum(h.rows) for h in holdings), sum(sum(h.files) for h in holdings)
    return [ui.number(rows), ui.number(files), ui.byte_count(sum(sum(h.bytes) for h in holdings))]


def _drops(drops: Sequence[Drop]) -> ui.Markup:
    most = max((d.count for d in drops), default=0)
    lines = []
    for d in sorted(drops, key=lambda d: (not d.breach, -d.count, d.dataset, d.reason)):
        kind = ui.el("span", "contract breach", class_="badge bad") if d.breach else "filtered"
        bar = ui.bar([("bad" if d.breach else "plain", d.count)], most)
        lines.append(ui.row([d.reason, d.dataset, kind], ui.number(d.count), bar))
    heads = ui.heads(["Reason", "Dataset", "Kind"], ["Events"], chart="Events dropped")
    return ui.table("Events dropped before anything was written, by reason.", heads, lines)


def _access(access: Sequence[Access]) -> ui.Markup:
    widest = max((max(a.could, a.unwrapped, a.did) for a in access), default=0)
    lines = []
    for a in sorted(access, key=lambda a: (-a.could, a.user)):
        parts = [("did", a.did), ("unwrapped", max(0, a.unwrapped - a.did)), ("could", max(0, a.could - a.unwrapped))]
        lines.append(
            ui.row([a.user], ui.number(a.could), ui.number(a.unwrapped), ui.number(a.did), ui.bar(parts, widest))
        )
    heads = ui.heads(["User"], ["Could", "Unwrapped", "Did"], chart="Employees")
    caption = "Employees whose rows a user could read by policy, had file keys released for, and did read."
    return ui.table(caption, heads, lines)


def _touches(queries: Sequence[Query]) -> ui.Markup:
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
        rest = [ui.number(users[user] - sum(counts))] if hidden > 0 else []
        lines.append(ui.row([user], *(ui.heat(count, most, 4) for count in counts), *rest))
    heads = [ui.head("User"), *(ui.head(employee, "n turned") for employee in columns)]
    heads += [ui.head(f"{hidden:,} others", "n turned")] if hidden > 0 else []
    return ui.table("Queries of each user that touched rows of each employee. Shades are logarithmic.", heads, lines)


def _queries(queries: Sequence[Query]) -> ui.Markup:
    newest = sorted(queries, key=lambda q: (-q.entry, q.time, q.user))[:LATEST]
    counts = Counter(q.outcome for q in queries)
    said = ", ".join(f"{counts[outcome]:,} {word}" for outcome, (word, _) in _OUTCOMES.items())
    older = f"; the newest {LATEST:,} are listed" if len(queries) > LATEST else ""
    caption = f"{len(queries):,} queries: {said}{older}. Entry is the index in the audit log."
    texts = ["Entry", "Time", "User", "Roles", "Purpose", "Dataset", "Outcome", "Levels", "Employees"]
    return ui.table(caption, ui.heads(texts, ["Touched", "Rows"]), map(_query, newest))


def _query(query: Query) -> ui.Markup:
    word, tone = _OUTCOMES[query.outcome]
    employees = sorted(set(query.employees))
    more = [f"and {len(employees) - NAMED:,} more"] if len(employees) > NAMED else []
    return ui.row(
        [
            f"{query.entry:,}",
            ui.el("time", query.time),
            query.user,
            ", ".join(query.roles),
            query.purpose,
            query.dataset,
            ui.el("span", word, class_=f"badge {tone}"),
            ", ".join(map(str, sorted(query.levels))) or "none",
            ", ".join([*employees[:NAMED], *more]) or "none",
        ],
        ui.number(len(employees)),
        ui.number(query.rows),
    )


def _sums(counts: Iterable[Levels]) -> list[int]:
    return [sum(column) for column in zip((0, 0, 0, 0), *counts, strict=True)]


def _top(counts: Counter[str]) -> list[str]:
    return sorted(counts, key=lambda name: (-counts[name], name))
