"""Access policy: nothing is granted that is not written, written things must hold, and no answer tells an outsider."""

# ruff: noqa: DTZ001, PLR0917 - capture times are naive UTC; pytest hands fixtures in by name
from __future__ import annotations

from datetime import date, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.errors import DeniedError, DocumentError
from lake.rules.contract import parse_contract
from lake.rules.masks import MaskKind
from lake.rules.model import Identity, Principal
from lake.rules.policy import (
    EmployeeForm,
    Grant,
    Refusal,
    Window,
    applicable,
    column_types,
    datasets_for,
    decide,
    readable_columns,
    scope_employees,
)
from lake.rules.policy_document import parse_policy

NOW = datetime(2026, 4, 1, 12)


@pytest.fixture(scope="module")
def policy(policy_text, contracts):
    """The valid policy."""
    return parse_policy(policy_text, contracts)


def ask(policy, user, purpose, dataset="desktop", role=None):
    """The decision for a user."""
    return decide(policy, policy.principal(Identity(user)), purpose, dataset, role)


def test_a_policy_is_read_wholly(policy, policy_text):
    """Every part of a grant is that of the text."""
    grant = policy.roles["analyst"][0]
    assert (grant.role, grant.dataset, grant.purposes, grant.line) == ("analyst", "desktop", {"security"}, 11)
    assert grant.sensitivities() == {1, 2, 3, 4}
    assert {name: mask.kind for name, mask in grant.masks.items()} == {
        "app": MaskKind.PSEUDONYM,
        "title": MaskKind.TRUNCATE,
        "since": MaskKind.TRUNCATE_TIME,
        "count": MaskKind.ROUND,
    }
    assert grant.row_filter is not None
    assert grant.employees.employees == {"mk-1", "mk-2"}
    assert grant.window == Window(date(2026, 1, 1), date(2026, 3, 31), 90)
    assert (grant.limits.rows, grant.limits.bytes, grant.limits.seconds) == (1_000, 1_000_000, 30)
    assert policy.users["bob"].roles == ("member", "analyst")
    assert policy.principal(Identity("ann@example.org")).attribute("team") == "red"
    assert policy.principal(Identity("ann@example.org")).attribute("other") is None
    assert policy.text == policy_text


def test_columns_keep_their_order_and_sensitivity(policy):
    """A grant shows columns in the stored order, none above its sensitivity, the employee after the sensitivity."""
    analyst, ergonomics = policy.roles["analyst"]
    stored = ("sensitivity", "ts", "type", "app", "title", "idle", "count", "total", "speed", "since")
    assert analyst.columns == stored
    assert analyst.visible_columns() == ("sensitivity", "employee", *stored[1:])
    assert ergonomics.columns == ("sensitivity", "ts", "idle", "count", "total", "since")
    assert ergonomics.visible_columns() == ergonomics.columns
    assert ergonomics.employee_form is EmployeeForm.ABSENT
    (member,) = policy.roles["member"]
    assert member.columns == ("ts", "app")
    assert member.visible_columns() == ("employee", "ts", "app")


def test_readable_columns_are_those_up_to_the_sensitivity(contracts):
    """A higher sensitivity shows what a lower one does and more."""
    shown = [set(readable_columns(contracts["desktop"], level)) for level in (1, 2, 3, 4)]
    assert shown[0] < shown[1] < shown[2] < shown[3] == set(column_types(contracts["desktop"]))


@pytest.mark.parametrize(
    ("user", "purpose", "role", "granted"),
    [
        ("ann@example.org", "security", None, "analyst"),
        ("ann@example.org", "ergonomics", None, "analyst"),
        ("ann@example.org", "payroll", None, None),
        ("ann@example.org", "unknown", None, None),
        ("ann@example.org", "security", "member", None),
        ("bob", "security", None, "analyst"),
        ("bob", "ergonomics", None, None),
        ("bob", "ergonomics", "member", "member"),
        ("bob", "ergonomics", "analyst", "analyst"),
        ("eve", "ergonomics", None, None),
        ("eve", "security", None, None),
        ("two", "security", None, None),
        ("two", "security", "lister", "lister"),
        ("idle", "security", None, None),
        ("idle", "security", "analyst", None),
    ],
)
def test_one_grant_decides_or_none(policy, user, purpose, role, granted):
    """No grant, an ambiguous one, one of a role not held, or one's own rows without an employee: refused."""
    decision = ask(policy, user, purpose, role=role)
    if granted is None:
        assert isinstance(decision, Refusal)
        assert datasets_for(policy, policy.principal(Identity(user)), purpose, role) == []
    else:
        assert isinstance(decision, Grant)
        assert decision.role == granted
        assert datasets_for(policy, policy.principal(Identity(user)), purpose, role) == [decision]
    assert isinstance(ask(policy, user, purpose, dataset="other", role=role), Refusal)


def test_purposes_do_not_mix(policy):
    """Only grants for the asked purpose apply."""
    grants = applicable(policy, policy.principal(Identity("bob")), "security")
    assert {grant.role for each in grants.values() for grant in each} == {"analyst"}
    assert applicable(policy, policy.principal(Identity("bob")), "payroll") == {}


def test_scopes_name_employees(policy):
    """All is no list, self is the principal alone, a cohort is its members, and nobody is an empty set."""
    bob, eve = policy.principal(Identity("bob")), policy.principal(Identity("eve"))
    member, analyst = policy.roles["member"][0], policy.roles["analyst"]
    assert scope_employees(member, bob, "security") == {"mk-1"}
    assert scope_employees(member, eve, "security") == frozenset()
    assert scope_employees(analyst[0], bob, "security") == {"mk-1", "mk-2"}
    assert scope_employees(analyst[1], bob, "security") is None
    assert scope_employees(policy.roles["lister"][0], bob, "security") == {"mk-9"}


def test_an_unknown_user_learns_nothing(policy):
    """The refusal of a stranger has the same words for every name, and none of the policy's."""
    messages = set()
    for user in ("nobody", "analyst", "mk-1", "", "BOB", "bob "):
        with pytest.raises(DeniedError) as caught:
            policy.principal(Identity(user))
        messages.add((str(caught.value), tuple(caught.value.details)))
    assert len(messages) == 1
    assert not any(word in str(messages) for word in ("bob", "desktop", "analyst", "security"))


@pytest.mark.parametrize(
    ("window", "bounds"),
    [
        (Window(), (None, None)),
        (Window(first=date(2026, 1, 1)), (datetime(2026, 1, 1), None)),
        (Window(last=date(2026, 1, 31)), (None, datetime(2026, 1, 31, 23, 59, 59, 999999))),
        (Window(last_days=1), (datetime(2026, 3, 31, 12), None)),
        (Window(first=date(2026, 1, 1), last_days=1), (datetime(2026, 3, 31, 12), None)),
        (Window(first=date(2026, 4, 1), last_days=90), (datetime(2026, 4, 1), None)),
        (Window(date(2026, 2, 1), date(2026, 2, 1)), (datetime(2026, 2, 1), datetime(2026, 2, 1, 23, 59, 59, 999999))),
    ],
)
def test_windows_are_inclusive_and_the_narrower_bound_counts(window, bounds):
    """Days are whole, and the last so many days narrow what a first day allows."""
    assert window.bounds(NOW) == bounds


@pytest.mark.parametrize(
    ("old", "new", "place", "words"),
    [
        (
            "      - dataset: desktop\n        purposes: [security]",
            "      - dataset: laptop\n        purposes: [security]",
            (11, 18),
            "not known",
        ),
        ("        columns: [app, ts]", "        columns: [app, tz]", (29, 24), "not known"),
        ("        columns: [app, ts]", "        columns: [app, title]", (29, 24), "more sensitive than 2"),
        ("        columns: [app, ts]", "        columns: []", (29, 18), "empty"),
        ("        columns: [app, ts]", "        columns: some", (29, 18), "not known"),
        ("        columns: [app, ts]", "        columns: [employee]", (29, 19), "not known"),
        ("        columns: [app, ts]", "        columns: [app]\n        except: [ts]", (30, 17), "either"),
        ("except: [type]", "except: [kind]", (23, 18), "not known"),
        (
            "purposes: [security]\n        sensitivity: 4",
            "purposes: [payroll]\n        sensitivity: 4",
            (12, 20),
            "does not name the purpose",
        ),
        (
            "purposes: [security]\n        sensitivity: 4",
            "purposes: [fun]\n        sensitivity: 4",
            (12, 20),
            "not known",
        ),
        (
            "purposes: [security]\n        sensitivity: 4",
            "purposes: []\n        sensitivity: 4",
            (12, 19),
            "at least one",
        ),
        ("sensitivity: 4", "sensitivity: 5", (13, 22), "outside"),
        ("sensitivity: 4", "level: 4", (13, 9), "unknown key"),
        ("{truncate: 8}", "{round: 8}", (14, 40), "does not fit"),
        ("{app: pseudonym", "{none: pseudonym", (14, 23), "not among"),
        ("{app: pseudonym", "{sensitivity: null", (14, 30), "not masked"),
        ("app <> 'bank'", "app <> 7", (15, 21), "character 1"),
        ("app <> 'bank'", "app <> principal.and", (15, 21), "character 18"),
        ("app <> 'bank'", "app <> principal.Team", (15, 21), "not a valid attribute"),
        ("{cohort: night}", "{cohort: day}", (16, 29), "not known"),
        ("{cohort: night}", "{cohort: night, list: [a]}", (16, 20), "give all"),
        ("{cohort: night}", "everybody", (16, 20), "not known"),
        ("{cohort: night}", "{list: []}", (16, 27), "empty"),
        ("employee_id: pseudonym", "employee_id: name", (17, 22), "not known"),
        ("to: 2026-03-31", "to: 2025-03-31", (18, 17), "ends before"),
        ("last: 90d", "last: 90", (18, 58), "number of days"),
        ("rows: 1000,", "rows: 0,", (19, 24), "outside"),
        (
            "purposes: [ergonomics]\n        sensitivity: 1",
            "purposes: [security, ergonomics]\n        sensitivity: 1",
            (20, 9),
            "twice for one purpose",
        ),
        ("night: [mk-1, mk-2]", "night: []", (6, 10), "empty"),
        ("night: [mk-1, mk-2]", "Night: [mk-1, mk-2]", (6, 10), "not a valid name"),
        ("eve: {roles: [member]}", "eve: {roles: [boss]}", (38, 17), "not known"),
        ("eve: {roles: [member]}", "eve: {roles: [member], admin: true}", (38, 26), "unknown key"),
        ("eve: {roles: [member]}", "e ve: {roles: [member]}", (38, 9), "not a valid user name"),
        ("  eve: {roles", "  bob: {roles", (38, 3), "twice"),
        ("{team: red}", "{Team: red}", (36, 58), "not a valid name"),
        ("{team: red}", "{team: 7}", (36, 58), "text is expected"),
    ],
)
def test_a_fault_is_refused_where_it_stands(policy_text, contracts, old, new, place, words):
    """What is unknown, wider than a contract, contradictory or ambiguous names its line and column."""
    assert policy_text.count(old) == 1, old
    with pytest.raises(DocumentError) as caught:
        parse_policy(policy_text.replace(old, new), contracts, "policy.yaml")
    assert ((caught.value.line, caught.value.column), words in caught.value.message) == (place, True), caught.value


def test_a_contract_decides_what_a_policy_may_grant(policy_text, contract_text):
    """The same policy is refused when the contract no longer names a purpose."""
    contract = parse_contract(contract_text.replace("[security, ergonomics]", "[security]"))
    with pytest.raises(DocumentError, match="does not name the purpose 'ergonomics'"):
        parse_policy(policy_text, {"desktop": contract})
    with pytest.raises(DocumentError):
        parse_policy(policy_text, {})


def test_an_empty_policy_grants_nothing(contracts):
    """Deny is the default."""
    policy = parse_policy("purposes: {p: Some.}\nroles: {}\nusers: {ann: {roles: []}}\n", contracts)
    assert isinstance(ask(policy, "ann", "p"), Refusal)
    assert applicable(policy, Principal("ann", ()), "p") == {}


PIECES = [
    "",
    " ",
    "\n",
    "_",
    ":",
    "[",
    "]",
    "{",
    "}",
    "&a ",
    "*a",
    "!!int ",
    "- ",
    "'",
    "~",
    "0",
    "9" * 30,
    "é",
    "\x00",
    "all",
]


@settings(max_examples=150)
@given(st.data())
def test_a_mutated_policy_is_read_or_refused(policy_text, contracts, data):
    """Whatever is cut from or put into a policy, the outcome is a policy or the typed error."""
    text = policy_text
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        stop = min(len(text), start + data.draw(st.integers(0, 12)))
        text = text[:start] + data.draw(st.sampled_from(PIECES)) + text[stop:]
    try:
        policy = parse_policy(text, contracts)
    except DocumentError:
        return
    for user in policy.users:
        for purpose in policy.purposes:
            assert isinstance(ask(policy, user, purpose), Grant | Refusal)
