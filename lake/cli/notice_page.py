"""The notice of a dataset as one HTML file that employees can open anywhere.

Self-contained and without scripts; its own content security policy forbids every fetch. Every text is escaped by
:func:`html_markup.el`, which alone makes markup.
"""

from __future__ import annotations

from lake.cli import html_markup as ui
from lake.cli.notice import Notice, Part

_STYLE = """
:root{--page:#fff;--ink:#1b1f24;--soft:#4d555e;--line:#c9ced4}
@media screen and (prefers-color-scheme:dark){:root{--page:#14171b;--ink:#e8ebee;--soft:#b4bcc5;--line:#3a424b}}
body{margin:0 auto;max-width:46rem;padding:2rem 1.25rem;background:var(--page);color:var(--ink);
font:1.0625rem/1.6 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;overflow-wrap:anywhere}
h1{margin:0;font-size:1.9rem;line-height:1.2}h2{margin:2rem 0 .25rem;font-size:1.2rem}
p{margin:.25rem 0}.about{color:var(--soft)}
dt{margin-top:1rem;font-weight:650;font-family:ui-monospace,Menlo,Consolas,monospace;font-size:.95em}
dd{margin:.1rem 0 0 1.25rem;padding-left:.75rem;border-left:2px solid var(--line)}
ul{margin:.25rem 0;padding-left:1.5rem}
@media print{body{max-width:none;padding:0;font-size:11pt}h2,dt{break-after:avoid}dd,li{break-inside:avoid}}
"""
_HEAD = f"""<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<style>{_STYLE}</style>
"""


def as_page(notice: Notice) -> str:
    """A notice as a page; the same notice gives the same text. Write it as UTF-8."""
    title = ui.el("title", notice.title)
    header = ui.el("header", ui.el("h1", notice.title), ui.el("p", f"{notice.about}: {notice.state}", class_="about"))
    parts = [_part(part, f"part{number}") for number, part in enumerate(notice.parts, 1)]
    body = ui.el("body", header, ui.el("main", *parts))
    return f'<!DOCTYPE html>\n<html lang="en">\n<head>\n{_HEAD}{title}\n</head>\n{body}\n</html>\n'


def _part(part: Part, anchor: str) -> ui.Markup:
    content = [ui.el("h2", part.heading, id=anchor), *(ui.el("p", sentence) for sentence in part.sentences)]
    if part.terms:
        pairs = [one for term, told in part.terms for one in (ui.el("dt", term), *(ui.el("dd", text) for text in told))]
        content.append(ui.el("dl", *pairs))
    if part.items:
        content.append(ui.el("ul", *(ui.el("li", item) for item in part.items)))
    return ui.el("section", *content, aria_labelledby=anchor)
