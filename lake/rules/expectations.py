"""A table of expectations that a policy is held against, so that a change of policy is tested like a change of code.

- {user: mira, purpose: train_assistant, dataset: desktop_events, expect: allow, sensitivity: 2,
   employee_id: pseudonym, sees: [app], hides: [prompt_text]}
- {user: sam, purpose: train_assistant, dataset: desktop_events, expect: deny}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lake.errors import DeniedError
from lake.rules.contract import Contract
from lake.rules.document import read_document
from lake.rules.model import EMPLOYEE_COLUMN, Identity
from lake.rules.policy import EmployeeForm, Grant, Policy, column_types, decide, scope_employees

ALLOW, DENY = "allow", "deny"


@dataclass(frozen=True, slots=True)
class Expectation:
    """What one user should meet. None: not looked at."""

    line: int
    user: str
    purpose: str
    dataset: str
    expect: str
    role: str | None = None
    sensitivity: int | None = None
    employee_id: str | None = None
    sees: tuple[str, ...] = ()
    hides: tuple[str, ...] = ()
    employees: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an expectation fared; an empty complaint means that it holds."""

    line: int
    user: str
    purpose: str
    dataset: str
    complaint: str


def parse_expectations(text: str, source: str, contracts: Mapping[str, Contract]) -> list[Expectation]:
    """Read the table.

    Raises:
        DocumentError: it is not one, or names a dataset or column that no contract has, which would hold for nothing;
            names line and column.
    """
    found: list[Expectation] = []
    for item in read_document(text, source).sequence():
        part = item.mapping(
            required=("user", "purpose", "dataset", "expect"),
            optional=("role", "sensitivity", "employee_id", "sees", "hides", "employees"),
        )
        contract = contracts[part["dataset"].one_of(contracts)]
        columns = {*column_types(contract), EMPLOYEE_COLUMN}
        names: dict[str, tuple[str, ...]] = {
            key: tuple(node.one_of(columns) for node in part[key].sequence())
            for key in ("sees", "hides")
            if key in part
        }
        if "employees" in part:
            names["employees"] = tuple(node.string() for node in part["employees"].sequence())
        found.append(
            Expectation(
                line=item.node.start_mark.line + 1,
                user=part["user"].string(),
                purpose=part["purpose"].string(),
                dataset=contract.dataset,
                expect=part["expect"].one_of((ALLOW, DENY)),
                role=part["role"].string() if "role" in part else None,
                sensitivity=part["sensitivity"].integer(minimum=1, maximum=4) if "sensitivity" in part else None,
                employee_id=part["employee_id"].one_of([form.value for form in EmployeeForm])
                if "employee_id" in part
                else None,
                sees=names.get("sees", ()),
                hides=names.get("hides", ()),
                employees=names.get("employees"),
            )
        )
    if not found:
        raise read_document(text, source).error("the table is empty")
    return found


def check_expectations(expectations: Sequence[Expectation], policy: Policy) -> list[Outcome]:
    """Hold a policy against every expectation."""
    return [
        Outcome(item.line, item.user, item.purpose, item.dataset, _complaint(item, policy)) for item in expectations
    ]


def _complaint(item: Expectation, policy: Policy) -> str:
    try:
        principal = policy.principal(Identity(item.user))
    except DeniedError:
        return "" if item.expect == DENY else "denied: the policy does not know the user"
    decision = decide(policy, principal, item.purpose, item.dataset, item.role)
    if not isinstance(decision, Grant):
        return "" if item.expect == DENY else f"denied: {decision.reason}"
    if item.expect == DENY:
        return f"allowed by role {decision.role}, line {decision.line} of the policy"
    visible = decision.visible_columns()
    complaints = [f"sees {name}" for name in item.hides if name in visible]
    complaints += [f"does not see {name}" for name in item.sees if name not in visible]
    if item.sensitivity is not None and decision.sensitivity != item.sensitivity:
        complaints.append(f"highest sensitivity is {decision.sensitivity}")
    if item.employee_id is not None and decision.employee_form.value != item.employee_id:
        complaints.append(f"employee id is {decision.employee_form.value}")
    if item.employees is not None:
        covered = scope_employees(decision, principal)
        if covered is None or covered != frozenset(item.employees):
            complaints.append("covers all employees" if covered is None else f"covers {len(covered)} other employees")
    return "; ".join(complaints)
