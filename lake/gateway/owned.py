"""Documents that hand out rights: read only if nobody but their owner can change them."""

from __future__ import annotations

import os
from pathlib import Path

from lake.errors import UsageError
from lake.rules.document import MAX_DOCUMENT


def read_owned(path: Path, power: str) -> str:
    """The text of a document, of which no more is read than a document may have.

    Args:
        power: what who writes it could do, as in "hand out roles".

    Raises:
        UsageError: it cannot be read, or others can write it.
    """
    try:
        with path.open(encoding="utf-8") as file:
            status = os.fstat(file.fileno())
            text = file.read(MAX_DOCUMENT + 1)
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist") from None
    except (OSError, UnicodeDecodeError):
        raise UsageError(f"{path} cannot be read as UTF-8 text") from None
    if status.st_uid not in {os.geteuid(), 0} or status.st_mode & 0o022:
        raise UsageError(f"others can write to {path}, and so {power}", hint=f"chown it, chmod go-w {path}")
    return text
