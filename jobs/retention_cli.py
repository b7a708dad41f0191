"""``lake jobs retention``: rules, plan, approve, execute, verify; and ``lake jobs verify-certificate``.

Who approves and who executes is the operating system's user of this process, whatever the environment says.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs import run_cli
from lake.cli import arguments as args
from lake.cli.output import emit, private_file
from lake.errors import UsageError
from lake.person import person

if TYPE_CHECKING:
    from jobs.clear.retention.execute import RetentionJob
    from lake.api import Lake
    from lake.gateway.erased import Erased

HASH = "sha256:0a1b…"


def register(commands: Any) -> None:
    """Add the commands to ``lake jobs``."""
    group = args.group(commands, "retention", "purge rows that are past: plan, approve, execute, verify")
    rules = args.command(
        group, "rules", "show the rules in force, or put others in force", "lake jobs retention rules retention.yaml"
    )
    rules.add_argument("file", metavar="FILE", nargs="?", help="YAML; without it the rules in force are shown")
    rules.set_defaults(run=_rules)
    plan = args.command(
        group, "plan", "show what would be purged, and the plan's hash; changes nothing", "lake jobs retention plan"
    )
    plan.set_defaults(run=_plan)
    approve = args.command(
        group, "approve", "approve a plan as the second person", f"lake jobs retention approve --plan {HASH}"
    )
    approve.set_defaults(run=_approve)
    execute = args.command(
        group,
        "execute",
        "purge as planned, or finish a purge that was cut off",
        f"lake jobs retention execute --plan {HASH} --backup /backup/keys\n\n{run_cli.CODES}",
    )
    execute.add_argument(
        "--backup", metavar="DIR", help="replace bucket keys and trim old roots too, so that no older copy opens"
    )
    execute.add_argument("--log", action="store_true", help="a JSON line on stderr for each item, instead of a bar")
    execute.add_argument("--metrics-file", metavar="FILE", help="write Prometheus metrics here when it has ended")
    execute.set_defaults(run=_execute, dry_run=False, yes=True)
    for parser in (plan, approve, execute):
        parser.add_argument("--as-of", metavar="DAY", help="rows past on this day, UTC (default: today)")
    for parser in (approve, execute):
        parser.add_argument("--plan", metavar="HASH", required=True, help="as 'plan' shows it")
    verify = args.command(
        group,
        "verify",
        "check in this process what a purge has done, and certify it",
        "lake jobs retention verify --certificate purge.note",
    )
    certify = args.command(
        commands,
        "certify",
        "check in this process what a purge or a shredding has done, and certify it",
        "lake jobs certify --certificate shred.note",
    )
    for parser in (verify, certify):
        _certifying(parser)
    _register_shred(commands)
    check = args.command(
        commands,
        "verify-certificate",
        "check a purge certificate offline; needs no key and no lake",
        "lake jobs verify-certificate purge.note --verifier-key KEY",
    )
    check.add_argument("file", metavar="FILE")
    check.add_argument("--verifier-key", metavar="KEY", help="public key of the lake's log (default: of --lake)")
    check.set_defaults(run=_check)


def _certifying(verify: argparse.ArgumentParser) -> None:
    verify.add_argument("--run", dest="run_id", metavar="ID", help="which (default: the newest that has ended)")
    verify.add_argument("--certificate", metavar="FILE", help="write the certificate here")
    verify.add_argument(
        "--copies-kept", type=int, metavar="DAYS", help="for how long copies of key service and database are kept"
    )
    verify.set_defaults(run=_verify)


def _register_shred(commands: Any) -> None:
    shred = args.command(
        commands,
        "shred",
        "destroy every key and object of employees for good; shows the plan, and acts with --yes",
        f"lake jobs shred --employee E100001 --backup /backup/keys --yes\n\n{run_cli.CODES}",
    )
    shred.add_argument("--employee", action="append", default=[], metavar="ID", help="who; may be repeated")
    shred.add_argument(
        "--opted-out", action="store_true", help="everybody who opted out of collection ('lake opt-out')"
    )
    shred.add_argument(
        "--later", action="store_true", help="only remember these employees: --waiting does them all, with one rekeying"
    )
    shred.add_argument("--waiting", action="store_true", help="everybody who was remembered with --later")
    shred.add_argument("--backup", metavar="DIR", help="where the key backup goes that must open first")
    shred.add_argument(
        "--copies-kept", type=int, metavar="DAYS", help="for how long copies of key service and database are kept"
    )
    run_cli.run_options(shred)
    shred.set_defaults(run=_shred)
    admit = args.command(
        commands, "admit", "let somebody who was shredded be entered afresh", "lake jobs admit --employee E100001 --yes"
    )
    admit.add_argument("--employee", required=True, metavar="ID", help="who was hired again")
    admit.add_argument("--yes", action="store_true", help="do it; without it nothing is changed")
    admit.set_defaults(run=_admit)


def _shred(arguments: argparse.Namespace) -> int:
    from jobs.runner.journal import RunJournal  # noqa: PLC0415
    from jobs.sealed.retention.shred import ShredJob, opted_out  # noqa: PLC0415
    from lake.gateway.erased import Erased  # noqa: PLC0415

    with args.open_lake(arguments) as lake:
        erased = Erased(lake.home)
        employees = {*arguments.employee, *(opted_out(lake.home) if arguments.opted_out else ())}
        if arguments.later:
            return _later(arguments, erased, sorted(employees))
        employees |= set(erased.asked() if arguments.waiting else ())
        none = not employees and RunJournal(lake.home).unfinished(ShredJob.name) is None
        if none and (arguments.opted_out or arguments.waiting):
            emit({"employees": 0, "changed": False}, "nobody whom that means has rows", as_json=arguments.json)
            return 0
        backup = Path(arguments.backup) if arguments.backup else None
        job = ShredJob(
            lake.home,
            lake.actor,
            employees=sorted(employees),
            backup=backup,
            copies_kept=arguments.copies_kept,
            by=person(),
        )
        return run_cli.run_job(arguments, lake, job)


def _later(arguments: argparse.Namespace, erased: Erased, employees: Sequence[str]) -> int:
    if arguments.waiting or not employees:
        raise UsageError("--later takes whom to remember", hint="--employee or --opted-out")
    new = erased.ask(person(), employees) if arguments.yes else []
    waiting = len(erased.asked())
    text = f"{len(new)} more are to be shredded, {waiting} in all: 'lake jobs shred --waiting' does it"
    if not arguments.yes:
        text = f"{waiting} wait to be shredded; nothing was changed, --yes adds these {len(employees)}"
    emit({"waiting": waiting, "changed": bool(new)}, text, as_json=arguments.json)
    return 0


def _admit(arguments: argparse.Namespace) -> int:
    from lake.gateway.erased import Erased  # noqa: PLC0415

    with args.open_lake(arguments) as lake:
        erased = Erased(lake.home)
        known = lake.home.control.lookup_tag(arguments.employee) in erased.tags()
        if arguments.yes:
            erased.admit(person(), arguments.employee)
    text = "admitted: what lands from now on is under a new pseudonym and new keys"
    if not arguments.yes:
        text = f"{'was shredded' if known else 'was not shredded'}; nothing was changed, --yes admits"
    emit({"erased": known, "changed": bool(arguments.yes)}, text, as_json=arguments.json)
    return 0


def _rules(arguments: argparse.Namespace) -> int:
    from lake.gateway.retention import RetentionDesk  # noqa: PLC0415 - loaded when it is run

    with args.open_lake(arguments) as lake:
        desk = RetentionDesk(lake.home)
        if arguments.file is None:
            found, version = desk.current(), desk.version()
            text = found.text.rstrip() or "no rules: contracts alone say how long rows are kept"
            document = {"version": version, "digest": found.digest, "text": found.text}
            emit(document, text, as_json=arguments.json)
            return 0
        retention, new = desk.apply(args.read_text(arguments.file), arguments.file, person())
    text = f"{len(retention.rules)} rules {'are in force' if new else 'were in force already'}: {retention.digest}"
    emit({"digest": retention.digest, "changed": new}, text, as_json=arguments.json)
    return 0


def _job(arguments: argparse.Namespace, lake: Lake, **options: Any) -> RetentionJob:
    from jobs.clear.retention.execute import RetentionJob  # noqa: PLC0415
    from jobs.sealed.retention.plan import day  # noqa: PLC0415

    try:
        as_of = None if arguments.as_of is None else day(arguments.as_of)
    except ValueError:
        raise UsageError("--as-of takes a day such as 2026-11-01") from None
    return RetentionJob(lake.home, lake.actor, as_of=as_of, by=person(), **options)


def _plan(arguments: argparse.Namespace) -> int:
    with args.open_lake(arguments) as lake:
        planned = _job(arguments, lake).plan()
    facts, shown = planned.facts, planned.shown
    lines = [
        f"as of {facts['as_of']}: {facts['employees']:,} employees, {facts['months']:,} months of employees",
        f"  {facts['months_destroyed']:,} months go by destroying their keys",
        f"  {facts['files']:,} whole files with {facts['rows']:,} rows and {facts['bytes']:,} bytes",
        f"  {facts['partial_files']:,} files are written anew, which have {facts['partial_rows']:,} rows now",
        f"  {shown['held_files']:,} of these files have rows that {len(shown['holds']):,} holds keep back",
        f"plan {planned.hash}",
        "a second person has to approve it" if facts["second_person"] else "one person may execute it",
    ]
    emit(run_cli.plan_document(planned, None), "\n".join(lines), as_json=arguments.json)
    return 0


def _approve(arguments: argparse.Namespace) -> int:
    from lake.gateway.retention import RetentionDesk  # noqa: PLC0415

    with args.open_lake(arguments) as lake:
        planned = _job(arguments, lake).plan()
        _check_hash(planned.hash, arguments)
        facts = {name: planned.facts[name] for name in ("as_of", "employees", "files", "rows")}
        desk = RetentionDesk(lake.home)
        approval = desk.approve(planned.hash, person(), facts)
        key = desk.verifier_key
    document = {"plan": approval.plan, "by": approval.by, "signature": approval.note, "verifier_key": key}
    emit(document, f"{approval.by} has approved {approval.plan}", as_json=arguments.json)
    return 0


def _check_hash(found: str, arguments: argparse.Namespace) -> None:
    if found != arguments.plan:
        raise UsageError(
            "what is due is not what was planned: rows, rules or contracts have changed, or the day has",
            hint="'lake jobs retention plan' shows it as it is; give the plan's own day with --as-of",
        )


def _execute(arguments: argparse.Namespace) -> int:
    from jobs.runner.journal import RunJournal  # noqa: PLC0415

    with args.open_lake(arguments) as lake:
        job = _job(arguments, lake, backup=Path(arguments.backup) if arguments.backup else None)
        if RunJournal(lake.home).unfinished(job.name) is None:
            _check_hash(job.plan().hash, arguments)
        return run_cli.run_job(arguments, lake, job, plan=arguments.plan)


def _verify(arguments: argparse.Namespace) -> int:
    from jobs.sealed.retention.certificate import open_certificate  # noqa: PLC0415
    from jobs.sealed.retention.verify import Verification  # noqa: PLC0415

    if arguments.copies_kept is not None and arguments.copies_kept < 0:
        raise UsageError("--copies-kept takes a number of days from 0 on")
    with args.open_lake(arguments) as lake:
        text = Verification(lake.home, lake.actor, arguments.run_id, arguments.copies_kept).certify()
        data = open_certificate(text, lake.home.config.audit_key).data
    if arguments.certificate:
        with private_file(Path(arguments.certificate)) as file:
            file.write(text.encode())
    where = f"certificate in {arguments.certificate}" if arguments.certificate else f"\n{text}"
    emit(dict(data) | {"certificate": text}, f"{told(data)}\n{where}", as_json=arguments.json)
    return 0


def _check(arguments: argparse.Namespace) -> int:
    from jobs.sealed.retention.certificate import open_certificate  # noqa: PLC0415
    from lake.gateway.config import read_config  # noqa: PLC0415

    key = arguments.verifier_key or read_config(args.lake_path(arguments)).audit_key
    found = open_certificate(args.read_text(arguments.file), key)
    text = f"{told(found.data)}\nin the log since {found.recorded}, entry {found.index}"
    emit(dict(found.data) | {"entry": found.index, "recorded": found.recorded}, text, as_json=arguments.json)
    return 0


def told(data: Any) -> str:
    """A certificate in words."""
    counts = data["counts"]
    words = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items() if count)
    readable = sum(one["readable"] for one in data["residuals"])
    after = data["horizon"]["after"] or "a day that nobody has stated"
    lines = [
        f"{data['kind']} of lake {data['lake']}, plan {data['plan']}: {words or 'nothing was due'}",
        f"{data['keks']['count']:,} KEKs and {data['deks']['count']:,} DEKs destroyed",
        f"{len(data['residuals']):,} residuals, {readable:,} of them places where a key may be left",
        *(f"  {one['what']} {one['id']} until {one['until'] or 'nobody knows'}" for one in data["residuals"][:20]),
        f"copies that others keep are gone after {after}",
    ]
    return "\n".join(lines)
