"""``lake policy``: check, apply, explain and test."""

from __future__ import annotations

import argparse

from lake.cli import arguments as args
from lake.cli.output import emit, table
from lake.errors import UsageError
from lake.rules.model import Identity


def register(subparsers: args.Subparsers) -> None:
    """Add the commands."""
    group = subparsers.add_parser("policy", help="check, apply, explain and test policies")
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


def _check(arguments: argparse.Namespace) -> int:
    text = args.read_text(arguments.policy)
    with args.open_lake(arguments) as lake:
        policy = lake.policies.check(text, arguments.policy)
    grants = sum(len(grants) for grants in policy.roles.values())
    document = {"policy": policy.digest, "roles": len(policy.roles), "grants": grants, "users": len(policy.users)}
    emit(
        document,
        f"{arguments.policy}: valid; {len(policy.roles)} roles, {grants} grants, {len(policy.users)} users",
        as_json=arguments.json,
    )
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
