"""What tests do with a local key store: wrap and open one key, and overwrite its files as an attacker would."""

from __future__ import annotations

from pathlib import Path

from keys.providers import KeyToWrap, WrappedKey
from keys.providers.local import LocalProvider

BOUND = b"bound to this"


def wrap(provider: LocalProvider, version: int, key: bytes, bound_to: bytes = BOUND) -> bytes:
    """One key wrapped under a version of the key ``root``."""
    (blob,) = provider.wrap("root", version, [KeyToWrap(key, bound_to)])
    return blob


def unwrap(provider: LocalProvider, version: int, blob: bytes, name: str = "root", bound_to: bytes = BOUND) -> bytes:
    """One blob opened."""
    (key,) = provider.unwrap(name, [WrappedKey(version, blob, bound_to)])
    return key


def overwrite(path: Path, content: bytes) -> None:
    """Replace the content of a secret file as an attacker would, rights unchanged."""
    path.write_bytes(content)
    path.chmod(0o600)
