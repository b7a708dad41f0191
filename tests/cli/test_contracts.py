"""``lake contract``: two people, a comparison, and the notice that employees see."""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from lake.cli import contracts
from lake.cli.main import build_parser
from lake.cli.notice import as_text, make_notice
from lake.cli.notice_page import as_page
from lake.errors import LakeError
from lake.rules.contract import parse_contract
from tests.clear.landing.typing_world import contract as typing_contract
from tests.cli.conftest import Ran, Shell
from tests.leak_scanner import scan
from tests.world import CONTRACT, MOODS, ROOT

Write = Callable[[str, str], str]
REASON = "agreed with the council, ticket 4711"
SECOND = CONTRACT.replace("version: 1", "version: 2")
WIDER = SECOND.replace("max_length: 80, notice: A title", "max_length: 81, notice: A title")
NARROWER = SECOND.replace("max_length: 80, notice: A title", "max_length: 79, notice: A title")


def as_person(shell: Shell, by: str, *words: str) -> Ran:
    """A command as somebody else would give it."""
    arguments = build_parser(extended=False).parse_args(["contract", *words, "--json", *shell.place()])
    shell.capture.readouterr()
    try:
        code, error = getattr(contracts, words[0])(arguments, by), ""
    except LakeError as raised:
        code, error = raised.exit_code, raised.message
    return Ran(code, shell.capture.readouterr().out, error)


def test_from_proposal_to_withdrawal(shell: Shell, write: Write) -> None:
    """Each command says what holds then."""
    path = write("c.yaml", WIDER)
    ran = shell("dataset", "add", path)
    assert (ran.code, "lake contract propose" in ran.err) == (3, True)
    ran = shell("contract", "propose", path, "--json")
    assert (ran.code, ran.document["state"], ran.document["version"]) == (0, "waiting", 2)
    assert ran.document["changes"] == ["The maximum length of 'title' is 81 instead of 80."]
    name = ran.document["id"]
    assert "a second person has to approve this" in shell("contract", "propose", path).out
    assert shell("contract", "approve", name).code == 3
    ran = as_person(shell, "second", "approve", name)
    assert (ran.code, ran.document["state"], ran.document["approved_by"]) == (0, "in force", "second")
    assert shell("contract", "show", "events", "--json").document["version"] == 2
    ran = shell("contract", "withdraw", "events", "2", "--reason", REASON)
    assert (ran.code, "the newest in force is now 1" in ran.out) == (0, True)
    states = {(row["version"], row["state"]) for row in shell("contract", "list", "--json").document}
    assert {(1, "in force"), (2, "withdrawn")} <= states
    assert "withdrawn" in shell("contract", "list").out
    assert shell("contract", "show", "events", "--json").document["version"] == 1
    assert shell("contract", "show", "events", "--version", "9").code == 2
    assert shell("contract", "withdraw", "events", "9", "--reason", REASON).code == 2


def test_one_person_narrows_and_rejects(shell: Shell, write: Write) -> None:
    """A narrower version is in force at once; a rejected one is over."""
    name = shell("contract", "propose", write("w.yaml", WIDER), "--json").document["id"]
    assert shell("contract", "reject", name, "--reason", REASON, "--json").document["state"] == "rejected"
    assert as_person(shell, "second", "approve", name).code == 2
    ran = shell("contract", "propose", write("n.yaml", NARROWER), "--json")
    assert (ran.document["state"], ran.document["alone"]) == ("in force", "narrower")


def test_the_environment_does_not_say_who_it_is(shell: Shell, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """LOGNAME makes no second person."""
    name = shell("contract", "propose", write("w.yaml", WIDER), "--json").document["id"]
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(variable, "somebody-else")
    assert shell("contract", "approve", name).code == 3
    own = pwd.getpwuid(os.getuid()).pw_name
    assert {row["proposed_by"] for row in shell("contract", "list", "--json").document} <= {own, "second"}


def test_a_new_lake_takes_no_contract_from_one_person(shell: Shell, write: Write, tmp_path: Path) -> None:
    """``lake init`` is strict unless told otherwise."""
    place = ["--lake", str(tmp_path / "new"), "--key-file", str(tmp_path / "new.key")]
    assert shell.bare("init", *place).code == 0
    path = write("m.yaml", MOODS)
    assert shell.bare("dataset", "add", path, *place).code == 3
    assert shell.bare("contract", "propose", path, "--json", *place).document["state"] == "waiting"
    assert shell.bare("contract", "show", "moods", *place).code == 1


def test_a_diff_names_what_is_wider(shell: Shell, write: Write) -> None:
    """As data and in words; the exit code says whether two are needed."""
    old, wider, narrower = write("o.yaml", CONTRACT), write("w.yaml", WIDER), write("n.yaml", NARROWER)
    ran = shell.bare("contract", "diff", old, wider, "--json")
    assert (ran.code, ran.document["needs_second"]) == (1, True)
    assert [(row["direction"], row["what"], row["name"]) for row in ran.document["changes"]] == [
        ("wider", "max_length", "title")
    ]
    ran = shell.bare("contract", "diff", old, narrower)
    assert (ran.code, "one person" in ran.out) == (0, True)
    assert shell.bare("contract", "diff", old, old).code == 2


def test_what_was_sent_and_not_stored_is_on_the_notice(shell: Shell, write: Write) -> None:
    """A transcript that no contract names: a breach in the log within that batch, a count for employees, no value."""
    rows = [
        {"employee": "E-1", "ts": "2026-09-01T10:00:00Z", "type": "focus", "app": "Editor-QX", "transcript": text}
        for text in ("transcript-canary-1", "transcript-canary-2")
    ]
    rows.append({"employee": "E-1", "ts": "2026-09-01T10:00:01Z", "type": "screenshot", "app": "Editor-QX"})
    path = write("b.ndjson", "".join(json.dumps(row) + "\n" for row in rows))
    ran = shell("ingest", path, "--dataset", "events", "--json")
    assert ran.code == 0, ran.err
    (breach,) = shell.world.entries("contract.breach")
    assert breach["breaches"] == {"unknown_event_type": 1, "unknown_field": 2}
    (batch,) = {entry["batch"] for entry in shell.world.entries("ingest.batch") if entry["batch"] == breach["batch"]}
    assert batch
    for form in ((), ("--html",)):
        text = shell("contract", "show", "events", "--notice", *form).out
        assert "1 events of kinds that this notice does not describe" in text
        assert "2 values of fields that this notice does not describe" in text
        assert "transcript" not in text
    assert scan([shell.world.root], [b"transcript"]) == []


class Tags(HTMLParser):
    """Elements, attributes and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element."""
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        """Text."""
        self.texts.append(data)


HOSTILE = "<script>alert(1)</script> & \"'><img src=x onerror=alert(2)> \\u202eabc \\u001b[31m"


def test_hostile_words_stay_words() -> None:
    """Every sentence of a contract is escaped on the page, and orders a terminal nothing."""
    text = MOODS.replace("title: Moods", f"title: {json.dumps(HOSTILE).replace(chr(92) * 2, chr(92))}")
    text = text.replace("notice: Made up for tests.", f"notice: {json.dumps(HOSTILE).replace(chr(92) * 2, chr(92))}")
    notice = make_notice(parse_contract(text), None)
    page = as_page(notice)
    found = Tags(page)
    assert not {"script", "img", "link", "iframe", "a"} & set(found.tags)
    assert not [name for name, _ in found.attributes if name.startswith("on") or name in {"src", "href"}]
    assert "<script>alert(1)</script>" in "".join(found.texts)
    assert not {"\u202e", "\x1b"} & set(page)
    assert not {"\u202e", "\x1b"} & set(as_text(notice))


def test_a_notice_is_accessible_and_says_everything() -> None:
    """A language, a title, one h1, sections with headings; every event, field, purpose and period; no retired field."""
    contract = parse_contract((ROOT / "examples" / "contracts" / "desktop.yaml").read_text("utf-8"))
    notice = make_notice(contract, None)
    page, text = as_page(notice), as_text(notice)
    assert page == as_page(make_notice(contract, None))
    found = Tags(page)
    assert found.tags.count("h1") == found.tags.count("title") == found.tags.count("main") == 1
    assert ("lang", "en") in found.attributes
    headings = {value for name, value in found.attributes if name == "id"}
    assert {value for name, value in found.attributes if name == "aria-labelledby"} == headings
    said = " ".join(found.texts)
    for words in (*contract.events, *contract.purposes, *(f.name for f in contract.fields.values() if not f.retired)):
        assert words in said
        assert words in text
    for event in contract.events.values():
        assert event.notice in said
    assert all(f"{days:,} days" in said for days in contract.retention.values())
    assert all(len(line) <= 88 for line in text.splitlines() if " " in line.strip())


@pytest.mark.parametrize(
    ("level", "words"),
    [("counts", "which ones is not recorded"), ("runs", "recorded as text"), ("raw", "Every single key")],
)
def test_a_notice_says_how_closely_keys_are_captured(level: str, words: str) -> None:
    """In words, with the purpose, the programs and the sites."""
    text = " ".join(as_text(make_notice(typing_contract(level), None)).split())
    assert words in text
    assert "writer (office)" in text
    assert "docs.example.com (office)" in text


def test_a_notice_says_what_has_changed() -> None:
    """Since the version before."""
    text = as_text(make_notice(parse_contract(WIDER), parse_contract(CONTRACT)))
    assert "The maximum length of 'title' is 81 instead of 80." in text
    assert "This is the first version." in as_text(make_notice(parse_contract(CONTRACT), None))


def test_html_is_for_the_notice(shell: Shell) -> None:
    """And the whole contract is shown as it was approved, with the lake's signature."""
    assert shell("contract", "show", "events", "--html").code == 2
    document = shell("contract", "show", "events", "--json").document
    assert document["text"] == CONTRACT
    assert document["digest"] in document["signature"]
    assert document["verifier_key"].startswith("telemetry-lake/")
