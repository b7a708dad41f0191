"""The folder of the broker's Unix socket: who can write there can put a socket of theirs in the broker's place."""

from __future__ import annotations

from pathlib import Path

from keys.errors import SecretFileError


def check_folder(socket: Path) -> None:
    """Refuse a socket whose name others could take: an impostor would be sent fresh DEKs in the clear.

    Raises:
        SecretFileError: its folder can be written by others than its owner. One that is not there is for the caller.
    """
    folder = socket.absolute().parent
    try:
        mode = folder.stat().st_mode
    except OSError:
        return
    if mode & 0o022:
        raise SecretFileError(
            f"others can write to {folder}, and could put a socket of theirs there", hint=f"chmod go-w {folder}"
        )
