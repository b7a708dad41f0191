"""Groups, denies, consents and teams: a deny never widens, whatever it is made of, and each takes what it says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake.errors import DeniedError, DocumentError
from lake.rules.contract import parse_contract
from lake.rules.model import SENSITIVITIES, Identity, Principal
from lake.rules.policy import (
    Deny,
    EmployeeForm,
    EmployeeScope,
    Grant,
    Policy,
    Refusal,
    ScopeKind,
    datasets_for,
    decide,
    every_decision,
    scope_employees,
)
from lake.rules.policy_document import parse_policy
from tests.world import CONTRACT, MOODS

CONTRACTS = {c.dataset: c for c in (parse_contract(CONTRACT, "events"), parse_contract(MOODS, "moods"))}
GRANT = "{dataset: events, purposes: [study, incident], sensitivity: 4, employee_id: real%s}"
PEOPLE = ("e1", "e2", "e3", "e4")


def policy(grant: str = "", deny: str = "", rest: str = "", top: str = "") -> Policy:
    """One role of one grant and some denies, held by ann."""
    denies = f", deny: [{deny}]" if deny else ""
    return parse_policy(
        "purposes: {study: S, incident: I, own_data: O}\n"
        "cohorts: {few: [e1, e2]}\nconsents: {study: [e2, e3], incident: []}\nteams: {red: [e1, e2], blue: [e3]}\n"
        f"{top}\n"
        f"roles: {{r: {{grants: [{GRANT % grant}]{denies}}}, other: {{grants: []}}}}\n"
        f"users: {{ann: {{roles: [r]{rest}}}, bob: {{roles: []}}}}\n",
        CONTRACTS,
    )


def ask(found: Policy, purpose: str = "study", **claims: Any) -> Grant | Refusal:
    """The decision for ann."""
    return decide(found, found.principal(Identity("ann", **claims)), purpose, "events")


def opened(decision: Grant | Refusal) -> set[tuple[str, int]]:
    """Whose rows, of which rating."""
    if isinstance(decision, Refusal):
        return set()
    return {(who, level) for who in PEOPLE for level in SENSITIVITIES if decision.reaches(who, level)}


def granted(decision: Grant | Refusal) -> Grant:
    """The grant that a decision is."""
    assert isinstance(decision, Grant), decision
    return decision


ALL = {(who, level) for who in PEOPLE for level in SENSITIVITIES}


def test_a_deny_of_a_dataset_leaves_nothing() -> None:
    """For every purpose or for the named ones; the others and the other dataset stay."""
    assert isinstance(ask(policy(deny="{dataset: events}")), Refusal)
    found = policy(deny="{dataset: events, purposes: [incident]}")
    assert opened(ask(found)) == ALL
    assert isinstance(ask(found, "incident"), Refusal)
    assert opened(ask(policy(deny="{dataset: moods}"))) == ALL


def test_a_deny_from_a_sensitivity_on_caps_the_grant() -> None:
    """The rows, and the columns that only they can have a value in."""
    decision = granted(ask(policy(deny="{dataset: events, sensitivity: 3}")))
    assert decision.sensitivity == 2
    assert {"said", "note"}.isdisjoint(decision.columns)
    assert {"title", "app", "n", "ts", "sensitivity"} <= set(decision.columns)


def test_a_deny_of_columns_takes_them_and_their_masks() -> None:
    """The employee's id is a column too; a grant of which no column is left is none."""
    found = policy(", masks: {title: {truncate: 2}, app: pseudonym}", "{dataset: events, columns: [title, employee]}")
    decision = granted(ask(found))
    assert "title" not in decision.columns
    assert set(decision.masks) == {"app"}
    assert decision.employee_form is EmployeeForm.ABSENT
    assert isinstance(ask(policy(", columns: [app]", "{dataset: events, columns: [app, n]}")), Refusal)


@pytest.mark.parametrize("scope", ["all", "{cohort: few}"])
def test_a_deny_of_people_subtracts_them(scope: str) -> None:
    """Also where all are granted; from a rating on if one is named."""
    covered = {"e1", "e2"} if scope != "all" else set(PEOPLE)
    decision = ask(policy(f", employees: {scope}", "{dataset: events, employees: {list: [e1]}}"))
    assert opened(decision) == {(who, level) for who in covered - {"e1"} for level in SENSITIVITIES}
    decision = ask(policy(f", employees: {scope}", "{dataset: events, employees: {list: [e1]}, sensitivity: 3}"))
    assert opened(decision) == {(w, n) for w in covered for n in SENSITIVITIES if w != "e1" or n < 3}
    assert isinstance(
        ask(policy(", employees: {cohort: few}", "{dataset: events, employees: {list: [e1, e2]}}")), Refusal
    )


def test_whose_rows_a_deny_takes_must_be_known() -> None:
    """Self and team take whom they mean; where that cannot be told, everybody."""
    own = policy(deny="{dataset: events, employees: self, sensitivity: 2}")
    assert opened(ask(own, employee="e4")) == {(w, n) for w, n in ALL if w != "e4" or n < 2}
    unknown = granted(ask(own))
    assert (unknown.sensitivity, "title" in unknown.columns) == (1, False)
    team = policy(deny="{dataset: events, employees: team}")
    assert opened(ask(team, attributes=(("team", "red"),))) == {(w, n) for w, n in ALL if w not in {"e1", "e2"}}
    for claims in ({}, {"attributes": (("team", "green"),)}):
        assert isinstance(ask(team, **claims), Refusal)
    consented = policy(deny="{dataset: events, purposes: [study, incident], employees: consented}")
    assert opened(ask(consented)) == {(w, n) for w, n in ALL if w not in {"e2", "e3"}}
    assert opened(ask(consented, "incident")) == ALL


def test_a_deny_of_one_role_or_user_narrows_every_role() -> None:
    """Whichever role they ask under; a deny of somebody else does not."""
    found = policy(top="groups: {limited: {roles: [other]}}")
    limited = replace(found, denies={"other": policy(deny="{dataset: events, sensitivity: 2}").denies["r"]})
    assert granted(ask(limited)).sensitivity == 4
    assert granted(ask(limited, groups=("limited",))).sensitivity == 1
    principal = limited.principal(Identity("ann", ("limited",)))
    assert granted(decide(limited, principal, "study", "events", "r")).sensitivity == 1
    assert granted(ask(policy(rest=", deny: [{dataset: events, sensitivity: 4}]"))).sensitivity == 3


def test_a_deny_does_not_choose_between_roles() -> None:
    """Two roles that grant the same stay ambiguous, also if the deny leaves nothing of either."""
    grant = "{grants: [{dataset: events, purposes: [study], sensitivity: 1}]"
    text = "purposes: {study: S}\nroles: {a: %s%s}, b: %s}}\nusers: {ann: {roles: [a, b]}}\n"
    plain = parse_policy(text % (grant, "", grant), CONTRACTS)
    assert "several roles" in getattr(ask(plain), "reason", "")
    denied = parse_policy(text % (grant, ", deny: [{dataset: events}]", grant), CONTRACTS)
    assert "several roles" in getattr(ask(denied), "reason", "")


def test_members_of_groups_hold_their_roles() -> None:
    """After the user's own, each once, in order; unknown groups give nothing, and a stranger is denied."""
    found = policy(top="groups: {'CN=Staff, OU=x': {roles: [other, r]}, empty: {roles: []}}")
    assert found.principal(Identity("ann", ("CN=Staff, OU=x",))).roles == ("r", "other")
    assert found.principal(Identity("zoe", ("unknown", "CN=Staff, OU=x"))).roles == ("other", "r")
    assert found.principal(Identity("zoe", ("empty",))).roles == ()
    assert found.principal(Identity("bob")).roles == ()
    for groups in ((), ("unknown",), ("cn=staff, ou=x",), ("CN=Staff",)):
        with pytest.raises(DeniedError):
            found.principal(Identity("zoe", groups))


def test_the_policy_wins_over_claims() -> None:
    """Employee and attributes of the policy stand; what it does not say is claimed."""
    found = policy(rest=", employee: e1, attributes: {team: red}")
    who = Identity("ann", employee="e4", attributes=(("team", "blue"), ("site", "x")))
    assert found.principal(who) == Principal("ann", ("r",), "e1", (("team", "red"), ("site", "x")))
    assert policy().principal(who).employee == "e4"


def test_consents_and_teams_name_whose_rows_a_grant_covers() -> None:
    """By the purpose of the query, by the team of the principal; nobody where neither says who."""
    consented = policy(", employees: consented")
    assert granted(ask(consented)).employees == EmployeeScope(ScopeKind.LISTED, frozenset({"e2", "e3"}))
    assert isinstance(ask(consented, "incident"), Refusal)
    team = policy(", employees: team")
    assert granted(ask(team, attributes=(("team", "blue"),))).employees.employees == {"e3"}
    for claims in ({}, {"attributes": (("team", ""),)}, {"attributes": (("team", "green"),)}):
        assert isinstance(ask(team, **claims), Refusal)
    (grant,) = team.roles["r"]
    assert scope_employees(grant, Principal("x", ()), "study") == frozenset()


PERSONS = st.frozensets(st.sampled_from(PEOPLE))
NAMES = st.frozensets(st.sampled_from([*CONTRACTS["events"].fields, "ts", "employee"]))
SCOPES = st.one_of(
    st.just(EmployeeScope(ScopeKind.ALL)),
    st.just(EmployeeScope(ScopeKind.SELF)),
    st.builds(lambda who: EmployeeScope(ScopeKind.LISTED, who), PERSONS),
    st.builds(lambda who: EmployeeScope(ScopeKind.CONSENTED, by={"study": who}), PERSONS),
    st.builds(lambda who: EmployeeScope(ScopeKind.TEAM, by={"red": who}), PERSONS),
)
COLUMN_DENIES = st.builds(
    Deny,
    dataset=st.sampled_from(["events", "moods"]),
    purposes=st.none() | st.just(frozenset({"study"})) | st.just(frozenset({"incident"})),
    sensitivity=st.none(),
    employees=st.none(),
    columns=NAMES,
    line=st.just(1),
)
ROW_DENIES = st.builds(
    Deny,
    dataset=st.just("events"),
    purposes=st.none() | st.just(frozenset({"study"})),
    sensitivity=st.sampled_from(SENSITIVITIES),
    employees=st.none() | SCOPES,
    columns=NAMES,
    line=st.just(1),
)
DENIES = st.lists(COLUMN_DENIES | ROW_DENIES, max_size=4)
IDENTITIES = st.builds(
    Identity,
    user=st.sampled_from(["ann", "bob"]),
    employee=st.none() | st.sampled_from(PEOPLE),
    attributes=st.sampled_from([(), (("team", "red"),), (("team", "green"),)]),
)


def with_scope(scope: EmployeeScope, denies: tuple[Deny, ...]) -> Policy:
    """The policy with another scope of its grant, and other denies."""
    found = policy()
    (grant,) = found.roles["r"]
    return replace(found, roles={**found.roles, "r": (replace(grant, employees=scope),)}, denies={"r": denies})


@given(SCOPES, DENIES, COLUMN_DENIES | ROW_DENIES, IDENTITIES, st.integers(0, 4))
def test_a_deny_never_widens(
    scope: EmployeeScope, denies: list[Deny], further: Deny, who: Identity, place: int
) -> None:
    """Wherever it stands among the others, rows, columns and the form of the id only become fewer."""
    some = with_scope(scope, tuple(denies))
    more = with_scope(scope, (*denies[:place], further, *denies[place:]))
    for purpose in ("study", "incident"):
        before, after = (decide(one, one.principal(who), purpose, "events") for one in (some, more))
        assert opened(after) <= opened(before)
        if isinstance(after, Grant):
            kept = granted(before)
            assert set(after.visible_columns()) <= set(kept.visible_columns())
            assert {name: kept.masks[name] for name in after.masks} == dict(after.masks)
            assert set(after.masks) == set(kept.masks) & set(after.columns)
            assert not (kept.row_filter is not None and after.row_filter is None)


@given(SCOPES, DENIES, IDENTITIES)
def test_a_deny_takes_what_it_says_and_no_more(scope: EmployeeScope, denies: list[Deny], who: Identity) -> None:
    """Row by row: open if the grant covers it and no deny that concerns it takes it."""
    found = with_scope(scope, tuple(denies))
    principal = found.principal(who)
    decision = decide(found, principal, "study", "events")
    members = scope.members(principal, "study")
    expected = set()
    hidden: set[str] = set()
    for deny in denies:
        if deny.concerns("events", "study") and taken_of_all(deny, principal):
            hidden |= deny.columns
    for employee, level in ALL if principal.roles else ():
        taken = any(
            deny.concerns("events", "study")
            and deny.sensitivity is not None
            and level >= deny.sensitivity
            and (taken_of_all(deny, principal) or employee in (deny.employees or scope).members(principal, "study"))
            for deny in denies
        )
        if (members is None or employee in members) and not taken:
            expected.add((employee, level))
    columns = set(found.roles["r"][0].columns) - hidden
    assert opened(decision) == (expected if columns else set())
    if isinstance(decision, Grant):
        assert set(decision.columns) == columns


def taken_of_all(deny: Deny, principal: Principal) -> bool:
    """Whether a deny concerns everybody's rows."""
    scope = deny.employees
    unknown = scope is not None and not scope.is_known(principal, "study")
    return scope is None or unknown or scope.kind is ScopeKind.ALL


@given(SCOPES, DENIES, IDENTITIES, st.integers(1, 4))
def test_a_further_grant_narrows_nothing(scope: EmployeeScope, denies: list[Deny], who: Identity, level: int) -> None:
    """A role more, or a grant more for another dataset: what could be read under the old role still can."""
    found = with_scope(scope, tuple(denies))
    (grant,) = found.roles["r"]
    moods = replace(grant, dataset="moods", columns=("mood",), masks={})
    twin = replace(grant, role="other", sensitivity=level)
    more = replace(found, roles={"r": (grant, moods), "other": (twin,)}, groups={"more": ("other",)})
    before = found.principal(who)
    after = more.principal(replace(who, groups=("more",)))
    for decision in every_decision(found, before):
        (purpose,) = decision.purposes
        assert decide(more, after, purpose, "events", "r") == decision
        assert decision in datasets_for(more, more.principal(who), purpose, None)


FAULTS = [
    ("deny: []", "deny: [{dataset: ^nothing}]", "not known"),
    ("deny: []", "deny: [^{purposes: [study]}]", "'dataset' is missing"),
    ("deny: []", "deny: [{dataset: events, ^rows: 1}]", "unknown key"),
    ("deny: []", "deny: [{dataset: events, columns: [^no]}]", "not known"),
    ("deny: []", "deny: [{dataset: events, columns: ^[]}]", "empty"),
    ("deny: []", "deny: [{dataset: events, purposes: ^[]}]", "at least one"),
    ("deny: []", "deny: [{dataset: events, purposes: [^fun]}]", "not known"),
    ("deny: []", "deny: [{dataset: events, sensitivity: ^0}]", "outside"),
    ("deny: []", "deny: [{dataset: events, columns: [n], sensitivity: ^2}]", "holds for all rows"),
    ("deny: []", "deny: [{dataset: events, columns: [n], employees: ^self}]", "holds for all rows"),
    ("deny: []", "deny: ^{dataset: events}", "a list is expected"),
    ("deny: []", "deny: [{dataset: events, employees: ^consented}]", "says nothing of the purpose"),
    ("red: [e1]", "red: ^[]", "empty"),
    ("study: [e2]", "fun: ^[e2]", "no purpose"),
    ("g: {roles: [r]}", "g: {roles: [^no]}", "not known"),
    ("g: {roles: [r]}", "g: {^users: [ann]}", "unknown key"),
    ("g: {roles: [r]}", "' g': ^{roles: [r]}", "name of a group"),
]


@pytest.mark.parametrize(("old", "new", "words"), FAULTS)
def test_a_fault_is_refused_where_it_stands(old: str, new: str, words: str) -> None:
    """What is unknown, empty or contradictory names its line and column, here marked by a caret."""
    text = (
        "purposes: {study: S, incident: I}\nconsents: {study: [e2]}\nteams: {red: [e1]}\n"
        "roles: {r: {grants: [{dataset: events, purposes: [study], sensitivity: 4, employee_id: real}], deny: []}}\n"
        "groups: {g: {roles: [r]}}\nusers: {ann: {roles: [r]}}\n"
    )
    assert text.count(old) == 1
    before, after = text.replace(old, new).split("^")
    line, column = before.count("\n") + 1, len(before.rpartition("\n")[2]) + 1
    with pytest.raises(DocumentError, match=words) as caught:
        parse_policy(before + after, CONTRACTS)
    assert (caught.value.line, caught.value.column) == (line, column)


@pytest.mark.parametrize(
    ("grant", "words"),
    [
        (", smallest_group: 1", "outside"),
        (", smallest_group: 5", "shows groups"),
        (", employees: team, top: 1", "unknown key"),
        (", limits: {concurrent: 0}", "outside"),
        (", limits: {endpoints: 3}", "unknown key"),
    ],
)
def test_a_grant_that_does_not_hold_together_is_refused(grant: str, words: str) -> None:
    """Groups are of two or more, and show nobody; limits are known ones."""
    with pytest.raises(DocumentError, match=words):
        policy(grant)


def test_groups_that_could_never_be_shown_are_refused() -> None:
    """A grant over fewer people than its smallest group."""
    grant = "{dataset: events, purposes: [study], sensitivity: 1, %s}"
    text = f"purposes: {{study: S}}\nroles: {{r: {{grants: [{grant}]}}}}\nusers: {{}}"
    for scope in ("employees: self", "employees: {list: [e1, e2]}"):
        with pytest.raises(DocumentError, match="no group would ever be shown"):
            parse_policy(text % f"{scope}, smallest_group: 3", CONTRACTS)
    found = parse_policy(text % "smallest_group: 3, limits: {concurrent: 2}", CONTRACTS)
    (grant,) = found.roles["r"]
    assert (grant.smallest_group, grant.limits.concurrent) == (3, 2)
    with pytest.raises(DocumentError, match="names no teams"):
        parse_policy(text % "employees: team", CONTRACTS)
    with pytest.raises(DocumentError, match="says nothing of the purpose 'study'"):
        parse_policy(text % "employees: consented", CONTRACTS)
