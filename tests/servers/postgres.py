"""A real PostgreSQL server from the system's packages, in a folder of its own: durable, on a socket and on loopback.

On the socket everybody is trusted, as the folder around it is closed; on loopback a password is asked for. The server
ends with the process that started it.
"""

from __future__ import annotations

import itertools
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

STARTUP_SECONDS = 60.0
USER = "postgres"
MISSING = "no PostgreSQL server is installed here: apt-get install postgresql"
SETTINGS = {
    "fsync": "on",
    "full_page_writes": "on",
    "listen_addresses": "127.0.0.1",
    "shared_buffers": "64MB",
    "max_connections": "60",
    "log_min_messages": "error",
    "autovacuum_naptime": "1h",
}


def binaries() -> Path | None:
    """The newest server's programs, if there is one."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[4]))
    if found:
        return found[-1].parent
    named = shutil.which("postgres")
    return Path(named).parent if named and shutil.which("initdb") else None


class PostgresServer:
    """One cluster, started; ``stop`` removes it."""

    def __init__(self) -> None:
        programs = binaries()
        if programs is None:
            raise FileNotFoundError(MISSING)
        self._programs = programs
        self.folder = Path(tempfile.mkdtemp(prefix="lake-pg-"))
        self.data = self.folder / "data"
        if os.geteuid() == 0:
            shutil.chown(self.folder, USER, USER)
        self._numbers = itertools.count()
        self._templates: dict[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._run("initdb", "--auth-local=trust", "--auth-host=scram-sha-256", "--locale=C.UTF-8", "-E", "UTF8",
                  "-U", USER, "-D", str(self.data))  # fmt: skip
        self.port = _free_port()
        self.start()

    def start(self) -> None:
        """Start it where it was; recovers first if it was crashed."""
        settings = {**SETTINGS, "port": str(self.port), "unix_socket_directories": str(self.folder)}
        options = [f"--{name}={value}" for name, value in settings.items()]
        log = (self.folder / "log").open("ab")
        with log:
            self._process = subprocess.Popen(
                [*self._as_user(), str(self._programs / "postgres"), "-D", str(self.data), *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + STARTUP_SECONDS
        while True:
            try:
                self.connect().close()
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    text = (self.folder / "log").read_text("utf-8", "replace")[-2000:]
                    raise RuntimeError(f"PostgreSQL did not start: {text}") from None
                time.sleep(0.02)
            else:
                return

    def end(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """End it: SIGQUIT as by a crash, SIGINT without waiting for its clients."""
        assert self._process is not None
        self._process.send_signal(how)
        self._process.wait(timeout=60)

    def restart(self) -> None:
        """As ``pg_ctl restart -m immediate``."""
        self.end()
        self.start()

    def stop(self) -> None:
        """End it for good; nothing of it is needed any more."""
        self.end()
        shutil.rmtree(self.folder, ignore_errors=True)

    def connect(self, database: str = "postgres") -> psycopg.Connection[Any]:
        """A superuser's connection, without transactions."""
        return psycopg.connect(
            host=str(self.folder), port=self.port, user=USER, dbname=database, autocommit=True, connect_timeout=10
        )

    def run(self, statement: str, database: str = "postgres") -> list[Any]:
        """One statement of a superuser; its rows."""
        with self.connect(database) as connection:
            cursor = connection.execute(statement)  # type: ignore[call-overload]
            return [] if cursor.description is None else cursor.fetchall()

    def url(self, database: str, **query: str) -> str:
        """The address of a database for its superuser, over the socket."""
        parameters = "".join(f"&{name}={value}" for name, value in query.items())
        return f"postgresql://{USER}@/{database}?host={self.folder}&port={self.port}{parameters}"

    def tcp_url(self, database: str, user: str, **query: str) -> str:
        """The address of a database over loopback, for a user who has a password."""
        parameters = "&".join(f"{name}={value}" for name, value in query.items())
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}?{parameters}"

    def database(self, template: str | None = None) -> str:
        """The name of a new database: empty, or a copy of one."""
        name = f"test_{next(self._numbers)}_{secrets.token_hex(3)}"
        self._make(name, template)
        return name

    def copy_of(self, kind: str, fill: Callable[[str], None]) -> str:
        """The name of a new database like that which ``fill`` makes of an empty one; it is made once for each kind."""
        if kind not in self._templates:
            self._templates[kind] = self.database()
            fill(self._templates[kind])
        return self.database(self._templates[kind])

    def _make(self, name: str, template: str | None) -> None:
        with self.connect() as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                    sql.Identifier(name), sql.Identifier(template or "template0")
                )
            )

    def drop(self, name: str) -> None:
        """Remove a database, whoever is connected to it."""
        with self.connect() as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._as_user(), str(self._programs / program), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=self.folder)
        if done.returncode:
            raise RuntimeError(f"{program} failed: {done.stderr[-1000:]}")

    @staticmethod
    def _as_user() -> list[str]:
        """It refuses to run as root; and it is to end with us."""
        other = ["--reuid", USER, "--regid", USER, "--clear-groups"] if os.geteuid() == 0 else []
        return ["setpriv", "--pdeathsig", "INT", *other, "--"]


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_until(holds: Callable[[], object], seconds: float = STARTUP_SECONDS) -> None:
    """Poll a condition until it is true."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError("the condition did not come true")
        time.sleep(0.02)
