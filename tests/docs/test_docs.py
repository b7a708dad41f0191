"""The documents, held against the code: commands parse, links resolve, examples are valid. Nothing is executed."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lake.clear.landing.readers.source import parse_mapping
from lake.clear.sandbox import guard, syntax
from lake.cli.main import build_parser
from lake.errors import LakeError
from lake.rules.contract import Contract, parse_contract
from lake.rules.expectations import check_expectations, parse_expectations
from lake.rules.model import EMPLOYEE_COLUMN
from lake.rules.policy_document import parse_policy

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
_FENCE = re.compile(r"^ *```(?P<tag>[^\n]*)\n(?P<text>.*?)^ *```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")
_INLINE = re.compile(r"`(lake [a-z][^`]*)`")
_SHELL = frozenset({"", "sh", "bash", "shell", "console"})
_ASSIGNMENTS = re.compile(r"^(\$ )?([A-Z_]+=\S* )*(?=lake )")


@dataclass(frozen=True, slots=True)
class Snippet:
    """A fenced block of a page."""

    page: Path
    tag: str
    text: str

    def __str__(self) -> str:
        """Names the test."""
        return f"{self.page.name}: {self.text.strip().splitlines()[0][:40]}"


def _snippets() -> Iterator[Snippet]:
    for page in PAGES:
        for match in _FENCE.finditer(page.read_text("utf-8")):
            if match["text"].strip():
                yield Snippet(page, match["tag"].strip(), match["text"])


SNIPPETS = list(_snippets())


def _tagged(tag: str) -> list[Snippet]:
    return [snippet for snippet in SNIPPETS if snippet.tag == tag]


def _commands() -> Iterator[tuple[str, list[str]]]:
    """Every ``lake ...`` line of a shell block, cut at a pipe or a redirection."""
    for snippet in SNIPPETS:
        if snippet.tag not in _SHELL:
            continue
        for line in snippet.text.replace("\\\n", " ").splitlines():
            if (start := _ASSIGNMENTS.match(line.strip())) is None:
                continue
            words = shlex.split(line.strip()[start.end() :], comments=True)
            end = next((at for at, word in enumerate(words) if word in {"|", ">", "<", "&&", ";", "||"}), None)
            yield f"{snippet.page.name}: {line.strip()}", words[1:end]


COMMANDS = list(_commands())


def _leaves(parser: argparse.ArgumentParser, name: str = "lake") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every command that does something, with its full name."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not groups:
        yield name, parser
    for group in groups:
        for word, child in group.choices.items():
            yield from _leaves(child, f"{name} {word}")


LEAVES = dict(_leaves(build_parser()))


def test_there_is_something_to_check() -> None:
    """Pages, commands and every kind of tagged example are found at all."""
    assert {"concepts.md", "formats.md", "threat-model.md", "SECURITY.md"} <= {page.name for page in PAGES}
    assert len(COMMANDS) > 20
    for tag in ("yaml contract", "yaml policy", "yaml mapping", "yaml expectations", "sql", "sql refused"):
        assert _tagged(tag), tag


@pytest.mark.parametrize(("line", "words"), COMMANDS, ids=[line for line, _ in COMMANDS])
def test_a_command_line_in_a_page_parses(line: str, words: list[str]) -> None:
    """What a page tells the reader to type is accepted by the command line's parser."""
    assert callable(build_parser().parse_args(words).run), line


@pytest.mark.parametrize("name", LEAVES)
def test_a_command_has_an_example_and_is_documented(name: str) -> None:
    """Every command shows an example of itself that parses, and is mentioned in a page."""
    parser = LEAVES[name]
    example = re.search(rf"^ *({re.escape(name)}\b.*)$", parser.format_help().partition("example:")[2], re.MULTILINE)
    assert example, f"{name} --help has no example"
    assert callable(build_parser().parse_args(shlex.split(example[1])[1:]).run)
    assert any(name in page.read_text("utf-8") for page in PAGES), f"{name} is in no page"


def test_commands_named_in_text_exist() -> None:
    """A command between backticks in running text is one, or a group of some."""
    known = {tuple(name.split()[:length]) for name in LEAVES for length in range(1, len(name.split()) + 1)}
    wrong = []
    for page in PAGES:
        for match in _INLINE.finditer(_FENCE.sub("", page.read_text("utf-8"))):
            words = tuple(word for word in match[1].split() if re.fullmatch(r"[a-z][a-z-]*", word))
            if not any(words[:length] in known for length in (2, 3)) or words[:2] not in known:
                wrong.append(f"{page.name}: {match[1]}")
    assert not wrong


def _anchors(page: Path) -> set[str]:
    """Anchors of headings, as they are made on the web pages of Git hosts."""
    headings = re.findall(r"^#+ +(.+)$", _FENCE.sub("", page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_resolve(page: Path) -> None:
    """A link within the project leads to a file, and its fragment to a heading of that file."""
    broken = []
    for match in _LINK.finditer(_FENCE.sub("", page.read_text("utf-8"))):
        target = match["target"]
        if re.match(r"[a-z]+:", target):
            continue
        path, _, fragment = target.partition("#")
        place = (page.parent / path).resolve() if path else page
        if not place.exists() or (fragment and place.suffix == ".md" and fragment not in _anchors(place)):
            broken.append(target)
    assert not broken


@pytest.fixture(scope="module", name="contracts")
def _contracts() -> dict[str, Contract]:
    """Contracts of the examples and of the pages."""
    texts = [path.read_text("utf-8") for path in sorted((ROOT / "examples" / "contracts").glob("*.yaml"))]
    parsed = [parse_contract(text) for text in [*texts, *(snippet.text for snippet in _tagged("yaml contract"))]]
    return {contract.dataset: contract for contract in parsed}


def test_documents_in_pages_are_valid(contracts: dict[str, Contract]) -> None:
    """Contracts, mappings and policies shown in pages load, and the expectations hold for the policy beside them."""
    for snippet in _tagged("yaml mapping"):
        assert parse_mapping(snippet.text, str(snippet)).columns
    policies = {snippet.page: parse_policy(snippet.text, contracts, str(snippet)) for snippet in _tagged("yaml policy")}
    for snippet in _tagged("yaml expectations"):
        outcomes = check_expectations(parse_expectations(snippet.text, str(snippet), contracts), policies[snippet.page])
        assert [outcome.complaint for outcome in outcomes if outcome.complaint] == []


def _tables(contracts: dict[str, Contract]) -> dict[str, list[str]]:
    common = ["sensitivity", EMPLOYEE_COLUMN, "ts", "type"]
    return {name: [*common, *contract.columns()] for name, contract in contracts.items()}


@pytest.mark.parametrize("snippet", _tagged("sql"), ids=str)
def test_sql_in_pages_is_admitted(snippet: Snippet, contracts: dict[str, Contract]) -> None:
    """A query that a page shows as possible passes the guard."""
    assert guard.admit(syntax.parse(snippet.text), _tables(contracts)).tables


@pytest.mark.parametrize("snippet", _tagged("sql refused"), ids=str)
def test_sql_that_pages_call_refused_is_refused(snippet: Snippet, contracts: dict[str, Contract]) -> None:
    """A query that a page shows as refused does not pass the guard."""
    with pytest.raises(LakeError):
        guard.admit(syntax.parse(snippet.text), _tables(contracts))


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md")), ids=lambda page: page.stem)
def test_a_decision_has_the_templates_parts(page: Path) -> None:
    """Every decision record carries its number and the headings of the template, in order."""
    template = (ROOT / "docs" / "decisions" / "0000-template.md").read_text("utf-8")
    text = page.read_text("utf-8")
    headings = r"^## .+$"
    assert re.findall(headings, text, re.MULTILINE) == re.findall(headings, template, re.MULTILINE)
    assert text.startswith(f"# {page.stem[:4]}: ")
