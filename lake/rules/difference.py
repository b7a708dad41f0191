"""Two policies held against each other: who gains and who loses, by asker, dataset and purpose."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lake.rules.askers import DOOR, Asker, Decisions, askers
from lake.rules.comparison import Change, Effect, compare
from lake.rules.policy import Grant, Policy


@dataclass(frozen=True, slots=True)
class Difference:
    """What changes for one asker, dataset and purpose; ``old`` or ``new`` is None where there is no grant."""

    asker: Asker
    dataset: str
    purpose: str
    old: Grant | None
    new: Grant | None
    changes: tuple[Change, ...]

    @property
    def effect(self) -> str:
        """gains, loses, widened, narrowed, or changed where both or neither can be said."""
        if self.old is None or self.new is None:
            return "gains" if self.old is None else "loses"
        effects = {change.effect for change in self.changes}
        return effects.pop().value if len(effects) == 1 else Effect.CHANGED.value

    @property
    def role(self) -> str:
        """The role, or both."""
        names = dict.fromkeys(grant.role for grant in (self.old, self.new) if grant is not None)
        return " -> ".join(names)

    def widens(self) -> bool:
        """Whether something became wider, or may have: what cannot be judged counts."""
        return any(change.effect is not Effect.NARROWED for change in self.changes)


def difference(old: Policy, new: Policy) -> list[Difference]:
    """Every difference. An asker whose claims make none is told of once, without them."""
    found: list[Difference] = []
    for asker in askers([old, new]):
        own = list(_of(asker, asker.decisions(old), asker.decisions(new), _door_changes(asker, old, new)))
        if asker.employee is None and asker.team is None:
            base = own
        told = {(one.dataset, one.purpose, one.role, one.changes) for one in base} if own is not base else set()
        found += [one for one in own if (one.dataset, one.purpose, one.role, one.changes) not in told]
    return found


def _door_changes(asker: Asker, old: Policy, new: Policy) -> list[Change]:
    """How a door opens otherwise, for who asks behind it under both policies."""
    if asker.kind != DOOR or asker.principal(old) is None or asker.principal(new) is None:
        return []
    before, after = old.break_glass[asker.name], new.break_glass[asker.name]
    found: list[Change] = []
    if before.at_most != after.at_most:
        effect = Effect.WIDENED if after.at_most > before.at_most else Effect.NARROWED
        found.append(Change("at most", effect, str(before.at_most), str(after.at_most)))
    came, went = after.approve - before.approve - {asker.user}, before.approve - after.approve - {asker.user}
    if came or went:
        effect = Effect.CHANGED if came and went else Effect.WIDENED if came else Effect.NARROWED
        names = (", ".join(sorted(door.approve)) for door in (before, after))
        found.append(Change("who approves", effect, *names))
    return found


def _of(asker: Asker, old: Decisions, new: Decisions, door: list[Change]) -> Iterator[Difference]:
    for dataset, purpose in sorted({key[:2] for key in (*old, *new)}):
        before, after = _by_role(old, dataset, purpose), _by_role(new, dataset, purpose)
        for left, right in _pairs(before, after):
            changes = compare(left, right)
            if left is not None and right is not None and left.role != right.role:
                changes.append(Change("role", Effect.CHANGED, left.role, right.role))
            changes += door if left is not None and right is not None else []
            if changes:
                yield Difference(asker, dataset, purpose, left, right, tuple(changes))


def _by_role(decisions: Decisions, dataset: str, purpose: str) -> dict[str, Grant]:
    return {
        role: grant for (other, what_for, role), grant in decisions.items() if (other, what_for) == (dataset, purpose)
    }


def _pairs(old: dict[str, Grant], new: dict[str, Grant]) -> Iterator[tuple[Grant | None, Grant | None]]:
    """Grants of the same role, then equal ones of two roles, then what has no counterpart."""
    for role in sorted(old.keys() & new.keys()):
        yield old[role], new[role]
    came = {role: new[role] for role in sorted(new.keys() - old.keys())}
    for role in sorted(old.keys() - new.keys()):
        moved = next((other for other, grant in came.items() if not compare(old[role], grant)), None)
        yield old[role], None if moved is None else came.pop(moved)
    yield from ((None, grant) for grant in came.values())
