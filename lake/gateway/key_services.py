"""Which service holds the roots, and how this host reaches it: the provider file.

The key store names the kind; address and credentials are the host's own matter, so that one host can be kept from what
another may do. The file holds no secret, only where secrets lie, and nobody else may be able to change it.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from keys import unlock
from keys.providers import KeyProvider
from keys.providers import local as local_provider
from lake.errors import IntegrityError, UsageError
from lake.rules.document import Node, read_document
from lake.settings import Secrets

LOCAL = "local"
_KEPT = ("snapshots_kept", "database_archive_kept")
PREFIX = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")
MOUNT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*(/[A-Za-z0-9_][A-Za-z0-9_-]*)*")


@dataclass(frozen=True, slots=True)
class KeyService:
    """A provider file that was read: the kind, how to connect for a lake, and for how long copies are kept.

    Attributes:
        snapshot_days: of what the service holds.
        archive_days: of the database in which the key store lies, if that is PostgreSQL: backups and archived log.
    """

    kind: str
    connect: Callable[[str], KeyProvider]
    snapshot_days: int | None
    archive_days: int | None = None


def load_secret(paths: Secrets) -> unlock.UnlockSecret:
    """The operator's secret.

    Raises:
        UsageError: none or two were given.
    """
    if (paths.key_file is None) == (paths.passphrase_file is None):
        raise UsageError(
            "one secret is needed to open the key store",
            hint="give --key-file or --passphrase-file, or set LAKE_KEY_FILE or LAKE_PASSPHRASE_FILE",
        )
    if paths.key_file is not None:
        return unlock.from_key_file(paths.key_file)
    assert paths.passphrase_file is not None  # noqa: S101 - the check above; for the type checker
    return unlock.from_passphrase_file(paths.passphrase_file)


def open_provider(kind: str, folder: Path, lake: str, secret: Secrets) -> KeyProvider:
    """The provider that a lake's key store names.

    Raises:
        UsageError: a secret or the provider file is missing, or the file is of another kind.
        IntegrityError: a local key store of another lake.
    """
    if kind == LOCAL:
        provider = local_provider.LocalProvider(folder, load_secret(secret))
        if provider.lake != lake:
            raise IntegrityError("the key store belongs to another lake", hint="check lake.json and the key store")
        return provider
    if secret.provider_file is None:
        raise UsageError(
            f"the keys of this lake are held by a provider of kind {kind!r}",
            hint="give its file with --provider, or set LAKE_PROVIDER_FILE",
        )
    service = read_service(secret.provider_file)
    if service.kind != kind:
        raise UsageError(f"the provider file is of kind {service.kind!r}, the lake's keys are held by {kind!r}")
    return service.connect(lake)


def open_target(place: str, folder: Path, lake: str, secret: Secrets) -> KeyProvider:
    """The provider that a lake is to move to: ``local`` for a key store of its own, else a provider file.

    A local key store is made if there is none; its key file too.

    Raises:
        UsageError: a secret is missing, or the provider file does not serve.
    """
    if place != LOCAL:
        return read_service(Path(place)).connect(lake)
    if secret.key_file is not None and not secret.key_file.exists():
        unlock.create_key_file(secret.key_file)
    opened = load_secret(secret)
    if not (folder / local_provider.STORE).exists():
        local_provider.initialise(folder, opened, lake)
    return open_provider(LOCAL, folder, lake, secret)


def provider_files(provider: KeyProvider, folder: Path) -> dict[str, bytes]:
    """Sealed files of the local provider, for backups; others keep their keys themselves."""
    if not isinstance(provider, local_provider.LocalProvider):
        return {}
    return {local_provider.STORE: (folder / local_provider.STORE).read_bytes()}


def copies_kept(secret: Secrets) -> tuple[int | None, int | None]:
    """For how many days copies of what the key service holds, and of the database, are kept, if its file says so."""
    if secret.provider_file is None:
        return None, None
    service = read_service(secret.provider_file)
    return service.snapshot_days, service.archive_days


def read_service(path: Path) -> KeyService:
    """Read a provider file.

    Raises:
        UsageError: it cannot be read, or others can change it.
        DocumentError: it is not a valid one.
    """
    try:
        status = path.stat()
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        raise UsageError(f"the provider file {path} cannot be read as UTF-8 text") from None
    if status.st_uid not in {os.geteuid(), 0} or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise UsageError(f"others can change the provider file {path}", hint=f"chown it, and chmod 644 {path}")
    document = read_document(text, path.name)
    kind = document.mapping(required=("kind",))["kind"].one_of(sorted(_READERS))
    return _READERS[kind](document, path.parent)


def _fields(document: Node, required: tuple[str, ...], optional: tuple[str, ...]) -> dict[str, Node]:
    return document.mapping(required=("kind", *required), optional=(*optional, "prefix", *_KEPT))


def _prefix(fields: dict[str, Node]) -> Callable[[str], str]:
    """What stands before the names of a lake's keys; of other lakes it is another."""
    given = fields["prefix"].name(PREFIX) if "prefix" in fields else None
    return lambda lake: given or f"tlake-{lake}-"


def _days(fields: dict[str, Node]) -> tuple[int | None, int | None]:
    """Of the service's snapshots, and of the database's archive."""
    snapshots, archive = (fields[name].days() if name in fields else None for name in _KEPT)
    return snapshots, archive


def _seconds(fields: dict[str, Node]) -> float:
    if "timeout" not in fields:
        return 10.0
    seconds = fields["timeout"].number()
    if seconds <= 0:
        raise fields["timeout"].error("a number of seconds above 0 is expected here")
    return seconds


def _path(fields: dict[str, Node], name: str, beside: Path) -> Path | None:
    return beside / fields[name].string() if name in fields else None


def _openbao(document: Node, beside: Path) -> KeyService:
    fields = _fields(document, ("address", "token_file"), ("mount", "ca_file", "namespace", "timeout", "attempts"))
    prefix = _prefix(fields)
    address = fields["address"].string()
    token_file = beside / fields["token_file"].string()
    mount = fields["mount"].name(MOUNT) if "mount" in fields else "transit"
    ca_file = _path(fields, "ca_file", beside)
    namespace = fields["namespace"].string(max_length=256) if "namespace" in fields else None
    timeout = _seconds(fields)
    attempts = fields["attempts"].integer(minimum=1, maximum=20) if "attempts" in fields else 4

    def connect(lake: str) -> KeyProvider:
        from keys.providers.openbao import OpenBaoConfig, OpenBaoProvider  # noqa: PLC0415 - needs an extra

        return OpenBaoProvider(
            OpenBaoConfig(
                address=address,
                token_file=token_file,
                mount=mount,
                prefix=prefix(lake),
                ca_file=ca_file,
                namespace=namespace,
                timeout=timeout,
                attempts=attempts,
            )
        )

    return KeyService("openbao", _with_extra(connect, "openbao"), *_days(fields))


def _aws_kms(document: Node, _beside: Path) -> KeyService:
    fields = _fields(document, ("region",), ("endpoint", "deletion_days", "profile", "timeout", "attempts"))
    prefix = _prefix(fields)
    region = fields["region"].string(max_length=64)
    endpoint = fields["endpoint"].string() if "endpoint" in fields else None
    deletion = fields["deletion_days"].integer(minimum=7, maximum=30) if "deletion_days" in fields else 7
    profile = fields["profile"].string(max_length=128) if "profile" in fields else None
    timeout = _seconds(fields)
    attempts = fields["attempts"].integer(minimum=1, maximum=20) if "attempts" in fields else 5

    def connect(lake: str) -> KeyProvider:
        from keys.providers.aws_kms import AwsKmsConfig, AwsKmsProvider  # noqa: PLC0415 - needs an extra

        return AwsKmsProvider(
            AwsKmsConfig(
                region=region,
                prefix=prefix(lake),
                endpoint=endpoint,
                deletion_days=deletion,
                timeout=timeout,
                attempts=attempts,
                profile=profile,
            )
        )

    return KeyService("aws-kms", _with_extra(connect, "aws"), *_days(fields))


def _pkcs11(document: Node, beside: Path) -> KeyService:
    fields = _fields(document, ("module", "token_label", "pin_file"), ())
    prefix = _prefix(fields)
    module = beside / fields["module"].string()
    label = fields["token_label"].string(max_length=32)
    pin_file = beside / fields["pin_file"].string()

    def connect(lake: str) -> KeyProvider:
        from keys.providers.pkcs11 import Pkcs11Config, Pkcs11Provider  # noqa: PLC0415 - needs an extra

        return Pkcs11Provider(Pkcs11Config(module, label, pin_file, prefix(lake)))

    return KeyService("pkcs11", _with_extra(connect, "pkcs11"), *_days(fields))


def _with_extra(connect: Callable[[str], KeyProvider], extra: str) -> Callable[[str], KeyProvider]:
    def connecting(lake: str) -> KeyProvider:
        try:
            return connect(lake)
        except ImportError:
            raise UsageError(
                "the client of this key service is not installed", hint=f"pip install 'telemetry-lake[{extra}]'"
            ) from None
        except ValueError as error:
            raise UsageError(f"the provider file is not valid: {error}") from None

    return connecting


_READERS: dict[str, Callable[[Node, Path], KeyService]] = {
    "openbao": _openbao,
    "aws-kms": _aws_kms,
    "pkcs11": _pkcs11,
}
