"""``lake jobs run``, ``list``, ``status`` and ``daemon``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lake.cli import arguments as args
from lake.cli.output import emit, progress, table
from lake.clock import timestamp
from lake.errors import LakeError, UsageError
from lake.settings import Settings

if TYPE_CHECKING:
    from jobs.runner.metrics import JobMetrics
    from jobs.runner.work import Job, Plan, Run
    from lake.api import Lake

CODES = (
    "exit codes: 0 done, 1 an item failed, 2 usage, 3 denied, 4 integrity violated, 75 nothing is broken: run it again"
)


def register(commands: Any) -> None:
    """Add the commands to ``lake jobs``."""
    run = args.command(
        commands,
        "run",
        "run a job, or finish the run of it that was cut off; one that destroys acts with --yes",
        f"lake jobs run sweep --yes\n\n{CODES}",
    )
    run.add_argument("name", metavar="NAME", help="as 'lake jobs list' shows it")
    run.add_argument(
        "--option", action="append", default=[], metavar="NAME=VALUE", help="an option of the job; may be repeated"
    )
    run_options(run)
    run.add_argument("--plan", metavar="HASH", help="run only if the plan is this one")
    run.set_defaults(run=_run)
    listing = args.command(commands, "list", "show the jobs, their options and usual times", "lake jobs list")
    listing.set_defaults(run=_list)
    status = args.command(commands, "status", "show the newest runs", "lake jobs status sweep --json")
    status.add_argument("name", metavar="NAME", nargs="?", help="runs of this job only")
    status.add_argument("--last", type=int, default=20, metavar="N", help="how many (default: 20)")
    status.set_defaults(run=_status)
    abandon = args.command(
        commands,
        "abandon",
        "give up a run that was cut off, if no item of it is half done",
        "lake jobs abandon retention --yes",
    )
    abandon.add_argument("name", metavar="NAME")
    abandon.add_argument("--yes", action="store_true", help="do it; without it nothing is changed")
    abandon.set_defaults(run=_abandon)
    daemon = args.command(
        commands,
        "daemon",
        "run jobs when they are due, until SIGTERM",
        "lake jobs daemon --schedule jobs.yaml --metrics 127.0.0.1:9466",
    )
    daemon.add_argument(
        "--schedule",
        metavar="FILE",
        help="YAML: cron expressions (UTC) by job, 'off' for never (default: LAKE_SCHEDULE, or usual times)",
    )
    daemon.add_argument("--metrics", metavar="HOST:PORT", help="health and metrics over plain HTTP (default: none)")
    daemon.set_defaults(run=_daemon)


def run_options(parser: argparse.ArgumentParser) -> None:
    """Options of every command that runs a job."""
    parser.add_argument("--dry-run", action="store_true", help="show the plan, and change nothing")
    parser.add_argument("--yes", action="store_true", help="do what destroys; without it nothing is changed")
    parser.add_argument("--log", action="store_true", help="a JSON line on stderr for each item, instead of a bar")
    parser.add_argument("--metrics-file", metavar="FILE", help="write Prometheus metrics here when the run has ended")


def _run(arguments: argparse.Namespace) -> int:
    from jobs.runner.registry import known, make  # noqa: PLC0415 - loaded when it is run

    known(arguments.name)
    given = dict(_pair(text) for text in arguments.option)
    with args.open_lake(arguments) as lake:
        job = make(arguments.name, lake.home, lake.actor, given)
        return run_job(arguments, lake, job, plan=arguments.plan)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise UsageError("--option takes NAME=VALUE")
    return name, value


def run_job(arguments: argparse.Namespace, lake: Lake, job: Job, *, plan: str | None = None) -> int:
    """Show a job's plan, or run it; gives the exit code."""
    from jobs.runner.logs import Log  # noqa: PLC0415
    from jobs.runner.metrics import NO_METRICS, JobMetrics  # noqa: PLC0415
    from jobs.runner.run import Options, Runner, exit_code, for_cron  # noqa: PLC0415
    from jobs.runner.stopping import stop_signals  # noqa: PLC0415
    from keys.errors import KeysError  # noqa: PLC0415

    planned, unfinished = Runner(lake.home).plan(job)
    if arguments.dry_run or (job.destroys and not arguments.yes):
        document = plan_document(planned, unfinished) | {"changed": False}
        emit(document, _plan_text(document), as_json=arguments.json)
        return 0
    figures: JobMetrics | None = JobMetrics() if arguments.metrics_file else None
    log = Log.to_stderr(lake.home.clock) if arguments.log else Log.silent()
    with ExitStack() as stack:
        stop = stack.enter_context(stop_signals())
        advance = (lambda _: None) if arguments.log else stack.enter_context(progress(job.name, len(planned.items)))
        options = Options(stop, advance, plan, log, figures or NO_METRICS)
        try:
            done = Runner(lake.home, options).run(job, None if unfinished else planned)
        except (LakeError, KeysError) as error:
            raise for_cron(error) from None
        finally:
            if figures is not None:
                figures.write(Path(arguments.metrics_file))
    emit(run_document(done) | {"changed": True}, _run_text(done), as_json=arguments.json)
    return exit_code(done)


def plan_document(plan: Plan, unfinished: Run | None) -> dict[str, Any]:
    """A plan for ``--json``."""
    return {
        "job": plan.job,
        "plan": plan.hash,
        "items": len(plan.items),
        "facts": dict(plan.facts),
        "shown": dict(plan.shown),
        "unfinished": unfinished.id if unfinished else None,
    }


def _plan_text(document: Mapping[str, Any]) -> str:
    words = _words(document["facts"] | document["shown"])
    begun = f"; the run {document['unfinished']} was cut off and would go on" if document["unfinished"] else ""
    return f"{document['items']:,} items{begun}\n{words}plan {document['plan']}\nnothing was changed; --yes does it"


def run_document(run: Run) -> dict[str, Any]:
    """A run for ``--json``."""
    return {
        "id": run.id,
        "job": run.job,
        "state": run.state,
        "plan": run.plan,
        "items": run.items,
        "counts": run.counts,
        "facts": dict(run.facts),
        "started": _time(run.started_at),
        "updated": _time(run.updated_at),
    }


def _run_text(run: Run) -> str:
    counts = {name: count for name, count in run.counts.items() if name != "done"}
    return f"{run.job}: {run.state}, {run.counts.get('done', 0):,} of {run.items:,} items\n{_words(counts)}".rstrip()


def _words(facts: Mapping[str, Any]) -> str:
    return "".join(f"  {name}: {value:,}\n" for name, value in facts.items() if isinstance(value, int))


def _time(microseconds: int) -> str:
    from lake.sealed.catalog.rows import moment  # noqa: PLC0415

    return timestamp(moment(microseconds).replace(tzinfo=UTC))


def _list(arguments: argparse.Namespace) -> int:
    from jobs.runner.registry import JOBS  # noqa: PLC0415

    documents: list[dict[str, Any]] = []
    for name, job in sorted(JOBS.items()):
        found = job.load()
        options = {option: value.words for option, value in found.options.items()}
        document = {"name": name, "usual": job.cron or "", "destroys": found.destroys, "does": job.summary}
        documents.append(document | {"options": options})
    text = table([one | {"options": ", ".join(one["options"])} for one in documents])
    emit(documents, text, as_json=arguments.json)
    return 0


def _status(arguments: argparse.Namespace) -> int:
    from jobs.runner.journal import RunJournal  # noqa: PLC0415
    from jobs.runner.registry import known  # noqa: PLC0415

    if arguments.name is not None:
        known(arguments.name)
    if arguments.last < 1:
        raise UsageError("--last takes a number from 1 on")
    with args.open_lake(arguments) as lake:
        runs = RunJournal(lake.home).recent(arguments.name, arguments.last)
    documents = [run_document(run) for run in runs]
    rows = [one | {"done": one["counts"].get("done", 0), "failed": one["counts"].get("failed", 0)} for one in documents]
    columns = ("id", "job", "state", "items", "done", "failed", "started", "updated")
    emit(documents, table(rows, columns), as_json=arguments.json)
    return 0


def _abandon(arguments: argparse.Namespace) -> int:
    from jobs.runner.registry import known  # noqa: PLC0415
    from jobs.runner.run import Runner  # noqa: PLC0415

    known(arguments.name)
    with args.open_lake(arguments) as lake:
        runner = Runner(lake.home)
        run = runner.abandon(arguments.name, lake.actor) if arguments.yes else runner.journal.unfinished(arguments.name)
    what = "nothing is unfinished" if run is None else f"{run.id}: {run.state}"
    text = what if arguments.yes or run is None else f"{what}; nothing was changed, --yes gives it up"
    document = {"run": run_document(run) if run else None, "changed": bool(arguments.yes and run)}
    emit(document, text, as_json=arguments.json)
    return 0


def _daemon(arguments: argparse.Namespace) -> int:
    from jobs.runner.daemon import Daemon  # noqa: PLC0415
    from jobs.runner.logs import Log  # noqa: PLC0415
    from jobs.runner.metrics import NO_METRICS, JobMetrics  # noqa: PLC0415
    from jobs.runner.run import Options  # noqa: PLC0415
    from jobs.runner.schedule import in_force  # noqa: PLC0415
    from jobs.runner.stopping import stop_signals  # noqa: PLC0415

    file = (args.read_text(arguments.schedule), arguments.schedule) if arguments.schedule else None
    schedule = in_force(Settings(), file)
    with ExitStack() as stack:
        figures: JobMetrics | None = None
        if arguments.metrics:
            from lake.gateway.observe.health import HealthServer  # noqa: PLC0415

            figures = JobMetrics()
            server = HealthServer(_place(arguments.metrics), figures, lambda: None)
            stack.callback(server.close)
        stop = stack.enter_context(stop_signals())
        lake = stack.enter_context(args.open_lake(arguments))
        log = Log.to_stderr(lake.home.clock)
        options = Options(stop, log=log, figures=figures or NO_METRICS)
        Daemon(lake.home, lake.actor, schedule, options, stop.wait).serve()
    return 0


def _place(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise UsageError("--metrics takes HOST:PORT, such as 127.0.0.1:9466")
    return host.strip("[]"), int(port)
