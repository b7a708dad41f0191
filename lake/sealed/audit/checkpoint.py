"""Checkpoints: the signed size and root of the log (C2SP tlog-checkpoint), and the ports to who signs and opens them.

Must never hold a key: signatures are made and checked by what is handed in.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import Protocol

from lake.errors import AuditUnavailableError, IntegrityError
from lake.sealed.audit.merkle import HASH_SIZE

_TEXT = re.compile(r"([^\n]+)\n(0|[1-9][0-9]{0,18})\n([A-Za-z0-9+/]{43}=)\n")


class CheckpointSigner(Protocol):
    """Signs the log's checkpoints."""

    name: str
    """The origin, which is also the key's name, such as ``lake.example/audit``."""

    def sign(self, text: str) -> str:
        """The C2SP signed note of `text`, which ends with a newline."""
        ...


class NoteOpener(Protocol):
    """Checks signed notes."""

    def open(self, note: str) -> str:
        """The verified text of the note; raises any exception when the note is not valid."""
        ...


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of the log `origin`: `size` entries whose tree has the 32-byte `root`."""

    origin: str
    size: int
    root: bytes

    def to_text(self) -> str:
        """The three lines that are signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def sign_checkpoint(checkpoint: Checkpoint, signer: CheckpointSigner, opener: NoteOpener) -> str:
    """The signed note of the checkpoint, opened once so that no head is ever written that readers would refuse.

    Raises:
        AuditUnavailableError: the signer did not sign, or the opener does not accept its signature.
    """
    text = checkpoint.to_text()
    try:
        note = signer.sign(text)
        accepted = opener.open(note) == text
    except Exception:  # noqa: BLE001 the port may raise anything, and its text may quote secrets
        accepted = False
    if not accepted:
        raise AuditUnavailableError("the audit log's checkpoint could not be signed", hint="check the signing key")
    return note


def open_checkpoint(note: str, origin: str, opener: NoteOpener, *, source: str) -> Checkpoint:
    """The checkpoint in a signed note of the log `origin`; `source` is the file to name when it is not valid.

    Raises:
        IntegrityError: the signature, the format or the origin is wrong.
    """
    try:
        text = opener.open(note)
    except Exception:  # noqa: BLE001 the port may raise anything, and its text may quote the note
        text = ""
    match = _TEXT.fullmatch(text)
    if match is None:
        raise IntegrityError(f"{source}: the checkpoint is not validly signed", hint="restore the file from a copy")
    root = base64.b64decode(match[3])
    checkpoint = Checkpoint(match[1], int(match[2]), root)
    if checkpoint.origin != origin or len(root) != HASH_SIZE or checkpoint.to_text() != text:
        raise IntegrityError(f"{source}: the checkpoint is not one of this log", hint="check the log's origin")
    return checkpoint
