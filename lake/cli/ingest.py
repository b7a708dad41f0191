"""``lake ingest``: files and folders into a dataset. Each file is one batch and lands exactly once."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lake.cli import arguments as args
from lake.cli.output import emit, progress, say, table
from lake.errors import LakeError, UsageError


def register(subparsers: args.Subparsers) -> None:
    """Add the command."""
    from lake.clear.landing.readers.names import IMPORTERS

    ingest = args.command(
        subparsers,
        "ingest",
        "land files: each is one batch, wholly or not at all, and only once",
        "lake ingest telemetry/balabit --dataset mouse_events --importer balabit --lake ./mylake",
    )
    ingest.add_argument("paths", nargs="+", metavar="PATH", help="files, or folders of files")
    ingest.add_argument("--dataset", required=True)
    ingest.add_argument("--importer", choices=IMPORTERS, help="what the files are (default: by their suffix)")
    ingest.add_argument("--mapping", metavar="FILE", help="for csv: which column is which field")
    ingest.add_argument("--employee", help="whose rows these are, where the files do not say (activitywatch)")
    ingest.add_argument("--session-start", metavar="TIME", help="time of the first session, where files have none")
    ingest.add_argument("--batch-id", help="name of the batch (one file only; default: its digest)")
    ingest.add_argument("--contract-version", type=int, help="the contract version to judge by (default: the newest)")
    ingest.set_defaults(run=_ingest)


def _options(arguments: argparse.Namespace) -> Any:
    from lake.clear.landing.readers.source import ReadOptions, parse_mapping

    given: dict[str, Any] = {"employee": arguments.employee}
    if arguments.mapping:
        given["mapping"] = parse_mapping(args.read_text(arguments.mapping), arguments.mapping)
    start = args.moment(arguments.session_start, "--session-start")
    if start is not None:
        given["session_start"] = start.astimezone(UTC).replace(tzinfo=None)
    return ReadOptions(**given)


def _ingest(arguments: argparse.Namespace) -> int:
    from lake.clear.landing.readers.source import expand
    from lake.gateway.files import file_delivery
    from lake.gateway.ingest import Ingest

    options = _options(arguments)
    paths = expand([Path(path) for path in arguments.paths], arguments.importer)
    if arguments.batch_id and len(paths) > 1:
        raise UsageError("--batch-id names one batch, and there are several files")
    reports: list[dict[str, Any]] = []
    complete = False
    started = datetime.now(UTC)
    with args.open_lake(arguments) as lake:
        contract = lake.contracts.get(arguments.dataset, arguments.contract_version)
        ingest = Ingest(lake.home, lake.contracts, lake.actor, lake.open_runs)
        try:
            with progress("rows") as advance:
                for path in paths:
                    delivery = file_delivery(path, arguments.importer, contract, options, batch_id=arguments.batch_id)
                    reports.append({"file": path.name, **asdict(ingest.land(delivery, advance))})
            complete = True
        except LakeError as error:
            error.details |= {"file": path.name, "files_landed": len(reports)}
            raise
        finally:
            # What landed before stays; what comes after is not tried, so that the first error is seen.
            if not complete:
                say(f"{path.name} did not land; {len(reports)} of {len(paths)} files landed before it")
            if complete or not arguments.json:
                _print(reports, (datetime.now(UTC) - started).total_seconds(), as_json=arguments.json)
    return 0


def _print(reports: list[dict[str, Any]], seconds: float, *, as_json: bool) -> None:
    landed = [report for report in reports if report["status"] == "landed"]
    rows = sum(report["rows"] for report in landed)
    dropped: dict[str, int] = {}
    for report in landed:
        for reason, count in report["dropped"].items():
            dropped[reason] = dropped.get(reason, 0) + count
    document = {
        "batches": reports,
        "landed": len(landed),
        "already_landed": len(reports) - len(landed),
        "rows": rows,
        "dropped": dropped,
        "seconds": round(seconds, 3),
    }
    repeated = len(reports) - len(landed)
    text = [f"{len(landed)} batches landed ({rows:,} rows in {seconds:.1f} s), {repeated} had landed before"]
    unknown = sorted({name for report in landed for name in report["unknown_fields"]})
    if unknown:
        say(f"fields that the contract does not name, and that did not land: {', '.join(unknown)}")
    if dropped:
        text += ["not stored:", table([{"reason": reason, "values": count} for reason, count in dropped.items()])]
    emit(document, "\n".join(text), as_json=as_json)
