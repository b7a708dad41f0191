"""Parts of a policy in words, for its owner."""

from __future__ import annotations

from lake.rules.elevation import Door
from lake.rules.masks import describe
from lake.rules.policy import Deny, Grant, Limits, ScopeKind, Window

_LIMITS = {"rows": "rows", "bytes": "bytes", "seconds": "seconds", "concurrent": "queries at once"}


def masks(grant: Grant) -> str:
    """Every mask with its column."""
    return ", ".join(f"{name}: {describe(mask)}" for name, mask in grant.masks.items()) or "none"


def limits(limited: Limits) -> str:
    """Every limit."""
    found = {words: getattr(limited, name) for name, words in _LIMITS.items()}
    return ", ".join(f"{value:,} {words}" for words, value in found.items() if value is not None) or "none"


def window(times: Window) -> str:
    """Capture times."""
    parts = [f"from {times.first}" if times.first else "", f"to {times.last}" if times.last else ""]
    parts.append(f"the last {times.last_days} days" if times.last_days else "")
    return ", ".join(part for part in parts if part) or "all"


def employees(decision: Grant) -> str:
    """Whose rows a grant that was decided on covers, in numbers."""
    whole = decision.employees.kind is ScopeKind.ALL
    but = [
        f"not {len(one.employees)} named" + (f" from sensitivity {one.sensitivity} on" if one.sensitivity > 1 else "")
        for one in decision.withheld
    ]
    return ", ".join(["all" if whole else f"{len(decision.employees.employees)} named", *but])


def deny(denied: Deny) -> str:
    """What a deny takes, and where it stands."""
    purposes = "every purpose" if denied.purposes is None else ", ".join(sorted(denied.purposes))
    if denied.sensitivity is None:
        what = f"the columns {', '.join(sorted(denied.columns))}"
    else:
        what = "everything" if denied.sensitivity == 1 else f"sensitivity {denied.sensitivity} and above"
    return f"{denied.dataset}, for {purposes}: {what}{_whose(denied)} (line {denied.line} of the policy)"


def door(way: Door) -> str:
    """What a break-glass door opens."""
    return f"{way.name}, for {', '.join(sorted(way.purposes))}: the role {way.role}, when a second person approves"


def _whose(denied: Deny) -> str:
    scope = denied.employees
    if scope is None or scope.kind is ScopeKind.ALL:
        return ""
    named = {
        ScopeKind.SELF: "themselves",
        ScopeKind.LISTED: f"{len(scope.employees)} named employees",
        ScopeKind.TEAM: "their team",
        ScopeKind.CONSENTED: "who has consented",
    }
    return f" of {named[scope.kind]}"
