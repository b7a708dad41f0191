"""What employees are told about a dataset, as data and as plain text; notice_page.py makes it a page.

The same contracts and counts give the same text. Holds words of contracts and counts only.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lake.rules.capture import NO_RULES, Level, Rules
from lake.rules.contract import Contract, EventType, Field, FieldType
from lake.rules.contract_change import compare

WIDTH = 88
SENSITIVITY = {
    1: "ordinary (level 1 of 4)",
    2: "confidential (level 2 of 4)",
    3: "sensitive (level 3 of 4)",
    4: "highly sensitive (level 4 of 4)",
}
CAPTURE = {
    Level.NONE: "Keys are not recorded.",
    Level.COUNTS: "How many keys were pressed is counted; which ones is not recorded.",
    Level.CLASSES: "The kind of each key is recorded, such as letter or digit; which one it was is not.",
    Level.RUNS: "What is typed is recorded as text, after it was filtered.",
    Level.RAW: "Every single key is recorded.",
}
NOT_STORED = {
    "unknown_event_type": "events of kinds that this notice does not describe",
    "unknown_field": "values of fields that this notice does not describe",
    "field_not_of_event": "values of fields that do not belong to their kind of event",
}
ABOVE_CEILING = "above_ceiling"
TAKEN_OUT = (
    "Before anything is stored, every text is searched for card and account numbers, identity and tax numbers.",
    "It is also searched for passwords and other secrets, and for ways to reach a person.",
    "What is found is replaced by a mark that does not show it.",
    "Not everything can be found: names in a sentence, for example, mostly stay.",
)
ASK = "Ask your works council or your company's data protection officer, and name this dataset and version."


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a notice: sentences, then terms with what is said of each, then a list."""

    heading: str
    sentences: tuple[str, ...] = ()
    terms: tuple[tuple[str, tuple[str, ...]], ...] = ()
    items: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Notice:
    """A whole notice."""

    title: str
    about: str
    state: str
    parts: tuple[Part, ...]


def make_notice(
    contract: Contract,
    before: Contract | None,
    *,
    state: str = "in force",
    not_stored: Mapping[str, int] | None = None,
) -> Notice:
    """The notice of one version.

    Args:
        before: the version before it, None for the first.
        state: whether it is in force, as ``lake contract list`` says.
        not_stored: what was sent and not stored, as counts by reason.
    """
    events = tuple((event.name, _event(event, contract.rules)) for event in contract.events.values())
    fields = tuple((field.name, _field(field, contract)) for field in contract.fields.values() if not field.retired)
    kept = tuple(f"What is {SENSITIVITY[level]}: {_days(days)}." for level, days in contract.retention.items())
    parts = [
        Part("What this is", (contract.notice, *_begins(contract))),
        Part("What is recorded", ("These events are recorded, and no others.",), events),
        Part("What is recorded of each event", ("These details are recorded, and no others.",), fields),
        *_filtering(contract.rules),
        *_taken_out(contract),
        Part("What it may be used for", ("It may be used for these purposes only.",), items=contract.purposes),
        Part("How long it is kept", items=kept),
        _changed(before, contract),
        _refused(not_stored or {}),
        Part("Whom to ask", (contract.contact or ASK,)),
    ]
    about = f"Dataset {contract.dataset}, version {contract.version}"
    return Notice(contract.title, about, state, tuple(parts))


def _event(event: EventType, rules: Rules) -> tuple[str, ...]:
    carried = ", ".join(event.fields) or "nothing else"
    told = [event.notice, f"This is {SENSITIVITY[event.sensitivity]}.", f"Recorded with it: {carried}."]
    capture = rules.capture.get(event.name)
    if capture is not None:
        told.append(CAPTURE[capture.level])
        if capture.purpose is not None:
            told.append(f"This is done for one purpose: {capture.purpose}.")
    return tuple(told)


def _field(field: Field, contract: Contract) -> tuple[str, ...]:
    carriers = ", ".join(event.name for event in contract.events.values() if field.name in event.fields)
    told = [field.notice, f"This is {SENSITIVITY[field.sensitivity]}.", f"Recorded with: {carriers}."]
    if field.max_length is not None:
        told.append(f"At most {field.max_length:,} characters.")
    ceiling = contract.rules.ceilings.get(field.name)
    if ceiling is not None:
        told.append(f"If it is found to be more than {SENSITIVITY[ceiling]}, it is not stored.")
    return tuple(told)


def _filtering(rules: Rules) -> list[Part]:
    if rules is NO_RULES:
        return []
    parts = []
    for heading, listed in (("programs", rules.apps), ("sites", rules.sites)):
        if listed or heading[:-1].replace("program", "app").replace("site", "url") in rules.roles:
            said = f"Only in these {heading}, and in no others." if listed else f"No {heading} are recorded."
            items = tuple(f"{name} ({category})" for name, category in sorted(listed.items()))
            parts.append(Part(f"In which {heading} it is recorded", (said,), items=items))
    return parts


def _begins(contract: Contract) -> tuple[str, ...]:
    return () if contract.effective is None else (f"This begins on {contract.effective:%d %B %Y}.",)


def _taken_out(contract: Contract) -> list[Part]:
    if all(field.type is not FieldType.STRING or field.retired for field in contract.fields.values()):
        return []
    return [Part("What is taken out of texts", TAKEN_OUT)]


def _changed(before: Contract | None, contract: Contract) -> Part:
    heading = "What has changed"
    if before is None:
        return Part(heading, ("This is the first version.",))
    changes = compare(before, contract).changes
    if not changes:
        return Part(heading, (f"Nothing that matters to you has changed since version {before.version}.",))
    return Part(heading, (f"Since version {before.version}:",), items=tuple(change.words for change in changes))


def _refused(counts: Mapping[str, int]) -> Part:
    told = [f"{counts[reason]:,} {words}" for reason, words in NOT_STORED.items() if counts.get(reason)]
    above = sum(count for reason, count in counts.items() if reason.startswith(ABOVE_CEILING))
    if above:
        told.append(f"{above:,} values that were more sensitive than this notice says")
    heading = "What was sent and not stored"
    if not told:
        return Part(heading, ("Nothing beyond this notice was sent.",))
    return Part(
        heading, ("This was sent although this notice does not cover it. It was not stored.",), items=tuple(told)
    )


def _days(count: int) -> str:
    return f"{count:,} day{'' if count == 1 else 's'}"


def as_text(notice: Notice) -> str:
    """A notice as plain text."""
    lines = [_wrapped(notice.title), f"{notice.about}: {notice.state}", ""]
    for part in notice.parts:
        lines += [part.heading.upper(), *map(_wrapped, part.sentences)]
        for term, told in part.terms:
            lines += [f"  {_plain(term)}", *_indented(told, "    ")]
        lines += [_wrapped(item, "  - ", "    ") for item in part.items]
        lines.append("")
    return "\n".join(lines).rstrip()


def _indented(sentences: Sequence[str], by: str) -> list[str]:
    return [_wrapped(sentence, by, by) for sentence in sentences]


def _wrapped(text: str, first: str = "", then: str = "") -> str:
    return textwrap.fill(_plain(text), WIDTH, initial_indent=first, subsequent_indent=then)


def _plain(text: str) -> str:
    """Without what a terminal would obey: a contract's words are text and nothing else."""
    return "".join(char if char.isprintable() else " " if char.isspace() else "\ufffd" for char in text)
