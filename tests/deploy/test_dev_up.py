"""``lake dev up``: the README's tour through real servers and the processes of every host; it leaves nothing behind."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from adbc_driver_flightsql import DatabaseOptions, dbapi

import lake
from tests import forking

ROOT = Path(__file__).resolve().parents[2]
LAKE = [sys.executable, "-m", "lake.cli.main"]
RUN = "import sys\nfrom lake.cli.main import run\nrun(sys.argv[1:])"
COUNT = "SELECT count(*) AS n FROM desktop_events"
SECONDS = 240.0


@dataclass
class Stack:
    """One state folder, and the process that runs it now."""

    state: Path
    process: subprocess.Popen[bytes]
    document: dict[str, Any]

    def run(self, role: str, *arguments: str, expect: int = 0) -> Any:
        """A command on a host of this role; its document."""
        lines = (self.state / f"{role}.env").read_text().splitlines()
        exported = dict(line.removeprefix("export ").split("=", 1) for line in lines)
        environment = clean() | {name: shlex.split(value)[0] for name, value in exported.items()}
        done = forking.run(RUN, *arguments, "--json", env=environment, cwd=self.state.parent)
        assert done.returncode == expect, done.stderr.decode()
        return json.loads(done.stdout)

    def others(self) -> list[int]:
        """Processes that belong to the folder, but for those of this test."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    command = (entry / "cmdline").read_bytes()
                except OSError:
                    continue
                if str(self.state).encode() in command:
                    found.append(int(entry.name))
        return found


def clean() -> dict[str, str]:
    """The environment without what names a lake."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("LAKE_", "PG", "AWS_"))}


def up(state: Path, *options: str) -> Stack:
    """Started, and ready."""
    process = subprocess.Popen(
        [*LAKE, "dev", "up", "--json", "--state", str(state), *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=clean(),
    )  # fmt: skip
    assert process.stdout is not None
    document = json.loads(process.stdout.readline())
    if "ready" not in document:
        logs = "\n".join(f"{path.name}: {path.read_text()[-500:]}" for path in (state / "logs").glob("*.log"))
        pytest.fail(f"{process.communicate()[1].decode()}\n{logs}")
    return Stack(state, process, document)


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """The set of processes with the examples, in a folder that the database's user can get into."""
    folder = Path(tempfile.mkdtemp(prefix="lake-dev-"))
    folder.chmod(0o711)
    found = None
    try:
        found = up(folder / "state", "--documents", str(ROOT / "examples"))
        yield found
    finally:
        if found is not None:
            found.process.terminate()
            found.process.communicate()
        shutil.rmtree(folder, ignore_errors=True)


def test_the_tour(stack: Stack) -> None:
    """Ingest, a token, queries by ADBC and the client, a report, the doctor: each on the host that may."""
    rows = stack.state.parent / "rows.arrow"
    assert stack.document["ready"]
    stack.run("ingest", "synth", "--employees", "2", "--rows", "300", "--seed", "7", "--output", str(rows))
    landed = stack.run("ingest", "ingest", str(rows), "--dataset", "desktop_events")
    assert landed["rows"] == 300
    assert stack.document["store"] == "juicefs"
    assert not [path for path in stack.state.glob("lake/data/**/*") if path.is_file()]
    refused = stack.run("ingest", "query", COUNT, "--user", "mira", "--purpose", "train_assistant", expect=3)
    assert refused["error"] == "broker_refused"

    token = stack.run("gateway", "token", "--user", "mira", "--purpose", "train_assistant")["token"]
    options = {
        DatabaseOptions.AUTHORIZATION_HEADER.value: f"Bearer {token}",
        DatabaseOptions.TLS_ROOT_CERTS.value: Path(stack.document["ca"]).read_text(),
    }
    with (
        dbapi.connect(stack.document["gateway"], db_kwargs=options, autocommit=True) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(COUNT)
        (seen,) = cursor.fetchall()
    assert 0 < seen[0] < 300
    with lake.connect(stack.document["gateway"], token=token, ca=stack.document["ca"]) as reader:
        assert reader.sql(COUNT).arrow().to_pylist() == [{"n": seen[0]}]

    report = stack.run("gateway", "audit", "subject-report", "--employee", "E00001")
    assert report
    assert stack.run("operator", "audit", "verify")
    states = {finding["check"]: finding["state"] for finding in stack.run("operator", "doctor")}
    assert {states[name] for name in ("keys", "catalog", "audit log", "objects", "stray files")} == {"ok"}
    assert stack.run("jobs", "jobs", "sweep", "--yes")["removed"] == 0
    assert stack.run("keys", "keys", "status")


def test_nobody_else_reads_the_folder(stack: Stack) -> None:
    """Secrets and documents are of mode 0600, and no log or address holds a secret."""
    secrets = {path: path.read_bytes() for path in (stack.state / "secrets").iterdir()}
    assert {stat.S_IMODE(path.stat().st_mode) for path in secrets} == {0o600}
    assert not stack.state.stat().st_mode & 0o066
    hidden = [secret.strip() for path, secret in secrets.items() if path.suffix in {".token", ".password", ".key"}]
    assert len(hidden) > 10
    for path in (*(stack.state / "logs").iterdir(), *stack.state.glob("*.env"), *stack.state.glob("*.json")):
        text = path.read_bytes()
        assert not [secret for secret in hidden if secret in text], path.name
    for process in stack.others():
        command = Path(f"/proc/{process}/cmdline").read_bytes()
        assert not [secret for secret in hidden if secret in command]


def test_another_one_does_not_start_beside_it(stack: Stack) -> None:
    """And the folder tells who is there."""
    second = forking.run(RUN, "dev", "up", "--state", stack.state, env=clean())
    assert second.returncode == 2
    assert b"it runs already" in second.stderr
    status = forking.run(RUN, "dev", "status", "--state", stack.state, "--json", env=clean())
    assert json.loads(status.stdout)["pid"] == stack.process.pid


def test_it_leaves_nothing_behind_and_goes_on(stack: Stack) -> None:
    """Killed, it takes every process with it; started again it is the same lake; and it is stopped from elsewhere."""
    before = stack.run("operator", "status")
    assert len(stack.others()) >= 3
    stack.process.send_signal(signal.SIGKILL)
    stack.process.communicate()
    deadline = time.monotonic() + SECONDS
    while stack.others():
        assert time.monotonic() < deadline, stack.others()
        time.sleep(0.05)
    again = up(stack.state)
    stack.process, stack.document = again.process, again.document
    after = stack.run("operator", "status")
    assert (after["lake"], after["counts"]) == (before["lake"], before["counts"])
    down = forking.run(RUN, "dev", "down", "--state", stack.state, env=clean())
    assert down.returncode == 0, down.stderr
    assert stack.process.wait(SECONDS) == 0
    assert stack.others() == []
