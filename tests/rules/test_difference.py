"""Who gains and who loses: nothing from a policy to itself, the mirror image backwards, each part judged rightly."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake.errors import DeniedError
from lake.rules.askers import STRANGER, Asker, askers
from lake.rules.comparison import Effect, compare
from lake.rules.contract import FieldType, parse_contract
from lake.rules.difference import Difference, difference
from lake.rules.document import read_document
from lake.rules.mask_order import shows_no_more
from lake.rules.masks import Mask, parse_mask
from lake.rules.model import Identity
from lake.rules.people import People
from lake.rules.policy import Grant, Policy, decide
from lake.rules.policy_document import parse_policy
from tests.world import ADA, BEN, CONTRACT, MOODS, POLICY

CONTRACTS = {c.dataset: c for c in (parse_contract(CONTRACT, "events"), parse_contract(MOODS, "moods"))}

SCOPES = ["all", "self", "team", "consented", "{cohort: two}", f"{{list: [{ADA}]}}"]
OPTIONS = [
    "",
    "employee_id: real",
    "employee_id: pseudonym",
    "masks: {title: {truncate: 3}}",
    "masks: {title: pseudonym, n: {round: 10}}",
    "columns: [app, title]",
    "except: [app, n]",
    "row_filter: n > 3",
    "row_filter: n > 4",
    "window: {last: 90d}",
    "window: {from: 2026-01-01, to: 2026-02-01}",
    "limits: {rows: 10, concurrent: 2}",
    "smallest_group: 2",
]
DENIES = [
    "{dataset: events, employees: self}",
    "{dataset: events, employees: team, sensitivity: 2}",
    f"{{dataset: events, employees: {{list: [{BEN}]}}}}",
    "{dataset: events, columns: [title, employee]}",
    "{dataset: events, purposes: [study], sensitivity: 3}",
    "{dataset: events, purposes: [incident]}",
]
DOORS = [f"approve: [{who}], at_most: {hours}h" for who in ("olga", "u2", "olga, u2") for hours in (1, 2)]
NAMES = ["a", "b"]


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Small policies that use everything."""
    roles = []
    for name in NAMES:
        level, scope, option = (draw(st.sampled_from(some)) for some in ((2, 3, 4), SCOPES, OPTIONS))
        if "smallest" in option and (scope == "self" or "list" in scope):
            option = ""
        denies = draw(st.lists(st.sampled_from(DENIES), max_size=2))
        purposes = draw(st.sampled_from(["study", "study, incident"]))
        more = f", {option}" if option else ""
        grant = f"{{dataset: events, purposes: [{purposes}], sensitivity: {level}, employees: {scope}{more}}}"
        roles.append(f"  {name}: {{grants: [{grant}], deny: [{', '.join(denies)}]}}")
    held = st.lists(st.sampled_from(NAMES), unique=True)
    users = [
        f"  u{n}: {{roles: [{', '.join(draw(held))}]{draw(st.sampled_from(['', f', employee: {ADA}']))}}}"
        for n in (1, 2)
    ]
    team = draw(st.sampled_from(["red", "blue"]))
    return parse_policy(
        "purposes: {study: S, incident: I}\n"
        f"cohorts: {{two: [{ADA}, {BEN}]}}\nconsents: {{study: [{BEN}], incident: []}}\nteams: {{{team}: [{ADA}]}}\n"
        "roles:\n" + "\n".join(roles) + "\nusers:\n" + "\n".join(users) + "\n  olga: {roles: []}\n"
        f"groups: {{g: {{roles: [{', '.join(draw(held))}]}}}}\n"
        f"break_glass: {{door: {{role: a, purposes: [study], request: [u1], {draw(st.sampled_from(DOORS))}}}}}\n",
        CONTRACTS,
    )


def facts(found: list[Difference], *, mirrored: bool = False) -> set[object]:
    """Differences without their order; the policies exchanged if wanted."""
    back = {"gains": "loses", "loses": "gains", "widened": "narrowed", "narrowed": "widened"}
    if not mirrored:
        return {(d.asker, d.dataset, d.purpose, d.effect, frozenset(d.changes)) for d in found}
    return {
        (d.asker, d.dataset, d.purpose, back.get(d.effect, d.effect), frozenset(c.mirrored() for c in d.changes))
        for d in found
    }


@given(policies(), policies())
def test_a_difference_has_a_mirror_image(old: Policy, new: Policy) -> None:
    """Nothing from a policy to itself; from new to old what is from old to new, the other way round."""
    assert difference(old, old) == []
    assert facts(difference(old, new)) == facts(difference(new, old), mirrored=True)


@given(policies(), policies())
def test_a_further_deny_only_narrows(old: Policy, other: Policy) -> None:
    """The denies of another policy besides one's own widen nothing for anybody."""
    denies = {name: (*old.denies.get(name, ()), *other.denies.get(name, ())) for name in NAMES}
    found = difference(old, replace(old, denies=denies))
    assert [one for one in found if one.widens() or one.effect not in {"narrowed", "loses"}] == []


@given(policies(), policies())
def test_what_only_narrows_opens_nothing(old: Policy, new: Policy) -> None:
    """Where no difference widens, nobody reads a row or a column that they did not read before."""
    if any(one.widens() for one in difference(old, new)):
        return
    for asker in askers([old, new], ADA):
        before, after = asker.decisions(old), asker.decisions(new)
        for key, grant in after.items():
            others = [one for one in before.values() if (one.dataset, *one.purposes) == key[:2]]
            assert any(covers(one, grant) for one in others)


def covers(old: Grant, new: Grant) -> bool:
    """Whether a grant opens every row and column that another one does."""
    rows = all(
        old.reaches(who, level) or not new.reaches(who, level)
        for who in (ADA, BEN, STRANGER, "else")
        for level in (1, 2, 3, 4)
    )
    return rows and set(new.visible_columns()) <= set(old.visible_columns())


@given(policies())
def test_askers_are_those_whom_decide_lets_in(policy: Policy) -> None:
    """For every identity made of names, groups and claims: an asker with the same grants, and none with others."""
    known = {asker: asker.decisions(policy) for asker in askers([policy], ADA)}
    for asker, decisions in known.items():
        if asker.kind == "door":
            continue
        claims = () if asker.team is None else (("team", asker.team),)
        groups = (asker.name,) if asker.kind == "group" else ()
        try:
            principal = policy.principal(Identity(asker.user, groups, asker.employee, claims))
        except DeniedError:
            pytest.fail("an asker whom the policy does not let in")
        for role in ("a", "b"):
            for purpose in ("study", "incident"):
                decision = decide(policy, principal, purpose, "events", role)
                assert decisions.get(("events", purpose, role)) == (decision if isinstance(decision, Grant) else None)
    assert {asker.label for asker in known} == {"u1", "u2", "olga", "group:g", "door:door"}


GRANT = "dataset: events, purposes: [study], sensitivity: 2"


def one(grant: str) -> Grant:
    """The decision under one grant."""
    text = "purposes: {study: S}\nroles: {r: {grants: [{%s}]}}\nusers: {u: {roles: [r]}}\n"
    policy = parse_policy(text % grant, CONTRACTS)
    found = decide(policy, policy.principal(Identity("u")), "study", "events")
    assert isinstance(found, Grant)
    return found


@pytest.mark.parametrize(
    ("old", "new", "what", "effect"),
    [
        ("", "sensitivity: 3", "sensitivity", Effect.WIDENED),
        ("", "employee_id: pseudonym", "employee id", Effect.WIDENED),
        ("employee_id: pseudonym", "employee_id: real", "employee id", Effect.WIDENED),
        ("", "except: [app]", "columns", Effect.NARROWED),
        ("masks: {title: pseudonym}", "", "mask of title", Effect.WIDENED),
        ("masks: {title: pseudonym}", "masks: {title: {truncate: 3}}", "mask of title", Effect.CHANGED),
        ("", "row_filter: n > 3", "row filter", Effect.NARROWED),
        ("row_filter: n > 3", "row_filter: n > 2", "row filter", Effect.CHANGED),
        ("", f"employees: {{list: [{ADA}]}}", "employees", Effect.NARROWED),
        (f"employees: {{list: [{ADA}]}}", f"employees: {{list: [{BEN}]}}", "employees", Effect.CHANGED),
        (f"employees: {{list: [{ADA}]}}", f"employees: {{list: [{BEN}, {ADA}]}}", "employees", Effect.WIDENED),
        ("", "window: {last: 5d}", "time window", Effect.NARROWED),
        ("window: {last: 5d}", "window: {last: 6d}", "time window", Effect.WIDENED),
        ("window: {from: 2026-01-01}", "window: {from: 2026-01-02}", "time window", Effect.NARROWED),
        ("window: {to: 2026-01-01}", "window: {to: 2026-01-02}", "time window", Effect.WIDENED),
        ("window: {to: 2026-01-01}", "window: {to: 2026-01-02, last: 9d}", "time window", Effect.CHANGED),
        ("", "limits: {rows: 5}", "limit of rows", Effect.NARROWED),
        ("limits: {concurrent: 2}", "limits: {concurrent: 3}", "limit of concurrent", Effect.WIDENED),
        ("", "smallest_group: 3", "smallest group", Effect.NARROWED),
        ("smallest_group: 4", "smallest_group: 3", "smallest group", Effect.WIDENED),
    ],
)
def test_each_part_is_judged(old: str, new: str, what: str, effect: Effect) -> None:
    """One part differs: it alone is named, with what it does; backwards the opposite."""
    before, after = (one(f"{GRANT}, {text}" if "sens" not in text else f"{GRANT[:-1]}3") for text in (old, new))
    changes = [change for change in compare(before, after) if change.what == what]
    assert [change.effect for change in changes] == [effect]
    others = {change.what for change in compare(before, after)} - {what}
    assert others <= ({"columns"} if what == "sensitivity" else set())
    assert [change.effect for change in compare(after, before) if change.what == what] == [effect.mirrored()]


def test_a_role_under_another_name_is_no_loss_and_no_gain() -> None:
    """The grants stay; what is unlike is the role, and with it the pseudonyms."""
    new = parse_policy(
        POLICY.replace("cohort:\n", "renamed:\n").replace("[cohort]", "[renamed]").replace(", cohort]", ", renamed]"),
        CONTRACTS,
    )
    found = difference(parse_policy(POLICY, CONTRACTS), new)
    assert {(d.asker.name, d.effect, d.role) for d in found} == {
        ("coco", "changed", "cohort -> renamed"),
        ("dual", "changed", "cohort -> renamed"),
    }
    assert all(d.widens() for d in found)


DOOR = "break_glass: {fire: {role: all, purposes: [incident], request: [stu], approve: [%s], at_most: %s}}\n"


@pytest.mark.parametrize(
    ("old", "new", "facts"),
    [
        (("vera-canary", "1h"), ("vera-canary", "90m"), ("at most", "1:00:00", "1:30:00", Effect.WIDENED)),
        (("milo, mina", "1h"), ("milo", "1h"), ("who approves", "milo, mina", "milo", Effect.NARROWED)),
        (("milo", "1h"), ("mina", "1h"), ("who approves", "milo", "mina", Effect.CHANGED)),
    ],
)
def test_a_door_that_opens_otherwise(old: object, new: object, facts: tuple[str, str, str, Effect]) -> None:
    """For longer, or by the word of others."""
    found = difference(*(parse_policy(POLICY + DOOR % door, CONTRACTS) for door in (old, new)))
    assert {d.asker.label for d in found} == {"door:fire"}
    assert {(c.what, c.before, c.after, c.effect) for d in found for c in d.changes} == {facts}


def masks(text: str, kind: FieldType) -> Mask:
    """A mask from its text."""
    return parse_mask(dict(read_document(f"mask: {text}\n", "f").items())["mask"], kind)


@pytest.mark.parametrize(
    ("kind", "rising"),
    [
        (FieldType.STRING, ["null", "{constant: x}", "{truncate: 2}", "{truncate: 3}"]),
        (FieldType.STRING, ["null", "{constant: x}", "{keep_last: 2}", "{keep_last: 3}"]),
        (FieldType.TIMESTAMP, [f"{{truncate_time: {unit}}}" for unit in ("month", "day", "hour", "minute")]),
        (FieldType.INT64, ["null", "{round: 100}", "{round: 20}", "{round: 10}"]),
        (FieldType.INT64, ["null", "{bucket: [10]}", "{bucket: [1, 10]}", "{bucket: [1, 5, 10]}"]),
    ],
)
def test_masks_in_rising_order(kind: FieldType, rising: list[str]) -> None:
    """Each shows no more than those after it, and none at all shows most."""
    chain: list[Mask | None] = [*(masks(text, kind) for text in rising), None]
    for left, less in enumerate(chain):
        for right, more in enumerate(chain):
            assert shows_no_more(less, more) is (left <= right), (less, more)


@pytest.mark.parametrize(("one", "other"), [("{truncate: 2}", "pseudonym"), ("{truncate: 2}", "{keep_last: 2}")])
def test_masks_that_do_not_compare(one: str, other: str) -> None:
    """Neither can be computed from the other."""
    left, right = masks(one, FieldType.STRING), masks(other, FieldType.STRING)
    assert not shows_no_more(left, right)
    assert not shows_no_more(right, left)


SOME = st.builds(People, st.frozensets(st.sampled_from("abcd")), st.booleans())


@given(SOME, SOME)
def test_people_without_others(left: People, right: People) -> None:
    """As sets over a world that the lists do not exhaust."""
    world = frozenset("abcdxyz")

    def those(people: People) -> frozenset[str]:
        return world - people.employees if people.all_but else people.employees

    assert those(left.without(right)) == those(left) - those(right)
    assert left.without(right).is_empty() == (not those(left) - those(right))


def test_labels_and_conditions() -> None:
    """Named as --allow takes them; what must be so besides is said."""
    assert [Asker(kind, "n", "u").label for kind in ("user", "group", "door")] == ["n", "group:n", "door:n"]
    assert Asker("user", "u", "u").condition == ""
    assert Asker("door", "n", "u").condition == "u asks and a second person approves"
    assert "team is red" in Asker("group", "n", "", team="red").condition
    assert ADA in Asker("group", "n", "", employee=ADA).condition
    assert STRANGER not in Asker("group", "n", "", employee=STRANGER).condition
