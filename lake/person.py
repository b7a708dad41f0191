"""Who runs this process, as far as the operating system knows."""

from __future__ import annotations

import os
import pwd


def person() -> str:
    """The operating system's user by its number: LOGNAME and the like can be set by anyone."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid-{os.getuid()}"
