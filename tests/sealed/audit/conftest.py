"""A signer for tests only: a keyed hash stands in for a signature, with the notes' own text format."""

from __future__ import annotations

import base64
import hmac
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from lake.sealed.audit.log import AuditLog
from tests import forking

ORIGIN = "lake.example/audit"
_KEY = b"a key for tests alone"
_REPOSITORY = Path(__file__).resolve().parents[3]


class KeyedNotes:
    """Signs and opens notes with one HMAC key."""

    name = ORIGIN

    def sign(self, text: str) -> str:
        tag = base64.b64encode(hmac.digest(_KEY, text.encode(), "sha256")).decode()
        return f"{text}\n\N{EM DASH} {self.name} {tag}\n"

    def open(self, note: str) -> str:
        text = note.partition("\n\n")[0] + "\n"
        if not hmac.compare_digest(self.sign(text).encode(), note.encode()):
            raise ValueError("not signed")
        return text


def open_log(root: Path, *, writable: bool = True) -> AuditLog:
    """The log at `root`."""
    notes = KeyedNotes()
    return AuditLog.open(root, ORIGIN, signer=notes if writable else None, opener=notes)


def run_child(source: str, *arguments: object) -> subprocess.Popen[str]:
    """Starts Python source in a process of its own that can import the lake, and this file as ``conftest``."""
    path = os.pathsep.join([str(Path(__file__).parent), str(_REPOSITORY)])
    return forking.python(
        source,
        *arguments,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="session")
def notes() -> KeyedNotes:
    """Signs and opens."""
    return KeyedNotes()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The folder of a new, empty log."""
    folder = tmp_path / "audit"
    AuditLog.create(folder, KeyedNotes())
    return folder


@pytest.fixture(scope="session")
def opened() -> Callable[..., AuditLog]:
    """Opens a log: `open_log`."""
    return open_log


@pytest.fixture(scope="session")
def child() -> Callable[..., subprocess.Popen[str]]:
    """Starts a process: `run_child`."""
    return run_child
