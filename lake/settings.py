"""The one settings object: what may be tuned, with units, and where it comes from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Settings:
    """Tunables of one process.

    Attributes:
        landing_bytes: Arrow bytes of rows gathered before they are split and encrypted; bounds ingest's memory.
        release_bytes: bytes of a result that one audit OUTCOME covers; a larger result has several.
        engine_memory: DuckDB's memory limit in bytes.
        threads: threads for encryption and for the engine.
    """

    landing_bytes: int = 96 * MIB
    release_bytes: int = 16 * MIB
    engine_memory: int = 4096 * MIB
    threads: int = os.cpu_count() or 2


@dataclass(frozen=True, slots=True)
class Secrets:
    """Paths of the files that open the key store; never their content."""

    key_file: Path | None = None
    passphrase_file: Path | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Secrets:
        """``LAKE_KEY_FILE`` and ``LAKE_PASSPHRASE_FILE``."""
        key, passphrase = environment.get("LAKE_KEY_FILE"), environment.get("LAKE_PASSPHRASE_FILE")
        return cls(Path(key) if key else None, Path(passphrase) if passphrase else None)
