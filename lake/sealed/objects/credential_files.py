"""Credentials of an object store in files of AWS's format, of mode 0600: never printed, never in an argument."""

from __future__ import annotations

import configparser
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from lake.errors import UsageError

SECTION = "default"
SECRET_BYTES = 30
"""Bytes of a new secret; 40 characters, which is as long as MinIO takes them."""


@dataclass(frozen=True, slots=True)
class Credential:
    """An access key and its secret, which is not shown."""

    access_key: str
    secret_key: str = field(repr=False)

    @classmethod
    def new(cls, access_key: str) -> Credential:
        """A fresh secret."""
        return cls(access_key, secrets.token_urlsafe(SECRET_BYTES))


def path_of(folder: Path, identity: str) -> Path:
    """Where an identity's credential lies: for ``AWS_SHARED_CREDENTIALS_FILE``."""
    return folder / f"{identity}.credentials"


def read(path: Path) -> Credential | None:
    """The credential in a file; None if there is no file.

    Raises:
        UsageError: the file cannot be read as a credential, or is open to others.
    """
    parser = configparser.RawConfigParser()
    try:
        with path.open(encoding="utf-8") as file:
            open_to_others = os.fstat(file.fileno()).st_mode & 0o077
            parser.read_file(file)
        section = parser[SECTION]
        found = Credential(section["aws_access_key_id"], section["aws_secret_access_key"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, configparser.Error):
        raise UsageError(f"{path} is not a credentials file with a section [{SECTION}]") from None
    if open_to_others:
        raise UsageError(f"{path} is open to other users", hint=f"chmod 600 {path}")
    return found


def write(path: Path, credential: Credential) -> None:
    """Write the file durably: it is there wholly or not at all, and takes the place of an older one.

    Raises:
        UsageError: it cannot be written there.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    text = (
        f"[{SECTION}]\naws_access_key_id = {credential.access_key}\naws_secret_access_key = {credential.secret_key}\n"
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {os.strerror(error.errno or 0)}") from None
