"""What a new version of a contract changes: what it collects more of, what less, and what it says in other words.

Deny by default: one person alone may only narrow. Whatever is not certainly narrower needs a second one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from lake.rules.capture import NO_RULES, Capture, Level, Rules
from lake.rules.contract import Contract, EventType, Field


class Direction(StrEnum):
    """``OTHER`` is neither wider nor certainly narrower, such as another sentence for employees."""

    WIDER = "wider"
    NARROWER = "narrower"
    OTHER = "other"


WIDER, NARROWER, OTHER = Direction.WIDER, Direction.NARROWER, Direction.OTHER
LEVELS = tuple(Level)


@dataclass(frozen=True, slots=True)
class Change:
    """One difference: ``what`` kind of thing, of which ``name``, in ``words`` for people."""

    direction: Direction
    what: str
    name: str
    words: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """All differences between two versions. A first version has one, which is wider."""

    changes: tuple[Change, ...]

    def of(self, direction: Direction) -> tuple[Change, ...]:
        """Those of one direction."""
        return tuple(change for change in self.changes if change.direction is direction)

    @property
    def needs_second(self) -> bool:
        """Whether one person alone may not put the new version in force."""
        return any(change.direction is not NARROWER for change in self.changes)


def compare(old: Contract | None, new: Contract) -> Comparison:
    """What ``new`` changes of ``old``; ``old`` is None for the first version."""
    if old is None:
        return Comparison((Change(WIDER, "dataset", new.dataset, f"The dataset {new.dataset!r} is collected."),))
    return Comparison(
        (
            *_words(old, new),
            *_purposes(old, new),
            *_retention(old, new),
            *_events(old, new),
            *_fields(old, new),
            *_rules(old.rules, new.rules),
        )
    )


def _words(old: Contract, new: Contract) -> Iterator[Change]:
    for name in ("title", "notice"):
        if getattr(old, name) != getattr(new, name):
            yield Change(OTHER, "wording", name, f"The {name} says something else.")
    if old.contact != new.contact:
        yield Change(OTHER, "wording", "contact", "Somebody else is to be asked.")


def _purposes(old: Contract, new: Contract) -> Iterator[Change]:
    for name in new.purposes:
        if name not in old.purposes:
            yield Change(WIDER, "purpose", name, f"It may also be used for {name!r}.")
    for name in old.purposes:
        if name not in new.purposes:
            yield Change(NARROWER, "purpose", name, f"It may no longer be used for {name!r}.")


def _retention(old: Contract, new: Contract) -> Iterator[Change]:
    for level, days in new.retention.items():
        before = old.retention[level]
        if days != before:
            direction, how = (WIDER, "longer") if days > before else (NARROWER, "shorter")
            words = f"Sensitivity {level} is kept {how}: {_days(days)} instead of {before}."
            yield Change(direction, "retention", str(level), words)


def _days(count: int) -> str:
    return f"{count} day{'' if count == 1 else 's'}"


def _events(old: Contract, new: Contract) -> Iterator[Change]:
    for name, event in new.events.items():
        if name in old.events:
            yield from _event(old.events[name], event)
        else:
            yield Change(WIDER, "event", name, f"The event type {name!r} is collected, with {_list(event.fields)}.")
    for name in old.events:
        if name not in new.events:
            yield Change(NARROWER, "event", name, f"The event type {name!r} is no longer collected.")


def _event(old: EventType, new: EventType) -> Iterator[Change]:
    name = new.name
    for field in new.fields:
        if field not in old.fields:
            yield Change(WIDER, "carries", f"{name}.{field}", f"The event type {name!r} also carries {field!r}.")
        elif field in new.required - old.required:
            yield Change(WIDER, "required", f"{name}.{field}", f"The event type {name!r} must now carry {field!r}.")
        elif field in old.required - new.required:
            yield Change(NARROWER, "required", f"{name}.{field}", f"The event type {name!r} need not carry {field!r}.")
    for field in old.fields:
        if field not in new.fields:
            words = f"The event type {name!r} no longer carries {field!r}."
            yield Change(NARROWER, "carries", f"{name}.{field}", words)
    yield from _rating("event type", old, new)


def _fields(old: Contract, new: Contract) -> Iterator[Change]:
    for name, field in new.fields.items():
        before = old.fields.get(name)
        if before is None:
            what = "is known, and retired" if field.retired else "is collected"
            yield Change(OTHER if field.retired else WIDER, "field", name, f"The field {name!r} {what}.")
            continue
        if before.retired and not field.retired:
            yield Change(WIDER, "field", name, f"The field {name!r} is collected again.")
        elif field.retired and not before.retired:
            yield Change(NARROWER, "field", name, f"The field {name!r} is no longer collected.")
        if before.type is not field.type:
            words = f"The field {name!r} is {field.type.value} instead of {before.type.value}."
            yield Change(OTHER, "type", name, words)
        yield from _rating("field", before, field)
        yield from _limit(name, "max_length", before.max_length, field.max_length)
        yield from _limit(name, "maximum", before.maximum, field.maximum)
        yield from _limit(name, "minimum", before.minimum, field.minimum)
    for name in old.fields:
        if name not in new.fields:
            yield Change(NARROWER, "field", name, f"The field {name!r} is gone.")


def _rating(kind: str, old: Field | EventType, new: Field | EventType) -> Iterator[Change]:
    if old.sensitivity != new.sensitivity:
        rises = new.sensitivity > old.sensitivity
        words = f"The {kind} {new.name!r} has sensitivity {new.sensitivity} instead of {old.sensitivity}."
        yield Change(NARROWER if rises else WIDER, "sensitivity", new.name, words)
    if old.notice != new.notice:
        words = f"Employees are told something else about the {kind} {new.name!r}."
        yield Change(OTHER, "wording", new.name, words)


def _limit(name: str, key: str, old: float | None, new: float | None) -> Iterator[Change]:
    """A bound of a field; none is the widest."""
    if old == new:
        return
    wider = new is None or (old is not None and (new < old if key == "minimum" else new > old))
    after, before = ("none" if bound is None else f"{bound:,.15g}" for bound in (new, old))
    words = f"The {key.replace('max_', 'maximum ')} of {name!r} is {after} instead of {before}."
    yield Change(WIDER if wider else NARROWER, key, name, words)


def _rules(old: Rules, new: Rules) -> Iterator[Change]:
    if old == new:
        return
    if old is NO_RULES:
        yield Change(NARROWER, "filter", "filter", "What is collected is filtered.")
        return
    if new is NO_RULES:
        yield Change(WIDER, "filter", "filter", "What is collected is no longer filtered.")
        return
    if old.roles != new.roles:
        # A field that the filter no longer knows as what it is passes unfiltered.
        yield Change(WIDER, "filter", "fields", "The filter takes other fields for programs, sites, keys or texts.")
    for event in sorted({*old.capture, *new.capture}):
        yield from _capture(event, old.capture.get(event), new.capture.get(event))
    for kind in ("apps", "sites"):
        before, after = getattr(old, kind), getattr(new, kind)
        for name in sorted({*before, *after}):
            if name not in before:
                yield Change(WIDER, kind, name, f"The {kind[:-1]} {name!r} is collected.")
            elif name not in after:
                yield Change(NARROWER, kind, name, f"The {kind[:-1]} {name!r} is no longer collected.")
            elif before[name] != after[name]:
                words = f"The {kind[:-1]} {name!r} counts as {after[name]!r} instead of {before[name]!r}."
                yield Change(OTHER, kind, name, words)
    for name in sorted({*old.ceilings, *new.ceilings}):
        yield from _ceiling(name, old.ceilings.get(name), new.ceilings.get(name))


def _capture(event: str, old: Capture | None, new: Capture | None) -> Iterator[Change]:
    before = old.level if old else Level.NONE
    after = new.level if new else Level.NONE
    if before is not after:
        wider = LEVELS.index(after) > LEVELS.index(before)
        words = f"Keys of {event!r} are captured as {after.value} instead of {before.value}."
        yield Change(WIDER if wider else NARROWER, "capture", event, words)
    if old is None or new is None or (old.into, old.outputs, old.purpose) != (new.into, new.outputs, new.purpose):
        words = f"What is made of the keys of {event!r} goes elsewhere, or is for something else."
        yield Change(OTHER, "capture", event, words)


def _ceiling(name: str, old: int | None, new: int | None) -> Iterator[Change]:
    if old == new:
        return
    wider = new is None or (old is not None and new > old)
    told = "has no ceiling" if new is None else f"is dropped above sensitivity {new}"
    before = "" if old is None else f" instead of {old}"
    yield Change(WIDER if wider else NARROWER, "ceiling", name, f"The field {name!r} {told}{before}.")


def _list(names: tuple[str, ...]) -> str:
    return ", ".join(repr(name) for name in names) or "no fields"
