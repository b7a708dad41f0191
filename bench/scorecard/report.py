"""The scorecard as a page, and what would make it worse than the last one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Card = Mapping[str, Any]


def worse(before: Card, now: Card) -> list[str]:
    """Where ``now`` finds less, leaks more or flags more than ``before``; what either did not measure is left out."""
    found = []
    for name, old in before["sets"].items():
        labels = now["sets"].get(name, {}).get("labels", {})
        for label, score in old["labels"].items():
            if label in labels and labels[label]["found"] < score["found"]:
                found.append(
                    f"{name}: {label} {labels[label]['found']} of {score['total']} found, before {score['found']}"
                )
    for part, count in (("typed", "leaked"), ("forms", "landed")):
        for name, old in before[part].items():
            score = now[part].get(name, old)
            if score[count] > old[count]:
                found.append(f"{part}: {name} {score[count]} of {score['total']} {count}, before {old[count]}")
    old, new = before["harmless"], now["harmless"]
    if _share(new) > _share(old) + 0.005:
        found.append(
            f"harmless: {new['flagged']} of {new['lines']} lines flagged, before {old['flagged']} of {old['lines']}"
        )
    if new.get("labelled_free", {}).get("flagged", 0) > old.get("labelled_free", {}).get("flagged", 0):
        found.append("harmless: texts that are labelled as free of personal data are flagged")
    return found


def _share(score: Mapping[str, int]) -> float:
    return score["flagged"] / score["lines"]


def page(card: Card) -> str:
    """docs/scorecard.md."""
    return "\n".join(_lines(card)) + "\n"


def _lines(card: Card) -> Iterator[str]:
    yield from ("# Filter scorecard", "")
    yield "What the [content filter](filter.md) finds and misses. Written by `make scorecard` from [scorecard.json](../scorecard.json); do not edit."
    yield ""
    yield f"Rules `{card['rules'][:16]}`. A labelled value is *found* if at least 60 % of it is masked, under whatever category."
    for name, score in card["sets"].items():
        yield from ("", f"## {name}", "", f"{score['texts']} texts; {score['origin']}.", "")
        yield from ("| label | values | found | share | found as |", "|---|---|---|---|---|")
        for label, one in score["labels"].items():
            kinds = ", ".join(f"{kind} {count}" for kind, count in one["as"].items())
            yield f"| {label} | {one['total']} | {one['found']} | {_percent(one['found'], one['total'])} | {kinds} |"
        yield from ("", "| category | finds | beside every label |", "|---|---|---|")
        for kind, one in score["finds"].items():
            yield f"| {kind} | {one['finds']} | {one['beside_labels']} |"
    yield from _typing(card)
    yield from _harmless(card["harmless"])
    speed = card["speed"]
    yield from ("", "## Speed", "")
    yield f"{speed['texts_per_second_and_core']:,} texts per second and core, {speed['characters_a_text']} characters a text, {speed['dirty']:.0%} of them with a find, on the machine that wrote this page."
    yield from _weak()


def _typing(card: Card) -> Iterator[str]:
    if card["typed"]:
        yield from ("", "## Typed key by key", "")
        yield "Values typed within real writing (mulasik/wta), in its rhythm, with a wrong key taken back, cut into three uploads."
        yield from ("", "| category | typed | landed unmasked | landed as its token |", "|---|---|---|---|")
        for kind, one in card["typed"].items():
            yield f"| {kind} | {one['total']} | {one['leaked']} | {one['masked']} |"
    if card["forms"]:
        yield from ("", "## Entries of people in password fields", "")
        yield "Real entries (stanfordnlp/miniwob-plusplus-demos), by what the collector says the field is. One that says `text` of a password field is believed: then only a password that looks like one is found."
        yield from ("", "| field kind | entries | landed |", "|---|---|---|")
        for kind, one in card["forms"].items():
            yield f"| {kind} | {one['total']} | {one['landed']} |"


def _harmless(score: Mapping[str, Any]) -> Iterator[str]:
    yield from ("", "## Harmless texts", "")
    kinds = ", ".join(f"{kind} {count}" for kind, count in score["as"].items()) or "nothing"
    yield f"{score['flagged']} of {score['lines']} lines of this project's prose and code ({_percent(score['flagged'], score['lines'])}) have something masked: {kinds}. Examples in the documentation are among them."
    if "labelled_free" in score:
        free = score["labelled_free"]
        yield ""
        yield f"Of {free['texts']} texts that `business_leaks` labels as free of personal data, {free['flagged']}."


def _weak() -> Iterator[str]:
    yield from ("", "## Where it is weak", "")
    yield "- Names, towns, organisations, nationalities, ages and dates in running text: found only behind words such as *Mrs.* or *my name is*. That takes a model of language, which is not there."
    yield "- Addresses without a word for street, and their later lines."
    yield "- Passwords of which nothing says that they are: plain words, in fields that the collector calls text."
    yield "- What is written otherwise: base64, spelled-out digits, pictures."
    yield "- Health, belief, union and sexuality in free prose: a few phrases of each, in few languages. Keep such places out by their [context](filter.md#context)."


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "-"
