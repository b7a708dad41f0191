"""The overview page: what it says, what it escapes, and that it fetches nothing."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.cli.html_markup import heat
from lake.cli.html_report import LATEST, TOP, render
from lake.cli.overview import (
    Access,
    AuditState,
    Drop,
    Figure,
    Holding,
    Month,
    Overview,
    Query,
    Scan,
)

VOID = {"meta"}
HARMLESS = re.compile(
    "html|head|meta|title|style|body|header|main|footer|section|div|h1|h2|p|b|bdi|span|strong|time|dl|dt|dd|ul|li|"
    "table|caption|thead|tbody|tfoot|tr|th|td|svg|rect"
)
HOSTILE = "<script>alert('1')</script>\"&\u202e\x00\ud800"
SHOWN = "<script>alert('1')</script>\"&\ufffd\ufffd\ufffd"
EMPTY = Overview("Lake", "lk-1", "2026-01-01", "2026-11-24")


class Page(HTMLParser):
    """A parsed page: its tags with attributes, its tables as rows of cell texts by caption; unbalanced tags fail."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.tables: dict[str, list[list[str]]] = {}
        self._rows: list[list[str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "caption":
            self._rows = self.tables[str(len(self.tables))] = []
        elif tag == "tr":
            self._rows.append([])
        elif tag in {"td", "th"}:
            self._rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.texts.append(data)
        if "caption" in self.open:
            self.tables[data] = self.tables.popitem()[1]
        elif self._rows and {"td", "th"} & set(self.open):
            self._rows[-1][-1] += data

    def table(self, start: str) -> list[list[str]]:
        """The rows of the table whose caption starts so."""
        (rows,) = (rows for caption, rows in self.tables.items() if caption.startswith(start))
        return rows


def query(entry: int, employees: tuple[str, ...] = (), user: str = "ana", **other: object) -> Query:
    """An allowed query that touched ``employees``."""
    base = Query("2026-11-01T09:00:00Z", user, ("analyst",), "study", "desktop", "allow", 7, employees, (1, 2), entry)
    return replace(base, **other)  # type: ignore[arg-type]


def holding(employee: str, rows: int, dataset: str = "desktop") -> Holding:
    """Rows of level 1 and one of level 4."""
    return Holding(employee, dataset, (rows, 0, 0, 1), (1, 0, 0, 1), (2048, 0, 0, 100))


def full(name: str = "emp-1") -> Overview:
    """An overview with every part, and ``name`` wherever a text goes."""
    return Overview(
        title=name,
        lake_id=name,
        created=name,
        generated=name,
        figures=(Figure(name, 1234567, name), Figure(name, name)),
        holdings=(Holding(name, name, (1000, 20, 3, 1), (4, 3, 2, 1), (5000, 400, 30, 2)),),
        months=(Month(name, (54321, 20, 3, 1)),),
        drops=(Drop(name, name, 2048, breach=True), Drop(name, name, 9)),
        queries=(query(0, (name,), name, time=name, roles=(name,), purpose=name, dataset=name),),
        access=(Access(name, 61, 20, 12),),
        audit=AuditState(14213, name, True),
        scan=Scan(7_340_032, 1200, 0),
    )


def test_numbers_have_thousands_separators() -> None:
    """Every part's numbers are on the page, readable."""
    texts = " ".join(Page(render(full())).texts)
    for number in ("1,234,567", "1,000", "54,321", "54,345", "1,024", "2,048", "14,213", "7,340,032 bytes", "7.0 MiB"):
        assert number in texts


def test_hostile_text_is_only_ever_text() -> None:
    """Markup, quotes and reordering or unencodable characters in any field neither act nor break the page."""
    hostile, plain = Page(render(full(HOSTILE))), Page(render(full()))
    assert [tag for tag, _ in hostile.tags] == [tag for tag, _ in plain.tags]
    assert [sorted(attributes) for _, attributes in hostile.tags] == [sorted(a) for _, a in plain.tags]
    assert Counter(hostile.texts)[SHOWN] == Counter(plain.texts)["emp-1"]
    render(full(HOSTILE)).encode("utf-8")


@settings(max_examples=40, deadline=None)
@given(st.text(st.characters(), min_size=1, max_size=30))
def test_any_name_leaves_the_structure_alone(name: str) -> None:
    """No text whatever changes which tags the page has."""
    assert [tag for tag, _ in Page(render(full(name))).tags] == [tag for tag, _ in Page(render(full())).tags]


@pytest.mark.parametrize("overview", [EMPTY, full(), full("javascript:alert(1)")])
def test_the_page_fetches_and_runs_nothing(overview: Overview) -> None:
    """No script, link, image, frame, form or style fetches anything, and the page's own policy says so."""
    text = render(overview)
    page = Page(text)
    assert [tag for tag, _ in page.tags if not HARMLESS.fullmatch(tag)] == []
    assert not {"src", "href", "style"} & {key for _, attributes in page.tags for key in attributes}
    assert not [key for _, attributes in page.tags for key in attributes if key.startswith("on")]
    assert not re.search(r"https?:|//\w|url\(|@import", text)
    policies = [
        a["content"] for tag, a in page.tags if tag == "meta" and a.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]


def test_equal_overviews_give_equal_pages() -> None:
    """The page depends on nothing but its input, and not on the order of what has an order of its own."""
    assert render(full()) == render(full())
    parts = tuple(holding(f"emp-{n}", n % 3) for n in range(9))
    assert render(replace(EMPTY, holdings=parts)) == render(replace(EMPTY, holdings=parts[::-1]))


def test_empty_parts_are_said_to_be_empty() -> None:
    """An overview without lists has no table, and says for each part that there is nothing."""
    page = Page(render(EMPTY))
    assert page.tables == {}
    assert page.texts.count("Nothing recorded.") == 7


def test_matrix_shows_the_largest_employees_and_sums_the_rest() -> None:
    """The top employees come by name, largest first; the others and the whole add up."""
    holdings = tuple(holding(f"emp-{n:02d}", n) for n in range(TOP + 5))
    _, *rows = Page(render(replace(EMPTY, holdings=holdings))).table("desktop: rows")
    assert [row[0] for row in rows[:2]] == ["emp-44", "emp-43"]
    assert rows[-2] == ["5 others", "10", "0", "0", "5", "15", "10", "10.5 KiB"]
    assert rows[-1] == ["All employees", "990", "0", "0", "45", "1,035", "90", "94.4 KiB"]
    assert len(rows) == TOP + 2


def test_each_dataset_has_a_matrix_and_all_add_up_by_level() -> None:
    """Datasets stay apart in the matrices and are summed by sensitivity."""
    page = Page(render(replace(EMPTY, holdings=(holding("a", 5), holding("a", 70, "browser")))))
    assert page.table("browser: rows")[1][:2] == ["a", "70"]
    assert page.table("desktop: rows")[1][:2] == ["a", "5"]
    by_level = page.table("Rows, files and encrypted bytes")
    assert by_level[1][:4] == ["Level 1", "75", "2", "4.0 KiB"]
    assert by_level[-1][:4] == ["All levels", "77", "4", "4.2 KiB"]


def test_shades_grow_with_the_value() -> None:
    """The largest value of a level has the darkest shade, a small one a lighter, zero none."""
    text = render(replace(EMPTY, holdings=(holding("big", 100_000), holding("small", 3), holding("none", 0))))
    assert '<td class="n hue0 shade6">100,000</td>' in text
    assert '<td class="n hue0 shade1">3</td>' in text
    assert '<td class="n zero hue0">0</td>' in text


def test_touches_count_queries_once_for_each_employee() -> None:
    """A query that names an employee twice counts once; employees beyond the shown ones are summed."""
    crowd = tuple(f"emp-{n:02d}" for n in range(TOP + 2))
    queries = (query(1, (*crowd, "emp-00")), query(2, ("emp-05",)), query(3, ("emp-05",), "bo"), query(4, (), "cy"))
    heads, *rows = Page(render(replace(EMPTY, queries=queries))).table("Queries of each user")
    assert heads[:2] == ["User", "emp-05"]
    assert heads[-1] == "2 others"
    assert [row[:3] for row in rows] == [["ana", "2", "1"], ["bo", "1", "0"]]
    assert [row[-1] for row in rows] == ["2", "0"]


def test_queries_are_listed_newest_first_up_to_a_limit() -> None:
    """The newest queries are listed with what they touched; the caption counts all by outcome."""
    many = [query(n) for n in range(LATEST)]
    denied = query(LATEST, outcome="deny", rows=0, levels=())
    newest = query(LATEST + 1, ("d", "c", "b", "a", "e"), rows=4321)
    rows = Page(render(replace(EMPTY, queries=(*many, newest, denied)))).table(
        "202 queries: 201 allowed, 1 denied, 0 failed"
    )
    assert len(rows) == LATEST + 1
    assert rows[1][0] == "201"
    assert rows[1][6:] == ["allowed", "1, 2", "a, b, c, and 2 more", "5", "4,321"]
    assert rows[2][6:] == ["denied", "none", "none", "0", "0"]


@pytest.mark.parametrize(
    ("audit", "scan", "verdicts"),
    [
        (None, None, ["not checked", "not checked"]),
        (AuditState(1, "r", False), Scan(0, 5, 0), ["signature NOT verified", "not checked"]),
        (AuditState(1, "r", False), Scan(10, 5, 2), ["signature NOT verified", "2 found"]),
        (AuditState(1, "r", False), Scan(10, 0, 0), ["signature NOT verified", "not checked"]),
    ],
)
def test_a_check_that_failed_or_did_not_run_is_never_shown_as_good(
    audit: AuditState | None, scan: Scan | None, verdicts: list[str]
) -> None:
    """A missing, vacuous or failed check has its own words and the colour of a failure."""
    text = render(replace(EMPTY, audit=audit, scan=scan))
    assert re.findall('<span class="badge bad">([^<]*)</span>', text) == verdicts
    assert 'class="badge good"' not in text


def test_checks_that_passed_are_shown_as_good() -> None:
    """A verified signature and a search without a hit are marked as such."""
    text = render(replace(EMPTY, audit=AuditState(1, "r", True), scan=Scan(10, 5, 0)))
    assert re.findall('<span class="badge good">([^<]*)</span>', text) == ["signature verified", "0 found"]


def test_bars_stay_within_their_box() -> None:
    """Parts of a bar never reach beyond the whole, whatever order could, unwrapped and did are in."""
    access = (Access("a", 10, 5, 2), Access("b", 1, 5, 9), Access("c", 0, 0, 0))
    page = Page(render(replace(EMPTY, access=access, months=(Month("2026-01", (3, 3, 3, 1)),))))
    ends = [float(a["x"] or "") + float(a["width"] or "") for tag, a in page.tags if tag == "rect"]
    assert len(ends) == 13
    assert max(ends) <= 100.01


def test_tables_are_accessible() -> None:
    """Every head of a table has a scope, every table a caption, and the page a language and a title."""
    page = Page(render(full()))
    assert {a.get("scope") for tag, a in page.tags if tag == "th"} == {"col", "row"}
    names = Counter(tag for tag, _ in page.tags)
    assert names["table"] == names["caption"] == len(page.tables)
    assert names["title"] == names["h1"] == 1
    assert ("html", {"lang": "en"}) in page.tags


@given(st.integers(1, 10**15))
def test_the_largest_number_has_the_deepest_shade(most: int) -> None:
    """Rounding never pushes the largest number past the last shade, where it would have none."""
    assert "shade6" in heat(most, most, 0)
