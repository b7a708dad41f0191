"""Control secrets: the keys that protect not rows but what the lake knows of people and of itself.

Each is 32 random bytes, wrapped by the control root under its own name. They stay in here; callers get tags, sealed
documents and signatures. A host that asks a broker holds those that its role needs, and no others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from keys import envelope
from keys.envelope import Kind
from keys.errors import BrokerRefusedError, KeyIntegrityError
from keys.keystore import KeyStore
from keys.names import CONTROL_ROOT
from keys.providers import KeyProvider, KeyToWrap, WrappedKey
from keys.signing import NoteSigner

DIRECTORY, AUDIT_SIGNING, AUDIT_TAGS, AUDIT_DETAIL, POLICY, CATALOG, PSEUDONYMS = (
    "directory",
    "audit-signing",
    "audit-tags",
    "audit-detail",
    "policy",
    "catalog",
    "pseudonyms",
)
NAMES = (DIRECTORY, AUDIT_SIGNING, AUDIT_TAGS, AUDIT_DETAIL, POLICY, CATALOG, PSEUDONYMS)


def new_control_secrets(lake: str, provider: KeyProvider) -> dict[str, tuple[int, bytes]]:
    """Every control secret of a new lake, wrapped: (root version, blob) by name."""
    version = provider.describe(CONTROL_ROOT).current
    secrets = [KeyToWrap(envelope.new_key(), bound_to(lake, name)) for name in NAMES]
    wrapped = provider.wrap(CONTROL_ROOT, version, secrets)
    return {name: (version, blob) for name, blob in zip(NAMES, wrapped, strict=True)}


def bound_to(lake: str, name: str) -> bytes:
    """What the wrap of a control secret is bound to."""
    return envelope.context(Kind.CONTROL_SECRET, lake, name, CONTROL_ROOT)


class ControlKeys:
    """The opened control secrets of one lake. Its ``repr`` shows the lake only."""

    def __init__(self, lake: str, store: KeyStore, provider: KeyProvider) -> None:
        wrapped = store.control_secrets()
        if set(wrapped) != set(NAMES):
            raise KeyIntegrityError("the key store lacks a control secret", hint="restore it from a backup")
        items = [WrappedKey(*wrapped[name], bound_to(lake, name)) for name in NAMES]
        self._lake = lake
        self._keys = dict(zip(NAMES, provider.unwrap(CONTROL_ROOT, items), strict=True))

    def _key(self, name: str) -> bytes:
        if name not in self._keys:
            raise BrokerRefusedError(f"this host does not hold the control secret {name!r}", hint="its role has none")
        return self._keys[name]

    def share(self, names: Collection[str]) -> dict[str, bytes]:
        """Some of the secrets, for a host whose role needs them."""
        return {name: self._key(name) for name in names}

    def __repr__(self) -> str:
        return f"ControlKeys({self._lake!r})"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("keys are not pickled")

    def signer(self, origin: str) -> NoteSigner:
        """Signs the audit log's checkpoints under ``origin``."""
        return NoteSigner(origin, self._key(AUDIT_SIGNING))

    def catalog_mac(self, message: bytes) -> bytes:
        """MAC of the catalog's chain."""
        return envelope.mac(self._key(CATALOG), message)

    def lookup_tag(self, employee: str) -> bytes:
        """Finds an employee in the directory without naming them there; 32 bytes."""
        return envelope.mac(self._key(DIRECTORY), envelope.context(Kind.DERIVED, "lookup", self._lake, employee))

    def seal_employee(self, subject: str, employee: str) -> bytes:
        """The directory entry of a pseudonym."""
        place = envelope.context(Kind.DOCUMENT, self._lake, "employee", subject)
        return envelope.seal(self._key(DIRECTORY), employee.encode(), place)

    def open_employee(self, subject: str, sealed: bytes) -> str:
        """The employee behind a pseudonym."""
        place = envelope.context(Kind.DOCUMENT, self._lake, "employee", subject)
        return envelope.unseal(self._key(DIRECTORY), sealed, place).decode()

    def actor_tag(self, user: str) -> str:
        """The pseudonym of a user in the audit log: ``u:`` and 32 hexadecimal digits."""
        return "u:" + envelope.mac(self._key(AUDIT_TAGS), envelope.context(Kind.DERIVED, "actor", user))[:16].hex()

    def literal_tag(self, text: str) -> str:
        """A constant of a query as the audit log shows it: comparable by who knows it, readable by nobody."""
        tag = envelope.mac(self._key(AUDIT_TAGS), envelope.context(Kind.DERIVED, "literal", text))
        return "hmac:" + tag[:16].hex()

    def seal_document(self, secret: str, name: str, content: bytes) -> bytes:
        """Seal a document (a policy, an audit detail, an actor's name) under its name."""
        return envelope.seal(self._key(secret), content, envelope.context(Kind.DOCUMENT, self._lake, secret, name))

    def open_document(self, secret: str, name: str, sealed: bytes) -> bytes:
        """Open a document that was sealed under this name."""
        return envelope.unseal(self._key(secret), sealed, envelope.context(Kind.DOCUMENT, self._lake, secret, name))

    def seal_detail(self, name: str, content: bytes, about: Sequence[bytes] = ()) -> bytes:
        """Seal an audit detail; of whom it is about, the directory's entries are needed to open it.

        Args:
            about: their sealed entries as they stand in the directory, in the order of their numbers. Each has a salt
                and a nonce that nothing else has, so that without one of them the key cannot be made again.
        """
        return envelope.seal(self._detail_key(about), content, self._detail_place(name))

    def open_detail(self, name: str, sealed: bytes, about: Sequence[bytes] = ()) -> bytes:
        """Open an audit detail that was sealed under this name and these entries."""
        return envelope.unseal(self._detail_key(about), sealed, self._detail_place(name))

    def _detail_key(self, about: Sequence[bytes]) -> bytes:
        key = self._key(AUDIT_DETAIL)
        if not about:
            return key
        entries = hashlib.sha256(b"".join(hashlib.sha256(entry).digest() for entry in about)).hexdigest()
        return envelope.mac(key, envelope.context(Kind.DERIVED, "detail", self._lake, entries))

    def _detail_place(self, name: str) -> bytes:
        return envelope.context(Kind.DOCUMENT, self._lake, AUDIT_DETAIL, name)

    def pseudonym_key(self, role: str, purpose: str) -> bytes:
        """The key of a role's pseudonyms and masks for one purpose: two roles can't join theirs."""
        return envelope.mac(self._key(PSEUDONYMS), envelope.context(Kind.DERIVED, "role", self._lake, role, purpose))

    def token_key(self) -> bytes:
        """The key of the lake's own tokens, 32 bytes: made of a secret that of all hosts only gateways hold."""
        return envelope.mac(self._key(PSEUDONYMS), envelope.context(Kind.DERIVED, "tokens", self._lake))

    def collection_key(self, of: str) -> bytes:
        """A key of collectors' credentials, 32 bytes, one for each kind: hosts that take batches in hold it too."""
        return envelope.mac(self._key(DIRECTORY), envelope.context(Kind.DERIVED, "collection", self._lake, of))


class SharedControlKeys(ControlKeys):
    """Those that a broker shares with a host; what needs another one is refused.

    Raises:
        KeyIntegrityError: one is unknown, or is not a key.
    """

    def __init__(self, lake: str, secrets: Mapping[str, bytes]) -> None:
        if not set(secrets) <= set(NAMES) or any(len(key) != envelope.KEY_BYTES for key in secrets.values()):
            raise KeyIntegrityError("what was received are not control secrets")
        self._lake = lake
        self._keys = dict(secrets)


def audit_detail_name(actor: str, moment: datetime) -> str:
    """Audit details are sealed by actor and month, so that later they can be erased by actor and month."""
    return f"{actor}/{moment.year:04d}-{moment.month:02d}"
