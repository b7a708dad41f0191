"""``lake collect``: what runs on an employee's computer, and how that employee sees and stops it."""

from __future__ import annotations

import argparse
import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lake.cli import arguments as args
from lake.cli.output import emit, say
from lake.errors import LakeError, UnavailableError, UsageError

if TYPE_CHECKING:
    from lake.collector import CollectorSettings
    from lake.collector.activitywatch import ActivityWatchBridge

STOP_SECONDS = 30.0
"""How long ``lake collect stop`` waits for the collector to end."""


def register(subparsers: args.Subparsers) -> None:
    """Add the commands."""
    commands = args.group(subparsers, "collect", "on an employee's computer: collect, see what is collected, stop it")
    bridge = args.command(
        commands,
        "activitywatch",
        "send what ActivityWatch's watchers see, while a lease allows it; runs until it is stopped",
        "lake collect activitywatch --device-file laptop-7.yaml\n\nthe device file: see docs/collector.md",
    )
    _device_file(bridge)
    bridge.add_argument(
        "--server", default="http://127.0.0.1:5600", metavar="URL",
        help="ActivityWatch's server on this machine (default: %(default)s)",
    )  # fmt: skip
    bridge.add_argument(
        "--host", action="append", default=[], metavar="NAME",
        help="take buckets of this host; again for more (default: the server's own)",
    )  # fmt: skip
    bridge.add_argument(
        "--every", type=float, default=5.0, metavar="SECONDS", help="how often to look (default: %(default)g)"
    )
    bridge.set_defaults(run=_activitywatch)
    status = args.command(
        commands,
        "status",
        "show whether this computer records now, until when, what waits to be sent and what was left out",
        "lake collect status --device-file laptop-7.yaml --json",
    )
    _device_file(status)
    status.set_defaults(run=_status)
    stop = args.command(
        commands,
        "stop",
        "end the collector; what it has is sent if the server answers, and stays sealed if not",
        "lake collect stop --device-file laptop-7.yaml",
    )
    _device_file(stop)
    stop.set_defaults(run=_stop)


def _device_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device-file", metavar="FILE", required=True, help="as whom and where to send, as YAML")


def _settings(arguments: argparse.Namespace) -> CollectorSettings:
    from lake.collector import read_settings

    return read_settings(Path(arguments.device_file))


def _activitywatch(arguments: argparse.Namespace) -> int:
    from lake.collector import Collector
    from lake.collector.activitywatch import ActivityWatchBridge
    from lake.collector.aw_server import AwServer

    if not 0.1 <= arguments.every <= 3600:
        raise UsageError("--every takes 0.1 to 3600 seconds")
    server = AwServer(arguments.server)
    ending = threading.Event()
    with Collector(_settings(arguments)) as collector:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: ending.set())
        document = {"ready": True, "process": os.getpid(), "device": collector.settings.device}
        print(json.dumps(document) if arguments.json else "collecting; 'lake collect stop' ends it", flush=True)
        _bridge(ActivityWatchBridge(server, collector, arguments.host), arguments.every, ending)
    counts = collector.counts
    said = f"ended: {counts.get('landed', 0):,} events have landed, {collector.spool.waiting:,} wait"
    print(json.dumps({"ended": True, "counts": counts}) if arguments.json else said, flush=True)
    return 0


def _bridge(bridge: ActivityWatchBridge, every: float, ending: threading.Event) -> None:
    """Look again and again; a server that is away is said once, and asked less often."""
    from lake.collector.backoff import Backoff

    backoff, told = Backoff(every, 60.0), ""
    while not ending.is_set():
        wait = every
        try:
            bridge.step()
            backoff.reset()
            problem = bridge.problem
        except LakeError as error:
            problem, wait = str(error), max(every, backoff.wait())
        if problem and problem != told:
            say(problem)
        told = problem
        ending.wait(wait)


def _status(arguments: argparse.Namespace) -> int:
    from lake.collector.status import status

    found = status(_settings(arguments))
    emit(found, _text(found), as_json=arguments.json)
    return 0


def _text(found: dict[str, Any]) -> str:
    lease, spool = found["lease"], found["spool"]
    if found["recording"]:
        now = f"recording {', '.join(lease['types'])} of {found['employee']} for {found['dataset']}; "
        now += f"stops in {lease['ends_in_seconds']:g} s unless the lease is renewed"
    elif found["process"] is None:
        now = "not running"
    else:
        now = "running, and recording nothing: there is no lease"
    lines = [now, f"waiting to be sent: {spool['bytes']:,} of {spool['most']:,} bytes, encrypted"]
    return "\n".join([*lines, *(f"{name}: {count:,}" for name, count in found["counts"].items())])


def _stop(arguments: argparse.Namespace) -> int:
    from lake.collector.folder import owner

    settings = _settings(arguments)
    process = owner(settings.folder)
    if process is not None:
        os.kill(process, signal.SIGTERM)
        until = time.monotonic() + STOP_SECONDS
        while owner(settings.folder) == process:
            if time.monotonic() > until:
                raise UnavailableError("the collector has not ended yet", hint="run the command again")
            time.sleep(0.05)
    said = "there was none" if process is None else "it has ended"
    emit({"stopped": process}, said, as_json=arguments.json)
    return 0
