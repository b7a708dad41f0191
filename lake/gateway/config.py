"""``lake.json``: what must be known to open a lake. Nothing in it is secret, and nothing in it is trusted blindly."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from lake.errors import IntegrityError, UsageError
from lake.rules.layout import CONFIG

FORMAT = 2


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Parts of a lake that lie outside its folder.

    Attributes:
        store: URL of the object store; none is the lake's folder.
        endpoint: URL of the object store's server, where it is not the provider's own.
        catalog_url, keys_url: databases of the catalog and of the key store, without credentials; none is a file.
    """

    store: str = ""
    endpoint: str = ""
    catalog_url: str = ""
    keys_url: str = ""


@dataclass(frozen=True, slots=True)
class LakeConfig:
    """Configuration of one lake.

    Attributes:
        lake: random id, bound into every key and signature.
        audit_key: verifier key of the audit log's checkpoints.
        key_store: folder of the key store, relative to the lake's or absolute.
        store, endpoint, catalog_url, keys_url: see ``Elsewhere``.
    """

    lake: str
    created: str
    audit_key: str
    key_store: str
    store: str = ""
    endpoint: str = ""
    catalog_url: str = ""
    keys_url: str = ""
    format: int = FORMAT


def read_config(root: Path) -> LakeConfig:
    """Read the configuration of the lake in ``root``.

    Raises:
        UsageError: there is no lake.
        IntegrityError: the file is damaged or from a newer version.
    """
    try:
        text = (root / CONFIG).read_text("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"there is no lake at {root}", hint="make one with 'lake init', or set LAKE_HOME") from None
    except (OSError, UnicodeDecodeError):
        raise IntegrityError(f"{root / CONFIG} cannot be read", hint="restore it from a backup") from None
    try:
        config = LakeConfig(**json.loads(text))
        whole = all(isinstance(value, str) and "\0" not in value for value in list(asdict(config).values())[:-1])
    except (ValueError, TypeError, RecursionError):
        whole = False
    if not whole:
        raise IntegrityError(f"{root / CONFIG} is damaged", hint="restore it from a backup")
    if config.format != FORMAT:
        hint = "format 1 was never released: make the lake anew" if config.format == 1 else "upgrade the software"
        raise IntegrityError(f"the lake has format {config.format!s:.8}, not {FORMAT}", hint=hint)
    return config


def write_config(root: Path, config: LakeConfig) -> None:
    """Write the configuration of a new lake, durably."""
    with (root / CONFIG).open("x", encoding="utf-8") as file:
        file.write(json.dumps(asdict(config), indent=2) + "\n")
        file.flush()
        os.fsync(file.fileno())
