"""Every secret that the processes of one lake need, each in a file of its own, made at random: there is no default.

Compose mounts them into the containers that need them; ``lake dev up`` names them to its processes. The folder is there
wholly or not at all, and what is in it is never overwritten: a lake whose secrets are lost is lost.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from keys.certificates import issue
from keys.secretfiles import sync_folder
from lake.errors import UsageError
from lake.sealed.objects.credential_files import Credential
from lake.sealed.objects.credential_files import write as write_credential
from lake.sealed.objects.provision_policies import IDENTITIES, Place

STORE = "s3://telemetry/lake"
LOOPBACK = ("localhost", "127.0.0.1", "::1")
SERVERS = ("openbao", "broker", "gateway", "ingest")
OPEN = frozenset({"gateway", "ingest"})
"""Those that callers and devices reach by names of their own."""
HOSTS = ("gateway-host", "ingest-host", "jobs-host", "operator-host")
"""Names in the certificates with which hosts show themselves to the broker; its peers file gives each a role."""
TOKENS = ("openbao.broker.token", "openbao.operator.token", "openbao.administrator.token")
PASSWORDS = (
    "postgres.password",
    "keys.password",
    *(f"catalog.{role}.password" for role in ("owner", "gateway", "ingest", "jobs")),
)
UNSEAL, CA, ADMINISTRATOR = "openbao.unseal", "ca.pem", "minio"
LIFETIME = timedelta(days=397)
CONTAINER_UID = 10_001
"""Who containers run as if root makes the secrets; otherwise whoever makes them."""

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.:-]{0,251}[A-Za-z0-9])?")


def make(folder: Path, names: Iterable[str] = (), *, store: str = STORE, owner: tuple[int, int] | None = None) -> Path:
    """Make all of them in a new folder of mode 0700, each of mode 0600.

    Args:
        names: by which callers reach the gateway and the ingest server, beside these words and this machine's own.
        store: whose users' credentials are made.
        owner: uid and gid of the files, which takes root.

    Raises:
        UsageError: the folder exists, a name is none, or the folder cannot be written.
    """
    wanted = tuple(names)
    if wrong := next((name for name in wanted if _NAME.fullmatch(name) is None), None):
        raise UsageError(f"{wrong[:64]!r} is neither a host's name nor an address")
    if folder.exists():
        raise UsageError(
            f"{folder} exists, and secrets are never overwritten",
            hint="a lake that uses them is lost with them; remove the folder yourself if there is none",
        )
    draft = folder.with_name(f".{folder.name}.{secrets.token_hex(8)}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft.mkdir(mode=0o700)
        _fill(draft, wanted, store)
        if owner is not None:
            for path in (*draft.iterdir(), draft):
                os.chown(path, *owner)
        sync_folder(draft)
        draft.rename(folder)
        sync_folder(folder.parent)
    except OSError as error:
        raise UsageError(f"{folder} cannot be written: {os.strerror(error.errno or 0)}") from None
    finally:
        with suppress(OSError):
            shutil.rmtree(draft)
    return folder


def containers_owner() -> tuple[int, int]:
    """Who containers run as, so that they can read files that nobody else can: who makes them, but never root."""
    uid, gid = os.geteuid(), os.getegid()
    return (uid, gid) if uid else (CONTAINER_UID, CONTAINER_UID)


def write_environment(path: Path, owner: tuple[int, int]) -> None:
    """The file from which Compose takes the numbers of that user; there is nothing secret in it."""
    path.write_text(f"LAKE_UID={owner[0]}\nLAKE_GID={owner[1]}\n")


def _fill(folder: Path, names: Sequence[str], store: str) -> None:
    for name in (*TOKENS, *PASSWORDS):
        _write(folder / name, secrets.token_urlsafe(32).encode())
    _write(folder / UNSEAL, secrets.token_bytes(32))
    place = Place.parse(store)
    for identity in IDENTITIES:
        write_credential(folder / f"{identity}.credentials", Credential.new(place.name(identity)))
    administrator = Credential.new("lake-administrator")
    write_credential(folder / f"{ADMINISTRATOR}.credentials", administrator)
    _write(folder / f"{ADMINISTRATOR}.user", administrator.access_key.encode())
    _write(folder / f"{ADMINISTRATOR}.password", administrator.secret_key.encode())
    servers = {server: (server, *LOOPBACK, *(names if server in OPEN else ())) for server in SERVERS}
    authority, issued = issue(servers, HOSTS, LIFETIME)
    _write(folder / CA, authority)
    for name, pair in issued.items():
        _write(folder / f"{name}.pem", pair.certificate)
        _write(folder / f"{name}.key", pair.key)


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
