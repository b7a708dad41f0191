"""What goes wrong on the way: told as the lake's own errors, without a word of gRPC's, a token or a row."""

# ruff: noqa: S106 - made up
from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.flight as fl
import pytest

from lake import errors
from lake.client.remote import RemoteConnection, connect_remote
from lake.errors import (
    DeniedError,
    LakeError,
    QueryCancelledError,
    UnauthenticatedError,
    UnavailableError,
    UsageError,
)
from lake.gateway.service import GatewayService
from tests.client.door import Door, opened
from tests.keys.remote.hosts import Authority
from tests.world import ROOT

COUNT = "SELECT count(*) AS n FROM events"
FOREIGN = ("grpc", "Detail:", "debug context", "ipv4", "SSL_", "Traceback", "canary", "pyarrow")


def caught(connection: RemoteConnection, kind: type[LakeError]) -> LakeError:
    """The error of a query, of exactly this class, with nothing foreign in it or behind it."""
    with connection, pytest.raises(kind) as found:
        connection.sql(COUNT).arrow()
    assert type(found.value) is kind
    text = "".join(traceback.format_exception_only(found.value)) + repr(found.value) + str(found.value.details)
    assert not [word for word in FOREIGN if word in text.replace("grpc://", "").replace("grpc+tls://", "")]
    assert found.value.__cause__ is None
    assert found.value.__suppress_context__ or found.value.__context__ is None
    return found.value


def test_nobody_is_there() -> None:
    """An address without a gateway; a name that does not exist."""
    for url in ("grpc://127.0.0.1:9", "grpc+tls://gateway.invalid"):
        error = caught(connect_remote(url, token="t", patience=20), UnavailableError)
        assert "is not there" in error.message


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A CA of the tests' own."""
    return Authority(tmp_path_factory.mktemp("ca"), "ours")


def tls(authority: Authority, **how: Any) -> dict[str, Any]:
    """What a server over TLS shows."""
    own = authority.issue(how.pop("name", "localhost"), server=True, **how)
    return {"tls_certificates": [(own.certificate.read_bytes(), own.key.read_bytes())]}


@contextmanager
def secure(service: GatewayService, authority: Authority, **how: Any) -> Iterator[str]:
    """A door over TLS, as an address."""
    options = tls(authority, **how)
    with opened(service, "grpc+tls://127.0.0.1:0", **options) as door:
        yield door.url.replace("grpc://127.0.0.1", "grpc+tls://localhost")


def test_tls_with_the_right_ca(service: GatewayService, authority: Authority) -> None:
    """Works, and with nothing else."""
    with secure(service, authority) as url:
        with connect_remote(url, token="token-vera", ca=authority.file) as connection:
            assert connection.sql(COUNT).arrow().to_pylist() == [{"n": 144}]
        plain = url.replace("grpc+tls://localhost", "grpc://127.0.0.1")
        caught(connect_remote(plain, token="token-vera", patience=20), UnavailableError)


@pytest.mark.parametrize("how", ["unknown", "other", "expired", "other name", "no tls"])
def test_a_certificate_that_is_not_right(
    service: GatewayService, authority: Authority, tmp_path: Path, door: Door, how: str
) -> None:
    """Not trusted, expired, for somebody else, or none at all: said as such, and no token leaves."""
    other = Authority(tmp_path, "other")
    options: dict[str, Any] = {"expired": {"age": timedelta(days=400)}, "other name": {"name": "elsewhere"}}.get(
        how, {}
    )
    ca = {"unknown": None, "other": other.file}.get(how, authority.file)
    with secure(service, authority, **options) as served:
        url = door.url.replace("grpc://127.0.0.1", "grpc+tls://localhost") if how == "no tls" else served
        error = caught(connect_remote(url, token="token-vera", ca=ca, patience=20), UsageError)
    assert "certificate" in error.message
    assert door.seen == []


def test_a_certificate_of_ones_own(service: GatewayService, authority: Authority, tmp_path: Path) -> None:
    """Asked for by the gateway: with it there is an answer, without it none."""
    own = authority.issue("service.example")
    options = tls(authority) | {"verify_client": True, "root_certificates": authority.file.read_bytes()}
    with opened(service, "grpc+tls://127.0.0.1:0", **options) as door:
        url = door.url.replace("grpc://127.0.0.1", "grpc+tls://localhost")
        trusting = {"token": "token-vera", "ca": authority.file}
        with connect_remote(url, cert=own.certificate, key=own.key, **trusting) as connection:
            assert connection.sql(COUNT).arrow().num_rows == 1
        with connect_remote(url, patience=20, **trusting) as connection, pytest.raises(LakeError):
            connection.tables()


def test_a_token_that_is_not_good(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    """Refused with what the gateway says, and shown nowhere."""
    caplog.set_level(logging.DEBUG)
    connection = connect_remote(door.url, token="canary-token")
    error = caught(connection, UnauthenticatedError)
    assert (error.message, error.hint, error.exit_code) == ("not authenticated", "get a new token", 3)
    assert "canary" not in caplog.text + repr(connection) + repr(connection._place) + str(vars(connection))


def test_a_token_that_is_renewed(door: Door, token_file: Path) -> None:
    """The next call takes the new one, and a connection lives on after a refusal."""
    with connect_remote(door.url, token_file=token_file) as connection:
        connection.sql(COUNT).arrow()
        door.tokens["second-token"] = door.tokens.pop("token-vera")
        with pytest.raises(UnauthenticatedError):
            connection.sql(COUNT)
        token_file.write_text("second-token\n")
        assert connection.sql(COUNT).arrow().to_pylist() == [{"n": 144}]


class _Wild(fl.FlightServerBase):  # type: ignore[misc]
    """Answers every call as it is told to."""

    def __init__(self, error: BaseException) -> None:
        super().__init__("grpc://127.0.0.1:0")
        self._error = error

    def get_flight_info(self, _context: Any, _descriptor: Any) -> Any:
        raise self._error


def about(**fields: Any) -> fl.FlightServerError:
    """An answer with this in it."""
    return fl.FlightServerError("canary text", json.dumps(fields).encode())


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (ValueError("canary row"), LakeError),
        (fl.FlightServerError("canary text"), LakeError),
        (fl.FlightServerError("canary text", b"not JSON"), LakeError),
        (fl.FlightServerError("canary text", b"[" * 9999), LakeError),
        (fl.FlightServerError("canary text", b'"text"'), LakeError),
        (about(error="denied"), LakeError),
        (about(error="denied", message=7), LakeError),
        (about(error=["denied"], message="m"), LakeError),
        (about(error="of tomorrow", message="something new"), LakeError),
        (about(error="of tomorrow", message="something new", retryable=True), UnavailableError),
        (about(error="document", message="something new"), LakeError),
        (about(error="denied", message="m", hint=None, id=None), DeniedError),
        (fl.FlightUnauthenticatedError("canary text"), UnauthenticatedError),
        (fl.FlightUnauthorizedError("canary text"), DeniedError),
        (fl.FlightCancelledError("canary text"), QueryCancelledError),
        (fl.FlightTimedOutError("canary text"), UnavailableError),
        (fl.FlightUnavailableError("canary text"), UnavailableError),
    ],
)
def test_an_answer_of_any_kind(answer: BaseException, kind: type[LakeError]) -> None:
    """Only what the lake's own form says is shown."""
    with _Wild(answer) as server:
        caught(connect_remote(f"grpc://127.0.0.1:{server.port}", token="t", patience=20), kind)


CODES = sorted({kind.code for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, LakeError)})


@pytest.mark.parametrize("code", [code for code in CODES if code not in {"document", "failed"}])
def test_every_error_comes_back_as_itself(code: str) -> None:
    """By its code; with message, hint and id."""
    with _Wild(about(error=code, message="m" * 3000, hint="h", id="q-1")) as server:
        connection = connect_remote(f"grpc://127.0.0.1:{server.port}", token="t")
        with connection, pytest.raises(LakeError) as found:
            connection.tables()
    error = found.value
    assert (error.code, error.message, error.hint, error.details) == (code, "m" * 2000, "h", {"id": "q-1"})


def test_a_silent_gateway(door: Door) -> None:
    """Patience ends, before the first batch or between two."""
    go_on = threading.Event()

    def hold(_batch: pa.RecordBatch) -> None:
        go_on.wait(30)

    with connect_remote(door.url, token="token-vera", patience=1) as connection:
        door.hold = hold
        result = connection.sql("SELECT n FROM events")
        with pytest.raises(UnavailableError, match="sent nothing for 1 s"):
            result.arrow()
        go_on.set()


SERVE = """
import pyarrow as pa, pyarrow.flight as fl, itertools
class Endless(fl.FlightServerBase):
    def get_flight_info(self, context, descriptor):
        return fl.FlightInfo(pa.schema({"n": pa.int64()}), descriptor, [fl.FlightEndpoint(b"t", [])])
    def do_get(self, context, ticket):
        batch = pa.record_batch({"n": list(range(1000))})
        return fl.GeneratorStream(batch.schema, itertools.repeat(batch))
server = Endless("grpc://127.0.0.1:0")
print(server.port, flush=True)
server.serve()
"""


def test_a_gateway_that_dies_in_the_middle() -> None:
    """What has come is not taken for the whole."""
    process = subprocess.Popen([sys.executable, "-c", SERVE], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    port = int(process.stdout.readline())
    try:
        with connect_remote(f"grpc://127.0.0.1:{port}", token="t", patience=60) as connection:
            batches = connection.sql("SELECT 1").batches()
            next(batches)
            os.kill(process.pid, signal.SIGKILL)
            with pytest.raises(UnavailableError, match="is not there"):
                for _ in batches:
                    pass
    finally:
        process.kill()
        process.communicate()


FORK = """
import os, sys
from lake.client.remote import connect_remote
from lake.errors import LakeError
connection = connect_remote(sys.argv[1], token="token-vera")
connection.tables()
for again in (connection, connect_remote(sys.argv[1], token="token-vera")):
    if os.fork() == 0:
        try:
            again.tables()
        except LakeError as error:
            print(error, flush=True)
        os._exit(0)
    os.wait()
"""


def test_a_fork_is_refused_and_does_not_hang(door: Door) -> None:
    """gRPC does not survive one: whoever tries is told what to do instead."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", FORK, door.url], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    assert all("was forked" in line and "spawn" in line for line in lines)
