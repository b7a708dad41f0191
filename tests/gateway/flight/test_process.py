"""``lake serve gateway`` as a process of its own: how it starts, what it refuses to start with, and how it ends."""

from __future__ import annotations

import json
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.flight as fl
import pytest

from lake.cli.main import main
from lake.client.remote import connect_remote
from lake.errors import LakeError
from tests import forking
from tests import world as w
from tests.gateway.flight.asking import query

SQL = "SELECT count(*) AS n FROM events"
SMALL = ("--sandboxes", "4", "--sandbox-memory", "256", "--slice-cache", "0")
RUN = """
import sys
from lake.cli.main import run
from lake.gateway.flight import door

door._PARTING = 1.0  # seconds; clients that take nothing have had the time of grace before
run(sys.argv[1:])
"""
INSECURE = ("--insecure", "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0")


@dataclass(slots=True)
class Running:
    """A gateway process that is ready."""

    process: subprocess.Popen[str]
    ready: dict[str, Any]
    log: Path

    def stop(self) -> list[dict[str, Any]]:
        """Ask it to stop; the lines of its log."""
        self.process.send_signal(signal.SIGTERM)
        out, _ = self.process.communicate(timeout=60)
        assert (self.process.returncode, out) == (0, ""), self.log.read_text()
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def readiness(self) -> int:
        """The status of /readyz."""
        try:
            with urllib.request.urlopen(f"{self.ready['health']}/readyz", timeout=10) as answer:  # noqa: S310
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code


@pytest.fixture
def site(world: w.World, tmp_path: Path) -> w.World:
    """A lake of the test's own, with an identity file that takes its tokens."""
    (tmp_path / "identity.yaml").write_text("local_tokens: true\n")
    (tmp_path / "identity.yaml").chmod(0o600)
    return world


def command(site: w.World, *more: str) -> list[str]:
    """The command line of a gateway."""
    identity = site.root.parent / "identity.yaml"
    place = ["--lake", str(site.root), "--key-file", str(site.key), "--identity", str(identity)]
    return ["serve", "gateway", *place, *SMALL, *more]


@pytest.fixture
def start(site: w.World) -> Iterator[Callable[..., Running]]:
    """Starts gateways over the lake, and ends them."""
    started: list[subprocess.Popen[str]] = []

    def run(*more: str) -> Running:
        log = site.root.parent / "gateway.log"
        with log.open("w") as stderr:
            process = forking.python(
                RUN,
                *command(site, *INSECURE, "--json", *more),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        started.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, log.read_text()
        return Running(process, json.loads(line), log)

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def token(site: w.World, capsys: pytest.CaptureFixture[str]) -> str:
    """A token of the lake's own, as the operator makes it."""
    place = ["--lake", str(site.root), "--key-file", str(site.key)]
    assert main(["token", *place, "--user", w.VERA, "--purpose", "incident"]) == 0
    return capsys.readouterr().out.strip()


def test_it_answers_and_stops(start: Callable[..., Running], token: str) -> None:
    """One line when it is ready, a log of JSON lines without names or SQL, and exit code 0."""
    running = start()
    assert running.ready["ready"] is True
    assert running.readiness() == 200
    (url,) = running.ready["addresses"]
    with connect_remote(url, token=token) as client:
        assert client.sql(SQL).arrow().to_pylist() == [{"n": 144}]
        with pytest.raises(LakeError):
            client.sql("SELECT * FROM nowhere")
    lines = running.stop()
    assert [line["message"].split(" rows=")[0] for line in lines] == ["describe ok", "query ok", "describe denied"]
    text = running.log.read_text()
    assert not any(word in text for word in (token, w.VERA, "incident", "events", "SELECT", "nowhere"))


def begun(url: str, token: str, sql: str) -> tuple[fl.FlightClient, Any]:
    """A result of which a plain client has taken the first batch, and takes no more by itself."""
    client = fl.connect(url)
    options = fl.FlightCallOptions(headers=[(b"authorization", f"Bearer {token}".encode())])
    (endpoint,) = client.get_flight_info(query(sql), options).endpoints
    reader = client.do_get(endpoint.ticket, options)
    reader.read_chunk()
    return client, reader


def test_results_under_way_end_before_it_does(start: Callable[..., Running], token: str) -> None:
    """Not ready any more, no new calls, and the result is whole."""
    running = start("--grace", "120")
    (url,) = running.ready["addresses"]
    client, reader = begun(url, token, "SELECT a.n, b.ts, a.app FROM events a, events b, range(100)")
    with client, connect_remote(url, token=token) as other:
        running.process.send_signal(signal.SIGTERM)
        while running.readiness() != 503:
            pass
        with pytest.raises(LakeError, match="stopping"):
            other.sql(SQL)
        assert running.process.poll() is None
        rest = sum(chunk.data.num_rows for chunk in reader)
    assert 0 < rest < 144 * 144 * 100
    running.process.communicate(timeout=60)
    assert running.process.returncode == 0
    (line,) = [line for line in running.log.read_text().splitlines() if '"query ' in line]
    assert f"query ok rows={144 * 144 * 100} " in line


def test_a_client_that_takes_nothing_does_not_keep_it(start: Callable[..., Running], token: str) -> None:
    """After the time of grace it ends all the same, and the client gets no end that looks like one."""
    running = start("--grace", "0")
    (url,) = running.ready["addresses"]
    client, reader = begun(url, token, "SELECT a.*, b.* FROM events a, events b, range(4000)")
    with client:
        running.process.send_signal(signal.SIGTERM)
        running.process.communicate(timeout=60)
        assert running.process.returncode == 0
        with pytest.raises((fl.FlightError, pa.ArrowException, OSError)):
            reader.read_all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "listens nowhere"),
        (("--listen", "127.0.0.1:0"), "need TLS"),
        (("--insecure", "--listen", "0.0.0.0:0"), "loopback"),
        (("--insecure", "--listen", "localhost:0"), "loopback"),
        (("--insecure", "--listen", "127.0.0.1:0", "--tls-cert", "x", "--tls-key", "y"), "without TLS"),
        (("--mtls-listen", "127.0.0.1:0", "--tls-cert", "x", "--tls-key", "y"), "go together"),
        (("--listen", "nowhere", "--tls-cert", "x", "--tls-key", "y"), "HOST:PORT"),
        (("--insecure", "--listen", "127.0.0.1:99999"), "HOST:PORT"),
        (("--insecure", "--listen", "127.0.0.1:0", "--sandboxes", "0"), "not negative"),
        (("--insecure", "--listen", "127.0.0.1:0", "--metrics", "here"), "HOST:PORT"),
    ],
)
def test_what_does_not_go_together_is_refused(
    site: w.World, options: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With exit code 2, before anything is opened."""
    assert main(command(site, *options)) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "mode", "text", "words"),
    [
        ("identity.yaml", 0o666, "local_tokens: true\n", "others can write"),
        ("identity.yaml", 0o600, "local_token: true\n", "identity.yaml:1:1"),
        ("lake.key", 0o644, None, "open to others"),
    ],
)
def test_what_it_reads_must_be_in_order(site: w.World, name: str, mode: int, text: str | None, words: str) -> None:
    """Who writes the identity file says who anybody is; a start that fails leaves no process behind."""
    file = site.root.parent / name
    if text is not None:
        file.write_text(text)
    file.chmod(mode)
    found = forking.run(RUN, *command(site, *INSECURE), text=True)
    assert (found.returncode, found.stdout) == (2, "")
    assert words in found.stderr
