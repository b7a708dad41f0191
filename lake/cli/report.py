"""``lake report``: what a lake holds and who read what, as one HTML file that needs nothing else to be looked at."""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lake.cli import arguments as args
from lake.cli.output import emit, private_file

if TYPE_CHECKING:
    from lake.api import Lake
    from lake.cli.overview import Overview, Scan

BREACHES = frozenset({"unknown_event_type", "unknown_field", "field_not_of_event"})


def register(subparsers: args.Subparsers) -> None:
    """Add the command."""
    report = args.command(
        subparsers,
        "report",
        "write an HTML overview: what is stored about whom, and who read what",
        "lake report --output lake.html --lake ./mylake",
    )
    report.add_argument("--output", metavar="FILE", required=True, help="file to write, mode 0600; it names people")
    report.set_defaults(run=_report)


def _report(arguments: argparse.Namespace) -> int:
    with args.open_lake(arguments) as lake:
        overview = build_overview(lake)
    write_report(Path(arguments.output), overview)
    emit({"output": arguments.output}, f"wrote {arguments.output}; it names people", as_json=arguments.json)
    return 0


def write_report(path: Path, overview: Overview) -> None:
    """Render and write the page, readable by its owner only."""
    from lake.cli.html_report import render

    with private_file(path) as file:
        file.write(render(overview).encode())


def build_overview(lake: Lake, scan: Scan | None = None) -> Overview:
    """Gather what the page shows from the catalog and the audit log."""
    from lake.cli import overview as page
    from lake.clock import timestamp
    from lake.gateway.doctor import verify_audit
    from lake.gateway.reports import Interval, Reports

    home = lake.home
    reports = Reports(home, lake.policies, lake.actor)
    activity = reports.activity(Interval())
    summary = home.catalog.summary()
    users = sorted({query["user"] for query in activity})
    access = [_access(page, reports.blast_radius(user, Interval())) for user in users]
    home.log.publish()
    audit = verify_audit(home.root)
    figures = (
        page.Figure("rows", sum(row["rows"] for row in summary)),
        page.Figure("employees", home.catalog.counts()["directory"]),
        page.Figure("encrypted files", sum(row["files"] for row in summary), "a key of its own for each"),
        page.Figure("queries", len(activity), f"{sum(q['outcome'] == 'deny' for q in activity)} denied"),
        page.Figure("audit entries", home.log.size),
    )
    holdings, months = _holdings(page, lake)
    return page.Overview(
        title="Telemetry lake",
        lake_id=home.config.lake,
        created=home.config.created,
        generated=timestamp(home.clock()),
        figures=figures,
        holdings=holdings,
        months=months,
        drops=tuple(
            page.Drop(dataset, reason, count, reason in BREACHES)
            for (dataset, reason), count in sorted(reports.dropped().items())
        ),
        queries=tuple(
            page.Query(
                time=query["time"],
                user=query["user"],
                roles=tuple(query["roles"]),
                purpose=query["purpose"],
                dataset=", ".join(query["datasets"]),
                outcome=query["outcome"],
                rows=query["rows"],
                employees=tuple(query["employees"]),
                levels=tuple(query["levels"]),
                entry=query["entry"],
            )
            for query in activity
        ),
        access=tuple(access),
        audit=page.AuditState(int(str(audit["size"])), str(audit["root"]), signature_ok=True),
        scan=scan,
    )


def _access(page: Any, radius: dict[str, Any]) -> Any:
    return page.Access(
        user=radius["user"],
        could=radius["could"]["employees"],
        unwrapped=radius["unwrapped"]["employees"],
        did=radius["did"]["employees"],
    )


def _holdings(page: Any, lake: Lake) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    cells: dict[tuple[int, str], dict[str, list[int]]] = {}
    months: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for row in lake.home.catalog.holdings():
        level = row["sensitivity"] - 1
        cell = cells.setdefault((row["number"], row["dataset"]), {name: [0] * 4 for name in ("rows", "files", "bytes")})
        for name, counts in cell.items():
            counts[level] += row[name]
        months[row["month"]][level] += row["rows"]
    names = lake.home.directory.names({number for number, _ in cells})
    holdings = tuple(
        page.Holding(
            employee=names.get(number, f"erased #{number}"),
            dataset=dataset,
            rows=tuple(cell["rows"]),
            files=tuple(cell["files"]),
            bytes=tuple(cell["bytes"]),
        )
        for (number, dataset), cell in cells.items()
    )
    return holdings, tuple(page.Month(month, tuple(rows)) for month, rows in sorted(months.items()))
