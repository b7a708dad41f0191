"""``lake serve ingest`` as a process: over TLS, with a device's token; its options; and how it ends."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from lake.cli.main import main
from lake.clock import utc_now
from tests import forking
from tests.gateway.receiving.killed import upload
from tests.gateway.receiving.site import trusting
from tests.keys.remote.hosts import Authority
from tests.world import World, make

COMMAND = "import sys; from lake.cli.main import main; sys.exit(main(sys.argv[1:]))"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The known lake; its rows land at the real time, so that only refusals depend on it."""
    return make(tmp_path_factory.mktemp("serving"))


def start(world: World, *options: str) -> subprocess.Popen[str]:
    """The server as a process."""
    words = ["serve", "ingest", "--lake", str(world.root), "--key-file", str(world.key), "--json", *options]
    pipe = subprocess.PIPE
    return forking.python(COMMAND, *words, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True)


def test_a_device_sends_and_the_server_ends_in_order(world: World, tmp_path: Path) -> None:
    """Ready line, health, a batch over TLS, the same again, SIGTERM, exit code 0."""
    authority = Authority(tmp_path, "ca")
    server = authority.issue("localhost", server=True)
    ready = upload(world, utc_now)
    process = start(
        world, "--listen", "127.0.0.1:0", "--flight-listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0",
        "--tls-cert", str(server.certificate), "--tls-key", str(server.key), "--grace", "5",
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        line = process.stdout.readline()
        said = json.loads(line)
        assert said["ready"] is True
        web, flight = said["addresses"]
        assert web.startswith("https://")
        assert flight.startswith("grpc+tls://")
        health = said["health"]
        for path in ("healthz", "readyz"):
            assert urllib.request.urlopen(f"{health}/{path}", timeout=30).status == 200  # noqa: S310
        place = urllib.parse.urlsplit(web)
        repeated = []
        for _ in range(2):
            connection = http.client.HTTPSConnection(
                str(place.hostname), place.port, timeout=60, context=trusting(authority)
            )
            connection.request("POST", "/v1/batches", ready.body, ready.headers)
            answer = connection.getresponse()
            content = json.loads(answer.read())
            assert answer.status == 200, content
            repeated.append(content["repeated"])
            connection.close()
        assert repeated == [False, True]
        with urllib.request.urlopen(f"{health}/metrics", timeout=30) as metrics:  # noqa: S310
            assert b'lake_ingest_batches_total{status="landed"} 1.0' in metrics.read()
    finally:
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, ""), err
    assert ready.numbers() == [1, 2]
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "listens nowhere"),
        (["--listen", "127.0.0.1:0"], "needs TLS"),
        (["--listen", "0.0.0.0:0", "--insecure"], "loopback"),
        (["--listen", "localhost:0", "--insecure"], "loopback"),
        (["--listen", "127.0.0.1:0", "--insecure", "--flight-listen", "0.0.0.0:0"], "loopback"),
        (["--listen", "127.0.0.1:0", "--insecure", "--tls-cert", "x"], "without TLS"),
        (["--mtls-listen", "127.0.0.1:0"], "go together"),
        (["--listen", "127.0.0.1", "--insecure"], "HOST:PORT"),
        (["--listen", "127.0.0.1:0", "--insecure", "--uploads", "0"], "1 or more"),
        (["--listen", "127.0.0.1:0", "--insecure", "--buffered", "1"], "fits into"),
    ],
)
def test_options_that_do_not_go_together(
    world: World, options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are said before anything is opened."""
    code = main(["serve", "ingest", "--lake", str(world.root), "--key-file", str(world.key), *options])
    assert code == 2
    assert said in capsys.readouterr().err
