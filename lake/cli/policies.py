"""``lake policy``: check, apply, explain, test and diff."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from lake.cli import arguments as args
from lake.cli.output import emit, shown, table
from lake.errors import UsageError
from lake.rules.model import Identity

if TYPE_CHECKING:
    from lake.api import Lake
    from lake.rules.policy import Policy

CURRENT = "current"
"""In place of a file: the policy in force."""


def register(subparsers: args.Subparsers) -> None:
    """Add the commands."""
    group = subparsers.add_parser("policy", help="check, apply, explain, test and compare policies")
    commands = group.add_subparsers(metavar="COMMAND", required=True)
    check = args.command(
        commands,
        "check",
        "check a policy against the contracts in force; errors name line and column",
        "lake policy check examples/policies/policy.yaml --lake ./mylake",
    )
    check.add_argument("policy", metavar="POLICY.yaml")
    check.set_defaults(run=_check)
    apply = args.command(
        commands,
        "apply",
        "put a policy in force",
        "lake policy apply examples/policies/policy.yaml --lake ./mylake",
    )
    apply.add_argument("policy", metavar="POLICY.yaml")
    apply.set_defaults(run=_apply)
    explain = args.command(
        commands, "explain", "show what a user sees, and why", "lake policy explain --user mira --lake ./mylake"
    )
    explain.add_argument("--user", required=True)
    explain.add_argument("--group", action="append", default=[], help="a group that they are a member of; repeatable")
    explain.add_argument("--employee", help="their own employee id, if the identity provider tells it")
    explain.add_argument(
        "--attribute", action="append", default=[], metavar="NAME=VALUE", help="as the identity provider tells it"
    )
    explain.add_argument("--policy", metavar="POLICY.yaml", help="explain this policy instead of the one in force")
    explain.set_defaults(run=_explain)
    test = args.command(
        commands,
        "test",
        "hold a policy against a table of expectations",
        "lake policy test examples/policies/expectations.yaml --lake ./mylake",
    )
    test.add_argument("expectations", metavar="FILE")
    test.add_argument("--policy", metavar="POLICY.yaml", help="test this policy instead of the one in force")
    test.set_defaults(run=_test)
    _register_diff(commands)


def _register_diff(commands: args.Subparsers) -> None:
    diff = args.command(
        commands,
        "diff",
        "who gains and who loses from one policy to another",
        "lake policy diff current examples/policies/policy.yaml --lake ./mylake",
    )
    diff.add_argument("old", metavar="OLD", help="a policy's file, or 'current' for the one in force")
    diff.add_argument("new", metavar="NEW", help="the same")
    diff.add_argument(
        "--contract",
        action="append",
        default=[],
        metavar="FILE",
        help="compare under these contracts, without a lake; repeatable",
    )
    diff.add_argument(
        "--fail-on-widening",
        action="store_true",
        help="exit code 1 if something became wider, or may have",
    )
    diff.set_defaults(run=_diff)


def _check(arguments: argparse.Namespace) -> int:
    text = args.read_text(arguments.policy)
    with args.open_lake(arguments) as lake:
        policy = lake.policies.check(text, arguments.policy)
    denies = [*policy.denies.values(), *(user.denies for user in policy.users.values())]
    counts = {
        "roles": len(policy.roles),
        "grants": sum(map(len, policy.roles.values())),
        "denies": sum(map(len, denies)),
        "users": len(policy.users),
        "groups": len(policy.groups),
    }
    told = ", ".join(f"{count} {name}" for name, count in counts.items())
    emit({"policy": policy.digest, **counts}, f"{arguments.policy}: valid; {told}", as_json=arguments.json)
    return 0


def _apply(arguments: argparse.Namespace) -> int:
    text = args.read_text(arguments.policy)
    with args.open_lake(arguments) as lake:
        policy, applied = lake.policies.apply(text, arguments.policy, lake.actor)
    done = "in force now" if applied else "was in force already"
    emit({"policy": policy.digest, "applied": applied}, f"{policy.digest}: {done}", as_json=arguments.json)
    return 0


def _explain(arguments: argparse.Namespace) -> int:
    from lake.gateway.explain import explain

    with args.open_lake(arguments) as lake:
        policy = (
            lake.policies.check(args.read_text(arguments.policy), arguments.policy)
            if arguments.policy
            else lake.policies.current()
        )
        document = explain(lake.home, lake.contracts.newest(), policy, _identity(arguments))
    lines = [f"{arguments.user} holds: {', '.join(document['roles']) or 'no role'}"]
    for grant in document["grants"]:
        lines += ["", f"{grant['dataset']}, as {grant['role']}, for {', '.join(grant['purposes'])}"]
        lines += [f"  {name}: {grant[name]}" for name in grant if name not in {"dataset", "role", "purposes"}]
    if not document["grants"]:
        lines.append(document["why"])
    lines += [f"denied: {text}" for text in document["denied"]]
    lines += [f"break-glass: {text}" for text in document["doors"]]
    emit(document, "\n".join(lines), as_json=arguments.json)
    return 0


def _identity(arguments: argparse.Namespace) -> Identity:
    pairs = [text.partition("=") for text in arguments.attribute]
    if not all(sign for _, sign, _ in pairs):
        raise UsageError("--attribute takes NAME=VALUE")
    claims = tuple((name, value) for name, _, value in pairs)
    return Identity(arguments.user, tuple(arguments.group), arguments.employee, claims)


def _test(arguments: argparse.Namespace) -> int:
    from lake.rules.expectations import check_expectations, parse_expectations

    text = args.read_text(arguments.expectations)
    with args.open_lake(arguments) as lake:
        expectations = parse_expectations(text, arguments.expectations, lake.contracts.newest())
        policy = (
            lake.policies.check(args.read_text(arguments.policy), arguments.policy)
            if arguments.policy
            else lake.policies.current()
        )
    if policy is None:
        raise UsageError("no policy is in force", hint="'lake policy apply', or give --policy")
    outcomes = check_expectations(expectations, policy)
    rows = [
        {
            "line": o.line,
            "user": o.user,
            "purpose": o.purpose,
            "dataset": o.dataset,
            "result": "ok" if not o.complaint else "FAILED",
            "complaint": o.complaint,
        }
        for o in outcomes
    ]
    failed = sum(1 for outcome in outcomes if outcome.complaint)
    document = {"passed": len(outcomes) - failed, "failed": failed, "expectations": rows}
    emit(document, f"{table(rows)}\n\n{len(outcomes) - failed} passed, {failed} failed", as_json=arguments.json)
    return 1 if failed else 0


def _diff(arguments: argparse.Namespace) -> int:
    if arguments.contract:
        document = _diff_by_contracts(arguments)
    else:
        from lake.gateway.policy_diff import policy_diff

        with args.open_lake(arguments) as lake:
            old, new = (_policy_of(lake, place) for place in (arguments.old, arguments.new))
            document = policy_diff(old, new, lake.home)
    emit(document, _diff_text(document), as_json=arguments.json)
    return 1 if arguments.fail_on_widening and document["widened"] else 0


def _policy_of(lake: Lake, place: str) -> Policy:
    if place != CURRENT:
        return lake.policies.check(args.read_text(place), place)
    policy = lake.policies.current()
    if policy is None:
        raise UsageError("no policy is in force", hint="'lake policy apply', or give a file")
    return policy


def _diff_by_contracts(arguments: argparse.Namespace) -> dict[str, Any]:
    from lake.gateway.policy_diff import policy_diff
    from lake.rules.contract import parse_contract
    from lake.rules.policy_document import parse_policy

    if CURRENT in {arguments.old, arguments.new}:
        raise UsageError("the policy in force is in a lake", hint="leave --contract out")
    parsed = [parse_contract(args.read_text(path), path) for path in arguments.contract]
    contracts = {contract.dataset: contract for contract in parsed}
    old, new = (parse_policy(args.read_text(path), contracts, path) for path in (arguments.old, arguments.new))
    return policy_diff(old, new)


def _diff_text(document: dict[str, Any]) -> str:
    lines: list[str] = []
    for one in document["differences"]:
        asker = f"{one['who']}, if {one['if']}" if one["if"] else one["who"]
        lines.append(f"{one['effect']}: {asker}: {one['dataset']} for {one['purpose']}, as {one['role']}")
        lines += [f"  {c['what']}: {c['before']} -> {c['after']} ({c['effect']})" for c in one["changes"]]
        for row in one["employees"]:
            files = f", {row['files before']} -> {row['files after']} files" if "files before" in row else ""
            counts = f"{row['before']} -> {row['after']} employees"
            lines.append(
                f"  sensitivity {row['sensitivity']}: {counts} ({row['gained']} gained, {row['lost']} lost){files}"
            )
    return "\n".join(shown(line) if not line.startswith(" ") else f"  {shown(line)}" for line in lines) or "no change"
