"""Files that hold secrets: who may own them, how they are read, made and replaced."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from keys.errors import KeyStoreMissingError, SecretFileError

MAX_SECRET_FILE = 16 * 1024 * 1024


def read_secret_file(path: Path) -> bytes:
    """The bytes of a file that only its owner can reach.

    Raises:
        KeyStoreMissingError: there is no such file.
        SecretFileError: a link, not a regular file, another owner, readable by others, or too large.
    """
    try:
        # Without waiting: opening a pipe would block until someone writes.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise KeyStoreMissingError(f"{path} does not exist") from None
    except OSError:
        raise SecretFileError(
            f"{path} cannot be opened", hint="it must be a regular file of yours, not a link"
        ) from None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise SecretFileError(f"{path} is not a regular file")
    with os.fdopen(descriptor, "rb") as file:
        if status.st_uid not in {os.geteuid(), 0}:
            raise SecretFileError(f"{path} belongs to another user")
        if status.st_mode & 0o077:
            raise SecretFileError(f"{path} is open to others", hint=f"chmod 600 {path}")
        if status.st_size > MAX_SECRET_FILE:
            raise SecretFileError(f"{path} is too large for a secret")
        return file.read()


def write_secret_file(path: Path, content: bytes, *, replace: bool) -> None:
    """Write a file of mode 0600 durably: a temporary file, fsync, rename or link, fsync of the folder.

    Raises:
        SecretFileError: the file exists and ``replace`` is false, or it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            temporary.rename(path)
        else:
            os.link(temporary, path, follow_symlinks=False)
            temporary.unlink()
        sync_folder(path.parent)
    except FileExistsError:
        raise SecretFileError(f"{path} exists already", hint="it is never overwritten") from None
    except OSError:
        raise SecretFileError(f"{path} cannot be written", hint="check the folder, its rights and the disk") from None
    finally:
        with suppress(OSError):
            temporary.unlink()


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
