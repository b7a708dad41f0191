"""An encrypted telemetry data lake with access controls.

``lake.connect(path, user=..., purpose=...)`` queries under a policy; ``lake.open(path, ...)`` is for operators.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lake.api import connect as connect
    from lake.api import create as create
    from lake.api import open as open  # noqa: A004 - the documented name of the operators' entry point

__version__ = "0.1.0"
__all__ = ["__version__", "connect", "create", "open"]


def __getattr__(name: str) -> object:
    """Load the engines only when they are used, so that ``lake --help`` stays quick."""
    if name in {"connect", "create", "open"}:
        from lake import api  # noqa: PLC0415 - see the docstring

        return getattr(api, name)
    raise AttributeError(name)
