"""A table of expectations that a policy is held against, so that a change of policy is tested like a change of code.

- {user: mira, purpose: train_assistant, dataset: desktop_events, expect: allow, sensitivity: 2,
   employee_id: pseudonym, sees: [app], hides: [prompt_text]}
- {user: sam, purpose: train_assistant, dataset: desktop_events, expect: deny}
- {user: anybody, groups: [staff], employee: E00001, purpose: own_data, dataset: desktop_events, expect: allow,
   employees: [E00001], denied: [note_text]}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from lake.errors import DeniedError
from lake.rules.contract import Contract
from lake.rules.document import Node, read_document
from lake.rules.model import EMPLOYEE_COLUMN, Identity
from lake.rules.policy import EmployeeForm, Grant, Policy, ScopeKind, applicable, column_types, decide

ALLOW, DENY = "allow", "deny"
_OPTIONAL = (
    "role",
    "groups",
    "employee",
    "attributes",
    "sensitivity",
    "employee_id",
    "smallest_group",
    "sees",
    "hides",
    "masked",
    "denied",
    "employees",
    "covers",
    "spares",
)


@dataclass(frozen=True, slots=True)
class Expectation:
    """What one identity should meet. None or empty: not looked at.

    Attributes:
        employees: exactly whose rows are covered.
        covers, spares: some whose rows of every opened sensitivity are covered, and some none of whose rows is.
        masked: columns that are shown under a mask.
        denied: columns that a deny takes, and that would be shown without it.
    """

    line: int
    identity: Identity
    purpose: str
    dataset: str
    expect: str
    role: str | None = None
    sensitivity: int | None = None
    employee_id: str | None = None
    smallest_group: int | None = None
    sees: tuple[str, ...] = ()
    hides: tuple[str, ...] = ()
    masked: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    employees: tuple[str, ...] | None = None
    covers: tuple[str, ...] = ()
    spares: tuple[str, ...] = ()


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
    found = [_expectation(item, contracts) for item in read_document(text, source).sequence()]
    if not found:
        raise read_document(text, source).error("the table is empty")
    return found


def _expectation(item: Node, contracts: Mapping[str, Contract]) -> Expectation:
    part = item.mapping(required=("user", "purpose", "dataset", "expect"), optional=_OPTIONAL)
    contract = contracts[part["dataset"].one_of(contracts)]
    columns = {*column_types(contract), EMPLOYEE_COLUMN}

    def texts(key: str) -> tuple[str, ...]:
        return tuple(node.string() for node in part[key].sequence()) if key in part else ()

    def named(key: str) -> tuple[str, ...]:
        return tuple(node.one_of(columns) for node in part[key].sequence()) if key in part else ()

    claims = part["attributes"].items() if "attributes" in part else ()
    forms = [form.value for form in EmployeeForm]
    return Expectation(
        line=item.node.start_mark.line + 1,
        identity=Identity(
            user=part["user"].string(),
            groups=texts("groups"),
            employee=part["employee"].string() if "employee" in part else None,
            attributes=tuple((key, node.string()) for key, node in claims),
        ),
        purpose=part["purpose"].string(),
        dataset=contract.dataset,
        expect=part["expect"].one_of((ALLOW, DENY)),
        role=part["role"].string() if "role" in part else None,
        sensitivity=part["sensitivity"].integer(minimum=1, maximum=4) if "sensitivity" in part else None,
        employee_id=part["employee_id"].one_of(forms) if "employee_id" in part else None,
        smallest_group=part["smallest_group"].integer(minimum=2) if "smallest_group" in part else None,
        sees=named("sees"),
        hides=named("hides"),
        masked=named("masked"),
        denied=named("denied"),
        employees=texts("employees") if "employees" in part else None,
        covers=texts("covers"),
        spares=texts("spares"),
    )


def check_expectations(expectations: Sequence[Expectation], policy: Policy) -> list[Outcome]:
    """Hold a policy against every expectation."""
    return [
        Outcome(item.line, item.identity.user, item.purpose, item.dataset, _complaint(item, policy))
        for item in expectations
    ]


def _complaint(item: Expectation, policy: Policy) -> str:
    try:
        principal = policy.principal(item.identity)
    except DeniedError:
        return "" if item.expect == DENY else "denied: the policy does not know the user"
    decision = decide(policy, principal, item.purpose, item.dataset, item.role)
    if not isinstance(decision, Grant):
        return "" if item.expect == DENY else f"denied: {decision.reason}"
    if item.expect == DENY:
        return f"allowed by role {decision.role}, line {decision.line} of the policy"
    (granted,) = applicable(policy, principal, item.purpose, item.role)[item.dataset]
    return "; ".join([*_columns(item, granted, decision), *_form(item, decision), *_people(item, decision)])


def _form(item: Expectation, decision: Grant) -> Iterator[str]:
    if item.sensitivity is not None and decision.sensitivity != item.sensitivity:
        yield f"highest sensitivity is {decision.sensitivity}"
    if item.employee_id is not None and decision.employee_form.value != item.employee_id:
        yield f"employee id is {decision.employee_form.value}"
    if item.smallest_group is not None and decision.smallest_group != item.smallest_group:
        yield f"smallest group is {decision.smallest_group or 'not limited'}"


def _columns(item: Expectation, granted: Grant, decision: Grant) -> Iterator[str]:
    visible, before = decision.visible_columns(), granted.visible_columns()
    yield from (f"sees {name}" for name in (*item.hides, *item.denied) if name in visible)
    yield from (f"does not see {name}" for name in (*item.sees, *item.masked) if name not in visible)
    yield from (f"no deny takes {name}" for name in item.denied if name not in before)
    yield from (f"{name} is not masked" for name in item.masked if name in visible and name not in decision.masks)


def _people(item: Expectation, decision: Grant) -> Iterator[str]:
    covered = None if decision.employees.kind is ScopeKind.ALL else decision.employees.employees
    if item.employees is not None and covered != frozenset(item.employees):
        yield "covers all employees" if covered is None else f"covers {len(covered)} other employees"
    for name in item.covers:
        if not decision.reaches(name, decision.sensitivity):
            yield f"does not cover {name}"
    for name in item.spares:
        if any(decision.reaches(name, level) for level in decision.sensitivities()):
            yield f"covers {name}"
