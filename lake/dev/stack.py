"""All of it: key service, store, database, broker, gateway, ingest server; started in order, stopped in reverse."""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lake.dev import hosts, servers
from lake.dev.children import Child, finished
from lake.dev.secret_files import make
from lake.dev.state import LOCAL, POSTGRESQL, SQLITE, Choices, State, free_ports
from lake.errors import UnavailableError, UsageError

LAKE = [sys.executable, "-m", "lake.cli.main"]
GRACE_SECONDS = 5
_PAUSE_MS = 200

Say = Callable[[str], None]


class Stack:
    """The processes of one state folder, which this process runs.

    Raises:
        UsageError: a part is not installed, or a port is taken.
        UnavailableError: a part does not start; those before it are stopped.
    """

    def __init__(self, state: State, documents: Path | None, stop: Stop, say: Say) -> None:
        self._state, self._choices = state, state.choices()
        self._stop, self._say = stop, say
        self._children: list[Child] = []
        try:
            self._start(documents)
        except BaseException:
            self.close()
            raise

    def _start(self, documents: Path | None) -> None:
        state, choices = self._state, self._choices
        if taken := [str(port) for port in choices.ports.values() if not servers.port_is_free(port)]:
            raise UsageError(f"ports are taken: {', '.join(taken)}", hint="who uses them? a lake's addresses stay")
        if not state.secrets.exists():
            make(state.secrets)
        hosts.write_files(state)
        waiting = [(servers.start_openbao(state, choices), lambda: servers.openbao_answers(state, choices))]
        self._children.append(waiting[0][0])
        if choices.store != LOCAL:
            self._children.append(servers.start_store(state, choices))
            waiting.append((self._children[-1], lambda: servers.store_answers(choices)))
        if choices.database != SQLITE:
            self._children.append(servers.start_postgresql(state, choices))
            waiting.append((self._children[-1], lambda: servers.postgresql_answers(choices)))
        for child, answers in waiting:
            child.wait_for(lambda answers=answers: self._going() and answers())  # type: ignore[misc]
            self._say(f"{child.name} is up")
        if choices.database != SQLITE:
            servers.make_databases(state, choices)
        self._prepare(documents)
        self._say("the lake is ready")
        self._broker()
        self._gateway()
        if "ingest" in choices.ports:  # not in a folder from before there was one
            self._ingest()

    def _prepare(self, documents: Path | None) -> None:
        state, choices = self._state, self._choices
        options = hosts.preparation(state, choices)
        if documents is not None:
            options += ["--documents", str(documents)]
        finished(
            "the preparation of the lake",
            [*LAKE, "dev", "prepare", *options],
            state.logs / "prepare.log",
            folder=state.folder,
            environment={**servers.plain_environment(state), **hosts.of_key_store(state, choices, "operator")},
        )

    def _broker(self) -> None:
        secrets, place = self._state.secrets, f"127.0.0.1:{self._choices.ports['broker']}"
        self._lake(
            "broker",
            ["--listen", place, "--peers", str(self._state.folder / "peers.yaml"),
             "--tls-cert", str(secrets / "broker.pem"), "--tls-key", str(secrets / "broker.key"),
             "--tls-client-ca", str(secrets / "ca.pem")],
            hosts.of_key_store(self._state, self._choices, "broker"),
        )  # fmt: skip

    def _gateway(self) -> None:
        secrets, ports = self._state.secrets, self._choices.ports
        self._lake(
            "gateway",
            ["--listen", f"127.0.0.1:{ports['gateway']}", "--identity", str(self._state.folder / "identity.yaml"),
             "--tls-cert", str(secrets / "gateway.pem"), "--tls-key", str(secrets / "gateway.key"),
             "--metrics", f"127.0.0.1:{ports['health']}", "--grace", str(GRACE_SECONDS)],
            hosts.of_role(self._state, self._choices, "gateway"),
        )  # fmt: skip

    def _ingest(self) -> None:
        secrets, ports = self._state.secrets, self._choices.ports
        self._lake(
            "ingest",
            ["--listen", f"127.0.0.1:{ports['ingest']}", "--metrics", f"127.0.0.1:{ports['ingest_health']}",
             "--tls-cert", str(secrets / "ingest.pem"), "--tls-key", str(secrets / "ingest.key"),
             "--grace", str(GRACE_SECONDS)],
            hosts.of_role(self._state, self._choices, "ingest"),
        )  # fmt: skip

    def _lake(self, name: str, options: list[str], environment: dict[str, str]) -> None:
        child = Child(
            f"the {name}",
            [*LAKE, "serve", name, "--json", *options],
            self._state.logs / f"{name}.log",
            folder=self._state.folder,
            environment={**servers.plain_environment(self._state), **environment},
            speaks=True,
        )
        self._children.append(child)
        child.announcement()
        self._say(f"{child.name} is up")

    def _going(self) -> bool:
        if self._stop.came():
            raise KeyboardInterrupt
        return True

    @property
    def document(self) -> dict[str, Any]:
        """Where everything is, for people and programs; no secret."""
        state, ports = self._state, self._choices.ports
        found: dict[str, Any] = {
            "gateway": f"grpc+tls://localhost:{ports['gateway']}",
            **({"ingest": f"https://localhost:{ports['ingest']}"} if "ingest" in ports else {}),
            "ca": str(state.secrets / "ca.pem"),
            "health": f"http://127.0.0.1:{ports['health']}/readyz",
            "broker": f"tls:127.0.0.1:{ports['broker']}",
            "openbao": f"https://127.0.0.1:{ports['openbao']}",
            "lake": str(state.lake),
            "environments": {role: str(state.folder / f"{role}.env") for role in (*hosts.ROLES, hosts.KEYS)},
            "logs": str(state.logs),
            "store": self._choices.store,
            "database": self._choices.database,
        }
        if self._choices.store != LOCAL:
            found["s3"] = f"http://127.0.0.1:{ports['s3']}"
        if self._choices.database != SQLITE:
            found["postgresql"] = f"127.0.0.1:{ports['postgresql']}"
        return found

    def watch(self) -> None:
        """Until it is to stop.

        Raises:
            UnavailableError: a part ended by itself.
        """
        while not self._stop.came(_PAUSE_MS):
            for child in self._children:
                if child.ended is not None:
                    raise UnavailableError(f"{child.name} ended with status {child.ended}", hint=f"see {child.log}")

    def close(self) -> None:
        """Stop everything; whoever uses a part goes before it."""
        while self._children:
            self._children.pop().stop()


class Stop:
    """SIGTERM, SIGINT and SIGHUP from now on."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)

    def came(self, milliseconds: int = 0) -> bool:
        """Whether one has come; waits for it so long."""
        poll = select.poll()
        poll.register(self._read, select.POLLIN)
        return bool(poll.poll(milliseconds))


def decide(store: str, database: str, gateway: int | None, state: State, say: Say) -> Choices:
    """What a new folder is made with; a database server only where there is one, unless it was asked for.

    Raises:
        UsageError: what was asked for is not installed.
    """
    if database != SQLITE and (reason := servers.missing_database(state)):
        if database:
            raise UsageError(f"there can be no PostgreSQL: {reason}", hint="--database sqlite does without")
        say(f"SQLite instead of PostgreSQL: {reason}")
        database = SQLITE
    servers.openbao_program()
    if store != LOCAL:
        servers.juicefs_program()
    return Choices(store, database or POSTGRESQL, free_ports({} if gateway is None else {"gateway": gateway}))
