"""The one settings object: what may be tuned, with units, and where it comes from."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lake.errors import UsageError

MIB = 1024 * 1024


_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """A model of language that looks for names in what lands, and the digest that it must have."""

    folder: Path
    digest: str

    def __post_init__(self) -> None:
        """Refuse what pins nothing.

        Raises:
            UsageError: the digest is none.
        """
        if _DIGEST.fullmatch(self.digest) is None:
            raise UsageError("a model for names is given without its digest", hint="LAKE_NER_DIGEST=sha256:…")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> LanguageModel | None:
        """``LAKE_NER_MODEL`` and ``LAKE_NER_DIGEST``; None without them.

        Raises:
            UsageError: one of them without the other.
        """
        folder, digest = environment.get("LAKE_NER_MODEL", ""), environment.get("LAKE_NER_DIGEST", "")
        if digest and not folder:
            raise UsageError("the digest of a model for names is given without the model", hint="LAKE_NER_MODEL=FOLDER")
        return cls(Path(folder), digest) if folder else None


@dataclass(frozen=True, slots=True)
class Settings:
    """Tunables of one process.

    Attributes:
        landing_bytes: Arrow bytes of rows gathered before they are split and encrypted; bounds ingest's memory.
        release_bytes: bytes of a result that its first audit OUTCOME covers; a larger result has several, of up to four
            times as much.
        engine_memory: DuckDB's memory limit in bytes.
        threads: threads for encryption and for the engine.
        sandboxes_ready: sandboxes of a gateway that wait for use.
        sandboxes_most: sandboxes in use at a time; a query waits for one at most ``sandbox_patience`` seconds.
        sandbox_memory: bytes that one query may use behind a gateway.
        sandbox_seconds: of a query whose grant names no limit.
        compact_rows: rows of a file that compaction aims at; one with half as many is not touched any more.
        compact_bytes: the same in bytes of the encrypted file, whichever is reached first; bounds compaction's memory.
        compact_files: files merged at a time.
        compact_least: small files of the month that runs for which merging is worth it; of months that are over, two.
        names: a model that looks for names in texts before they land; None for none.
        schedule: when the daemon runs jobs, a YAML mapping from jobs to cron expressions (UTC) or ``off``, such as
            ``{compact: "27 1 * * *", scrub: "off"}``; what it does not name has its usual time. From ``LAKE_SCHEDULE``.
        image_bytes: encrypted columns of a query that are opened together for the engine to read by itself, where the
            grant hides nothing in them; of more, and with 0 always, rows are decoded part by part. Embedded only.
        image_rows: that files must have on average for it; the footer of a smaller one takes as long as decoding it.
        slice_cache: bytes of what is kept between queries, for ``slice_seconds``: slices behind a gateway, half slices
            and half images embedded; a quarter of a part at most for one of them; 0 keeps none.
    """

    landing_bytes: int = 96 * MIB
    release_bytes: int = 16 * MIB
    engine_memory: int = 4096 * MIB
    threads: int = os.cpu_count() or 2
    sandboxes_ready: int = 4
    sandboxes_most: int = 16
    sandbox_patience: float = 60.0
    sandbox_memory: int = 1024 * MIB
    sandbox_seconds: float = 3600.0
    image_bytes: int = 512 * MIB
    image_rows: int = 256
    slice_cache: int = 1024 * MIB
    slice_seconds: float = 60.0
    compact_rows: int = 983_040
    compact_bytes: int = 64 * MIB
    compact_files: int = 64
    compact_least: int = 8
    names: LanguageModel | None = field(default_factory=LanguageModel.from_environment)
    schedule: str = field(default_factory=lambda: os.environ.get("LAKE_SCHEDULE", ""))


@dataclass(frozen=True, slots=True)
class BrokerPlace:
    """Where a broker listens, and the PEM files that prove both sides to each other over TLS."""

    address: str
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None


@dataclass(frozen=True, slots=True)
class Secrets:
    """Paths of the files that open the key store or say who does, or the broker that does; never their content."""

    key_file: Path | None = None
    passphrase_file: Path | None = None
    provider_file: Path | None = None
    broker: BrokerPlace | None = field(default=None, kw_only=True)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Secrets:
        """``LAKE_BROKER`` with ``_CA``, ``_CERT`` and ``_KEY`` where a broker is to be asked; else the key store's own.

        These are ``LAKE_KEY_FILE``, ``LAKE_PASSPHRASE_FILE`` and ``LAKE_PROVIDER_FILE``.
        """

        def paths(*names: str) -> list[Path | None]:
            return [Path(environment[name]) if environment.get(name) else None for name in names]

        if environment.get("LAKE_BROKER"):
            files = paths("LAKE_BROKER_CA", "LAKE_BROKER_CERT", "LAKE_BROKER_KEY")
            return cls(broker=BrokerPlace(environment["LAKE_BROKER"], *files))
        return cls(*paths("LAKE_KEY_FILE", "LAKE_PASSPHRASE_FILE", "LAKE_PROVIDER_FILE"))
