"""Context: what is not listed is not collected, what is denied never is, and no lookalike passes for a listed name."""

from __future__ import annotations

import time

import pyarrow as pa
import pytest

from lake.clear.arrow_schema import incoming_schema
from lake.clear.landing.context import REASONS, ContextFilter
from lake.rules import denied
from lake.rules.contexts import app_name, denied_app, denied_host, host_name, is_browser
from lake.rules.contract import parse_contract
from tests.clear.landing.typing_world import START, Site, contract, text_of

TYPING = contract()


def judged(**values: object) -> str:
    """Why a row of a window in front may not land; empty if it may."""
    row = {"employee": "E-1", "ts": START, "type": "focus", "device": "pc-1", **values}
    rows = pa.RecordBatch.from_pylist([row], schema=incoming_schema(TYPING))
    return REASONS[ContextFilter(TYPING).verdicts(rows)[0]]


LISTED = {"app": "Writer"}
BROWSING = {"app": "Firefox", "url": "https://docs.example.com/a", "private": False}


@pytest.mark.parametrize(
    "app", ["Writer", "writer", "WRITER.EXE", r"C:\\Programs\\Writer.exe", "/usr/bin/code", " Code "]
)
def test_listed_programs_pass_however_they_are_written(app: str) -> None:
    """Folder, ending, case and width do not matter."""
    assert judged(app=app) == ""


@pytest.mark.parametrize(
    "app",
    [
        None,
        "",
        " ",
        "Writer 2",
        "xWriter",
        "Wri ter",
        "Wr\u0456ter",
        "W\u200brit\u200ber",
        "Ԝriter",
        "Brave",
        "unheard",
    ],
)
def test_other_programs_do_not(app: str | None) -> None:
    """Unknown, missing, or only looking like a listed one."""
    assert judged(app=app) == "context.unlisted"


@pytest.mark.parametrize(
    ("app", "category"),
    [
        ("KeePassXC.exe", denied.PASSWORDS),
        ("К\u0435\u0435PassXC", denied.PASSWORDS),
        ("com.1password.1password", denied.PASSWORDS),
        ("Signal", denied.PRIVATE),
        ("mstsc.exe", denied.REMOTE),
        ("ＡｎｙＤｅｓｋ", denied.REMOTE),
        ("MoneyMoney.app", denied.BANKING),
    ],
)
def test_denied_programs(app: str, category: str) -> None:
    """By file, bundle id, in full width, with letters of other scripts."""
    assert judged(app=app) == f"context.denied.{category}"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://docs.example.com/a?b#c", ""),
        ("docs.example.com", ""),
        ("https://user@team.DOCS.example.com:8443/", ""),
        ("https://docs.example.com.", ""),
        (None, "context.unlisted"),
        ("", "context.unlisted"),
        ("about:blank", "context.unlisted"),
        ("file:///home/a", "context.unlisted"),
        ("https://example.com/", "context.unlisted"),
        ("https://notdocs.example.com/", "context.unlisted"),
        ("https://docs.example.com.evil.org/", "context.unlisted"),
        ("https://docs.example.com@evil.org/", "context.unlisted"),
        ("https://evil.org/docs.example.com", "context.unlisted"),
        ("https://evil.org#@docs.example.com", "context.unlisted"),
        ("https://d\u043ecs.example.com/", "context.unlisted"),
        ("https://xn--dcs-fed.example.com/", "context.unlisted"),
        ("https://www.paypal.com/", f"context.denied.{denied.BANKING}"),
        ("https://www.p\u0430ypal.com/", f"context.denied.{denied.BANKING}"),
        ("https://xn--pypal-4ve.com/", f"context.denied.{denied.BANKING}"),
        ("https://my.bank/", f"context.denied.{denied.BANKING}"),
        ("https://mail.google.com/mail/u/0", f"context.denied.{denied.PRIVATE}"),
        ("https://www.elster.de/eportal", f"context.denied.{denied.TAX}"),
        ("https://acme.myworkday.com/", f"context.denied.{denied.HR}"),
        ("https://www.igmetall.de/", f"context.denied.{denied.UNION}"),
        ("https://www.doctolib.fr/", f"context.denied.{denied.HEALTH}"),
        ("https://remotedesktop.google.com/", f"context.denied.{denied.REMOTE}"),
    ],
)
def test_sites_of_a_browser(url: str | None, reason: str) -> None:
    """A browser is judged by the site; without one it is not known what it shows."""
    assert judged(**BROWSING | {"url": url}) == reason


@pytest.mark.parametrize(
    ("title", "category"),
    [
        ("New tab - InPrivate - Microsoft Edge", denied.INCOGNITO),
        ("Neuer Tab – Privates Fenster", denied.INCOGNITO),
        ("Navigation privée", denied.INCOGNITO),
        ("Режим инкогнито", denied.INCOGNITO),
        ("シークレット", denied.INCOGNITO),
        ("Überweisung - Online-Banking", denied.BANKING),
        ("ONLINE BANKING", denied.BANKING),
        ("Relevé de compte", denied.BANKING),
        ("0nline b\u0430nk statement", denied.BANKING),
        ("Einkommensteuer 2025.pdf", denied.TAX),
        ("Déclaration de revenus", denied.TAX),
        ("MyChart - Lab results", denied.HEALTH),
        ("Gehaltsabrechnung März", denied.HR),
        ("Union organizing - plan", denied.UNION),
        ("Syndicat CGT", denied.UNION),
        ("WhatsApp", denied.PRIVATE),
        ("Remotedesktopverbindung", denied.REMOTE),
        ("Vault - Bitwarden", denied.PASSWORDS),
    ],
)
def test_words_of_titles(title: str, category: str) -> None:
    """Several languages, with and without accents, in a program that is listed."""
    assert judged(title=title, **LISTED) == f"context.denied.{category}"


@pytest.mark.parametrize(
    "title", ["Riverbank cleanup plan", "taxonomy.py", "Minutes, week 12", "signal processing", None]
)
def test_other_titles_pass(title: str | None) -> None:
    """Words within words are not those words."""
    assert judged(title=title, **LISTED) == ""


def test_private_windows() -> None:
    """The flag denies; a browser that does not say is not believed."""
    assert judged(**BROWSING | {"private": True}) == f"context.denied.{denied.INCOGNITO}"
    assert judged(**BROWSING | {"private": None}) == "context.unlisted"
    assert judged(**LISTED, private=True) == f"context.denied.{denied.INCOGNITO}"


def test_every_entry_of_the_list_denies() -> None:
    """As it is written there."""
    for category, names in denied.APPS.items():
        assert {denied_app(app_name(name)) for name in names} == {category}
    for category, names in denied.SITES.items():
        assert {denied_host(host_name(f"https://{name}/")) for name in names} == {category}
    for category, found in denied.WORDS.items():
        assert {judged(title=f"x - {word} - y", **LISTED) for word in found} == {f"context.denied.{category}"}
    assert all(is_browser(name) for name in denied.BROWSERS)


def test_an_empty_list_collects_nothing() -> None:
    """It is not taken for no list."""
    text = text_of().replace("apps: {Writer: office, Firefox: browser, Code.exe: development}", "apps: {}")
    site = Site(parse_contract(text))
    rows = [{"employee": "E-1", "ts": START, "type": "focus", "app": app} for app in ("Writer", "Code", None, "x")]
    assert site.send(rows) == []
    assert site.dropped == {"context.unlisted": 4}


def test_context_is_quick() -> None:
    """Five million rows in a second on one core, with room for a busy machine."""
    names = ["Writer", "Code.exe", "Signal", "unheard", None]
    titles = [f"Minutes of week {number}" for number in range(500)] + ["Kontoauszug"]
    count = 1_000_000
    row = {"employee": "E-1", "ts": START, "type": "focus"}
    rows = pa.RecordBatch.from_pylist([row], schema=incoming_schema(TYPING)).take(pa.array([0] * count))
    for name, values in (("app", names), ("title", titles)):
        index = rows.schema.get_field_index(name)
        column = pa.array(values).take(pa.array([number % len(values) for number in range(count)]))
        rows = rows.set_column(index, name, column)
    best = 0.0
    for _ in range(3):
        started = time.perf_counter()
        verdicts = ContextFilter(TYPING).verdicts(rows)
        best = max(best, count / (time.perf_counter() - started))
    assert len(set(verdicts.tolist())) == 4
    print(f"{best / 1e6:.1f} M rows/s")
    assert best > 1_000_000
