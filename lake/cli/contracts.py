"""``lake contract``: propose, approve, reject, withdraw and show versions of collection contracts.

Who does it is the operating system's user of this process, whatever the environment says.
"""

from __future__ import annotations

import argparse
from datetime import UTC
from typing import TYPE_CHECKING, Any

from lake.cli import arguments as args
from lake.cli.output import emit, table
from lake.clock import timestamp
from lake.errors import UsageError
from lake.person import person

if TYPE_CHECKING:
    from lake.api import Lake
    from lake.gateway.contract_approval import Approvals
    from lake.rules.contract import Contract
    from lake.rules.contract_approval import Event, Proposal, Standing

ID = "00112233445566778899aabbccddeeff"


def register(subparsers: args.Subparsers) -> None:
    """Add the commands."""
    commands = args.group(subparsers, "contract", "versions of collection contracts: who may put what in force")
    ask = args.command(
        commands,
        "propose",
        "propose a version; what only narrows is in force at once, anything else waits for a second person",
        "lake contract propose examples/contracts/mouse.yaml",
    )
    ask.add_argument("contract", metavar="CONTRACT.yaml")
    ask.set_defaults(run=propose)
    yes = args.command(
        commands, "approve", "say yes as the second person; it is in force at once", f"lake contract approve {ID}"
    )
    yes.set_defaults(run=approve)
    no = args.command(
        commands, "reject", "say no to a proposal", f'lake contract reject {ID} --reason "not agreed with the council"'
    )
    no.set_defaults(run=reject)
    for parser in (yes, no):
        parser.add_argument("id", metavar="ID", help="as 'lake contract list' shows it")
    end = args.command(
        commands,
        "withdraw",
        "take a version out of force: batches that name it are refused from then on",
        'lake contract withdraw mouse_events 1 --reason "replaced by version 2"',
    )
    end.add_argument("dataset")
    end.add_argument("version", type=int)
    end.set_defaults(run=withdraw)
    for parser in (no, end):
        parser.add_argument("--reason", required=True, help="why, in 10 to 500 characters")
    listing = args.command(commands, "list", "show every version and what became of it", "lake contract list --json")
    listing.set_defaults(run=_list)
    show = args.command(
        commands,
        "show",
        "show a version, or the notice that employees see",
        "lake contract show mouse_events --notice --html",
    )
    show.add_argument("dataset")
    show.add_argument("--version", type=int, metavar="N", help="of the contract (default: the newest in force)")
    show.add_argument("--notice", action="store_true", help="what employees are told")
    show.add_argument("--html", action="store_true", help="the notice as a page")
    show.set_defaults(run=_show)
    diff = args.command(
        commands,
        "diff",
        "compare two contract files; exit code 1 if the new one needs a second person",
        "lake contract diff old.yaml new.yaml",
    )
    diff.add_argument("old", metavar="OLD.yaml")
    diff.add_argument("new", metavar="NEW.yaml")
    diff.set_defaults(run=_diff)


def propose(arguments: argparse.Namespace, by: str | None = None) -> int:
    """Propose; ``by`` is for who knows better than the operating system who is there."""
    text = args.read_text(arguments.contract)
    with args.open_lake(arguments) as lake:
        approvals = lake.contracts.approvals
        one = approvals.propose(text, arguments.contract, by or person())
        return _told(arguments, approvals, one)


def approve(arguments: argparse.Namespace, by: str | None = None) -> int:
    """Approve."""
    with args.open_lake(arguments) as lake:
        approvals = lake.contracts.approvals
        return _told(arguments, approvals, approvals.approve(by or person(), arguments.id))


def reject(arguments: argparse.Namespace, by: str | None = None) -> int:
    """Reject."""
    with args.open_lake(arguments) as lake:
        approvals = lake.contracts.approvals
        return _told(arguments, approvals, approvals.reject(by or person(), arguments.id, arguments.reason))


def withdraw(arguments: argparse.Namespace, by: str | None = None) -> int:
    """Withdraw."""
    with args.open_lake(arguments) as lake:
        approvals = lake.contracts.approvals
        one = approvals.withdraw(by or person(), arguments.dataset, arguments.version, arguments.reason)
        return _told(arguments, approvals, one)


def _list(arguments: argparse.Namespace) -> int:
    with args.open_lake(arguments) as lake:
        standing = lake.contracts.approvals.standing()
    documents = [_document(standing, one) for one in standing.proposals.values()]
    columns = ("id", "dataset", "version", "state", "proposed_by", "approved_by", "alone", "ended_by")
    emit(documents, table(documents, columns), as_json=arguments.json)
    return 0


def _show(arguments: argparse.Namespace) -> int:
    from lake.cli.notice import as_text, make_notice
    from lake.cli.notice_page import as_page
    from lake.sealed.catalog.notices import not_stored

    if arguments.html and not arguments.notice:
        raise UsageError("--html is for the notice", hint="add --notice")
    with args.open_lake(arguments) as lake:
        standing = lake.contracts.approvals.standing()
        one = _version(lake, standing, arguments.dataset, arguments.version)
        contract, before = _texts(standing, one)
        counts = not_stored(lake.home.catalog, arguments.dataset)
        key = lake.contracts.approvals.verifier_key
    document = {**_document(standing, one), "signature": one.note, "verifier_key": key, "text": one.what.text}
    if not arguments.notice:
        emit(document, one.what.text.rstrip(), as_json=arguments.json)
        return 0
    notice = make_notice(contract, before, state=str(standing.state(one)), not_stored=counts)
    text = as_page(notice).rstrip("\n") if arguments.html else as_text(notice)
    emit({**document, "not_stored": counts, "notice": text}, text, as_json=arguments.json)
    return 0


def _version(lake: Lake, standing: Standing, dataset: str, version: int | None) -> Proposal:
    if version is None:
        version = lake.contracts.get(dataset).version
    one = standing.version(dataset, version)
    if one is None:
        raise UsageError("no such version was ever in force", hint="'lake contract list' names them")
    return one


def _texts(standing: Standing, one: Proposal) -> tuple[Contract, Contract | None]:
    """A version and the one before it."""
    from lake.rules.contract import parse_contract

    former = standing.version(one.what.dataset, one.what.version - 1)
    return parse_contract(one.what.text), parse_contract(former.what.text) if former else None


def _diff(arguments: argparse.Namespace) -> int:
    from lake.rules.contract import check_successor, parse_contract
    from lake.rules.contract_change import compare

    old, new = (parse_contract(args.read_text(path), path) for path in (arguments.old, arguments.new))
    check_successor(old, new)
    found = compare(old, new)
    rows = [
        {"direction": str(one.direction), "what": one.what, "name": one.name, "words": one.words}
        for one in found.changes
    ]
    verdict = "a second person has to approve this" if found.needs_second else "one person may put this in force"
    document = {"needs_second": found.needs_second, "changes": rows}
    emit(document, f"{table(rows, ('direction', 'words'))}\n{verdict}", as_json=arguments.json)
    return 1 if found.needs_second else 0


def _time(event: Event | None) -> str | None:
    return timestamp(event.at.replace(tzinfo=UTC)) if event else None


def _document(standing: Standing, one: Proposal) -> dict[str, Any]:
    what, approved, ended = one.what, one.approved, one.ended
    second = approved if approved is not None and approved is not one.proposed else None
    return {
        "id": one.id,
        "dataset": what.dataset,
        "version": what.version,
        "digest": what.digest,
        "state": str(standing.state(one)),
        "proposed_by": one.proposed.by,
        "proposed": _time(one.proposed),
        "approved_by": second.by if second else None,
        "approved": _time(approved),
        "alone": str(what.alone) or None,
        "ended_by": ended.by if ended else None,
        "ended": _time(ended),
        "reason": ended.note if ended else None,
        "changes": list(what.changes),
    }


def _told(arguments: argparse.Namespace, approvals: Approvals, one: Proposal) -> int:
    standing = approvals.standing()
    document = _document(standing, one)
    lines = [f"{one.id}: {one.what.dataset} version {one.what.version}: {document['state']}"]
    if document["state"] == "waiting":
        lines += ["a second person has to approve this:", *(f"  - {words}" for words in one.what.changes)]
    if one.ended is not None and one.approved is not None:
        newest = max(standing.in_force(one.what.dataset), default=None)
        now = "no version is in force: nothing lands" if newest is None else f"the newest in force is now {newest}"
        lines.append(now)
    emit(document, "\n".join(lines), as_json=arguments.json)
    return 0
