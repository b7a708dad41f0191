"""The folder of one set of processes: what was chosen when it was made, and who runs it now."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lake.errors import IntegrityError, LakeError, UsageError

PORTS = (
    "openbao",
    "openbao_cluster",
    "s3",
    "s3_metrics",
    "postgresql",
    "broker",
    "gateway",
    "health",
    "ingest",
    "ingest_health",
)
LOCAL, JUICEFS = "local", "juicefs"
SQLITE, POSTGRESQL = "sqlite", "postgresql"


@dataclass(frozen=True, slots=True)
class Choices:
    """What the lake in the folder was made with; the lake remembers addresses, so they stay.

    Attributes:
        store: ``juicefs`` or ``local``.
        database: ``postgresql`` or ``sqlite``.
        ports: of the loopback address, by the names in ``PORTS``.
    """

    store: str
    database: str
    ports: Mapping[str, int]


class State:
    """The folder; mode 0700."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.secrets = self.folder / "secrets"
        self.logs = self.folder / "logs"
        self.lake = self.folder / "lake"
        self._choices = self.folder / "choices.json"
        self._running = self.folder / "running.json"

    @property
    def made(self) -> bool:
        """Whether there is something to go on with."""
        return self._choices.exists()

    def make(self, choices: Choices) -> None:
        """Begin a new folder.

        Raises:
            UsageError: there is something else, or it cannot be written.
        """
        if self.folder.exists() and {path.name for path in self.folder.iterdir()} - {"lock"}:
            raise UsageError(f"{self.folder} is something else", hint="name a folder that does not exist yet")
        self.logs.mkdir(mode=0o700)
        _write(self._choices, asdict(choices))

    def choices(self) -> Choices:
        """What it was made with.

        Raises:
            IntegrityError: that cannot be read.
        """
        try:
            return Choices(**json.loads(self._choices.read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            raise IntegrityError(f"{self._choices} cannot be read", hint="begin anew in another folder") from None

    @contextmanager
    def running(self) -> Iterator[None]:
        """Be the one who runs it, until the end of the block.

        Raises:
            UsageError: another process does, or the folder is open to others.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise UsageError(f"{self.folder} cannot be used: {os.strerror(error.errno or 0)}") from None
        with os.fdopen(descriptor, "wb") as lock:
            status = self.folder.stat()
            if status.st_uid != os.geteuid() or status.st_mode & 0o066:
                raise UsageError(f"{self.folder} is not yours alone", hint=f"chmod 700 {self.folder}")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UsageError("it runs already", hint="lake dev status shows it, lake dev down stops it") from None
            self.withdraw()  # a run that was killed could not
            yield

    def announce(self, document: Mapping[str, Any]) -> None:
        """Tell others where everything is; the process that runs it is named in it."""
        _write(self._running, {**document, "pid": os.getpid()})

    def withdraw(self) -> None:
        """Tell others that it is no longer so."""
        self._running.unlink(missing_ok=True)

    def announced(self) -> dict[str, Any] | None:
        """What the one who runs it says; None if nobody does, or it is not up yet."""
        if not self.held:
            return None
        with suppress(OSError, ValueError):
            found: dict[str, Any] = json.loads(self._running.read_text("utf-8"))
            return found
        return None

    @property
    def held(self) -> bool:
        """Whether somebody runs it."""
        try:
            with (self.folder / "lock").open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        except OSError as error:
            raise LakeError(f"{self.folder} cannot be read: {os.strerror(error.errno or 0)}") from None
        return False


def free_ports(given: Mapping[str, int]) -> dict[str, int]:
    """A port of the loopback address for each name; what is given is taken as it is."""
    found = dict(given)
    with ExitStack() as stack:
        for name in PORTS:
            if name not in found:
                listener = stack.enter_context(socket.socket())
                listener.bind(("127.0.0.1", 0))
                found[name] = listener.getsockname()[1]
    return found


def _write(path: Path, document: Mapping[str, Any]) -> None:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(json.dumps(document, indent=2) + "\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
