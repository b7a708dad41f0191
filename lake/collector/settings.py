"""What a collector is told when it starts: one YAML file on the employee's machine, which employees may read."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from lake.collector.folder import KEY_FILE
from lake.errors import UsageError
from lake.rules.document import Node, read_document
from lake.rules.model import NAME

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class CollectorSettings:
    """Where a collector sends, as whom, and what it may keep.

    Attributes:
        server: ``https://HOST:PORT`` of ``lake serve ingest``.
        ca: certificates that the server's must come from, PEM; no other is trusted.
        verifier: the key that signs leases and receipts, from the lake's operator and not from the server.
        device, employee: as they were enrolled.
        types: event types to record; None for all of the contract.
        version: of the contract; None for the newest in force.
        contract: a file with the contract; leases of any other are turned down. None to take the server's.
        token_file: device token; or ``certificate`` and ``key``, PEM.
        folder: of the spool; ``spool_key`` opens it, by default a file in it.
        spool_bytes: the most that the spool takes on the disk.
        keep: whether what was recorded is kept for sending when a lease has ended, instead of being destroyed.
        batch_bytes, batch_seconds: a batch is closed when it has as much or is as old.
        flush_seconds: after at most as long everything taken outlasts a power failure.
        timeout: seconds for one request.
    """

    server: str
    ca: Path
    verifier: str
    device: str
    employee: str
    dataset: str
    folder: Path
    types: frozenset[str] | None = None
    version: int | None = None
    contract: Path | None = None
    token_file: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    spool_key: Path | None = None
    spool_bytes: int = 64 * MIB
    keep: bool = False
    batch_bytes: int = 512 * 1024
    batch_seconds: float = 15.0
    flush_seconds: float = 1.0
    timeout: float = field(default=10.0)

    def __post_init__(self) -> None:
        """Refuse what makes no sense.

        Raises:
            UsageError: not HTTPS, or not one way to authenticate.
        """
        if not self.server.startswith("https://"):
            raise UsageError("a collector sends over TLS only", hint="server: https://HOST:PORT")
        if (self.token_file is None) == (self.certificate is None) or (self.certificate is None) != (self.key is None):
            raise UsageError("give a token_file, or certificate and key")

    @property
    def key_file(self) -> Path:
        """The file with the spool's key."""
        return self.spool_key or self.folder / KEY_FILE


_REQUIRED = ("server", "ca", "verifier", "device", "employee", "dataset", "folder")
_OPTIONAL = (
    *("types", "version", "contract", "token_file", "certificate", "key", "spool_key"),
    *("spool_mib", "keep_until_upload"),
)


def read_settings(file: Path) -> CollectorSettings:
    """Read a device file; paths in it are relative to its folder.

    Raises:
        UsageError: it cannot be read.
        DocumentError: anything unknown, missing or out of range; names line and column.
    """
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        raise UsageError(f"{file} cannot be read as UTF-8 text") from None
    part = read_document(text, str(file)).mapping(required=_REQUIRED, optional=_OPTIONAL)

    def path(name: str) -> Path | None:
        return file.parent / _text(part[name]) if name in part else None

    return CollectorSettings(
        server=_text(part["server"]),
        ca=file.parent / _text(part["ca"]),
        verifier=_text(part["verifier"]),
        device=_text(part["device"]),
        employee=_text(part["employee"]),
        dataset=part["dataset"].name(NAME),
        folder=file.parent / _text(part["folder"]),
        types=frozenset(node.name(NAME) for node in part["types"].sequence()) if "types" in part else None,
        version=part["version"].integer(minimum=1, maximum=1_000_000) if "version" in part else None,
        contract=path("contract"),
        token_file=path("token_file"),
        certificate=path("certificate"),
        key=path("key"),
        spool_key=path("spool_key"),
        spool_bytes=(part["spool_mib"].integer(minimum=1, maximum=65_536) if "spool_mib" in part else 64) * MIB,
        keep=part["keep_until_upload"].boolean() if "keep_until_upload" in part else False,
    )


def _text(node: Node) -> str:
    text = node.string()
    if not text or not text.isprintable():
        raise node.error("a text is expected here")
    return text
