"""A table of expectations: how it is read, and what each expectation looks at."""

from __future__ import annotations

import pytest

from lake.errors import DocumentError
from lake.rules.contract import parse_contract
from lake.rules.expectations import check_expectations, parse_expectations
from lake.rules.policy import Policy
from lake.rules.policy_document import parse_policy
from tests.world import ADA, BEN, CLEO, CONTRACT, MOODS, POLICY

CONTRACTS = {c.dataset: c for c in (parse_contract(CONTRACT, "events"), parse_contract(MOODS, "moods"))}


@pytest.fixture(scope="module")
def policy() -> Policy:
    """The policy of the known lake."""
    return parse_policy(POLICY, CONTRACTS, "policy")


def complaint(policy: Policy, text: str) -> str:
    """What is said of one expectation about the dataset of the known lake."""
    found = parse_expectations(f"- {{dataset: events, {text}}}", "table", CONTRACTS)
    (outcome,) = check_expectations(found, policy)
    return outcome.complaint


@pytest.mark.parametrize(
    "text",
    [
        "user: stu, purpose: study, expect: allow",
        "user: stu, purpose: study, expect: allow, sensitivity: 2, employee_id: pseudonym",
        "user: stu, purpose: study, expect: allow, sees: [title, app], hides: [flag, said, note]",
        f"user: coco, purpose: study, expect: allow, employees: [{CLEO}, {ADA}]",
        f"user: olga, purpose: own_data, expect: allow, employees: [{BEN}]",
        "user: dual, purpose: study, role: cohort, expect: allow, sensitivity: 3",
        "user: dual, purpose: study, expect: deny",
        "user: stu, purpose: own_data, expect: deny",
        "user: none, purpose: study, expect: deny",
        "user: stranger, purpose: study, expect: deny",
    ],
)
def test_what_holds_has_no_complaint(policy: Policy, text: str) -> None:
    """Grants, columns, forms of the id, employees and denials are met."""
    assert complaint(policy, text) == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("user: stu, purpose: study, expect: deny", "allowed by role student"),
        ("user: none, purpose: study, expect: allow", "denied: "),
        ("user: stranger, purpose: study, expect: allow", "the policy does not know the user"),
        ("user: stu, purpose: own_data, expect: allow", "denied: "),
        ("user: dual, purpose: study, expect: allow", "several roles"),
        ("user: stu, purpose: study, expect: allow, hides: [title]", "sees title"),
        ("user: stu, purpose: study, expect: allow, sees: [flag]", "does not see flag"),
        ("user: stu, purpose: study, expect: allow, sensitivity: 1", "highest sensitivity is 2"),
        ("user: stu, purpose: study, expect: allow, employee_id: real", "employee id is pseudonym"),
        ("user: mina, purpose: study, expect: allow, employee_id: pseudonym", "employee id is absent"),
        (f"user: stu, purpose: study, expect: allow, employees: [{ADA}]", "covers all employees"),
        (f"user: coco, purpose: study, expect: allow, employees: [{ADA}, {BEN}]", "covers 2 other employees"),
        (f"user: coco, purpose: study, expect: allow, employees: [{ADA}]", "covers 2 other employees"),
    ],
)
def test_what_fails_says_what_is_there_instead(policy: Policy, text: str, said: str) -> None:
    """Each complaint tells the owner of the policy what a user would meet."""
    assert said in complaint(policy, text)


def test_complaints_are_gathered(policy: Policy) -> None:
    """One expectation that fails twice says both."""
    text = "user: stu, purpose: study, expect: allow, sensitivity: 4, sees: [note]"
    assert complaint(policy, text) == "does not see note; highest sensitivity is 2"


def test_each_outcome_has_its_line(policy: Policy) -> None:
    """Outcomes come in the order of the table and lead back to it."""
    row = "- {user: %s, purpose: p, dataset: moods, expect: deny}\n"
    text = "# table\n" + row % "a" + "\n" + row % "b"
    outcomes = check_expectations(parse_expectations(text, "table", CONTRACTS), policy)
    assert [(outcome.line, outcome.user, outcome.complaint) for outcome in outcomes] == [(2, "a", ""), (4, "b", "")]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[]", "table:1:1"),
        ("user: stu", "table:1:1"),
        ("- {user: a, purpose: p, dataset: moods}", "table:1:3"),
        ("- {user: a, purpose: p, dataset: moods, expect: maybe}", "table:1:49"),
        ("- {user: a, purpose: p, dataset: moods, expect: deny, hide: [x]}", "table:1:55"),
        ("- {user: a, purpose: p, dataset: moods, expect: allow, sensitivity: 5}", "table:1:69"),
        ("- {user: a, purpose: p, dataset: moods, expect: allow, employee_id: true}", "table:1:69"),
        ("- {user: a, purpose: p, dataset: moods, expect: allow, sees: app}", "table:1:62"),
    ],
)
def test_a_table_that_is_not_understood_is_refused(text: str, place: str) -> None:
    """Unknown keys and values are errors with line and column, never expectations that hold by chance."""
    with pytest.raises(DocumentError, match=place):
        parse_expectations(text, "table", CONTRACTS)


@pytest.mark.parametrize("text", ["dataset: nothing", "dataset: events, hides: [no_such_column]"])
def test_a_misspelt_name_holds_for_nothing(text: str) -> None:
    """A dataset or column that no contract has is a mistake in the table, not an expectation that is met."""
    with pytest.raises(DocumentError, match="is not known here"):
        parse_expectations(f"- {{user: stu, purpose: study, expect: deny, {text}}}", "table", CONTRACTS)


RICH = (
    POLICY.replace("  own:\n    grants:", "  own:\n    deny: [{dataset: events, columns: [note]}]\n    grants:")
    .replace(
        "  stu: {roles: [student]}",
        f"  stu: {{roles: [student], deny: [{{dataset: events, employees: {{list: [{ADA}]}}}}]}}",
    )
    .replace("limits: {rows: 10}}]", "smallest_group: 3}]")
    + "groups: {staff: {roles: [own]}}\n"
)
STAFF = f"user: anybody, groups: [staff], employee: {BEN}, purpose: own_data, expect: allow"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{STAFF}, employees: [{BEN}], denied: [note], sees: [said]", ""),
        (f"{STAFF}, denied: [said]", "sees said"),
        (f"{STAFF}, employees: [{ADA}]", "covers 1 other employees"),
        ("user: anybody, groups: [staff], purpose: own_data, expect: deny", ""),
        ("user: anybody, groups: [other], purpose: own_data, expect: deny", ""),
        ("user: stu, purpose: study, expect: allow, denied: [flag]", "no deny takes flag"),
        ("user: stu, purpose: study, expect: allow, masked: [title, n]", ""),
        ("user: stu, purpose: study, expect: allow, masked: [score]", "score is not masked"),
        ("user: stu, purpose: study, expect: allow, masked: [said]", "does not see said"),
        (f"user: stu, purpose: study, expect: allow, covers: [{BEN}], spares: [{ADA}]", ""),
        (
            f"user: stu, purpose: study, expect: allow, covers: [{ADA}], spares: [{BEN}]",
            f"does not cover {ADA}; covers {BEN}",
        ),
        ("user: rolf, purpose: study, expect: allow, smallest_group: 3", ""),
        ("user: rolf, purpose: study, expect: allow, smallest_group: 4", "smallest group is 3"),
        ("user: stu, purpose: study, expect: allow, smallest_group: 4", "smallest group is not limited"),
        ("user: mina, attributes: {app: x}, purpose: study, expect: allow", ""),
    ],
)
def test_groups_claims_denies_and_masks(text: str, said: str) -> None:
    """What an identity provider says counts, and what a deny takes is told from what was never granted."""
    assert complaint(parse_policy(RICH, CONTRACTS, "policy"), text) == said
