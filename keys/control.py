"""Control secrets: the keys that protect not rows but what the lake knows of people and of itself.

Each is 32 random bytes, wrapped by the control root under its own name. They stay in here; callers get tags, sealed
documents and signatures.
"""

from __future__ import annotations

from datetime import datetime

from keys import envelope
from keys.envelope import Kind
from keys.errors import KeyIntegrityError
from keys.hierarchy import CONTROL_ROOT
from keys.keystore import KeyStore
from keys.providers import KeyProvider
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


def create_control_secrets(lake: str, store: KeyStore, provider: KeyProvider) -> None:
    """Make every control secret of a new lake."""
    version = provider.describe(CONTROL_ROOT).current
    store.add_control_secrets(
        {
            name: (version, provider.wrap(CONTROL_ROOT, version, envelope.new_key(), _bound_to(lake, name, version)))
            for name in NAMES
        }
    )


def _bound_to(lake: str, name: str, version: int) -> bytes:
    return envelope.context(Kind.CONTROL_SECRET, lake, name, CONTROL_ROOT, version)


class ControlKeys:
    """The opened control secrets of one lake. Its ``repr`` shows the lake only."""

    def __init__(self, lake: str, store: KeyStore, provider: KeyProvider) -> None:
        wrapped = store.control_secrets()
        if set(wrapped) != set(NAMES):
            raise KeyIntegrityError("the key store lacks a control secret", hint="restore it from a backup")
        self._lake = lake
        self._keys = {
            name: provider.unwrap(CONTROL_ROOT, version, blob, _bound_to(lake, name, version))
            for name, (version, blob) in wrapped.items()
        }

    def __repr__(self) -> str:
        return f"ControlKeys({self._lake!r})"

    def signer(self, origin: str) -> NoteSigner:
        """Signs the audit log's checkpoints under ``origin``."""
        return NoteSigner(origin, self._keys[AUDIT_SIGNING])

    def catalog_mac(self, message: bytes) -> bytes:
        """MAC of the catalog's chain."""
        return envelope.mac(self._keys[CATALOG], message)

    def lookup_tag(self, employee: str) -> bytes:
        """Finds an employee in the directory without naming them there; 32 bytes."""
        return envelope.mac(self._keys[DIRECTORY], envelope.context(Kind.DERIVED, "lookup", self._lake, employee))

    def seal_employee(self, subject: str, employee: str) -> bytes:
        """The directory entry of a pseudonym."""
        bound_to = envelope.context(Kind.DOCUMENT, self._lake, "employee", subject)
        return envelope.seal(self._keys[DIRECTORY], employee.encode(), bound_to)

    def open_employee(self, subject: str, sealed: bytes) -> str:
        """The employee behind a pseudonym."""
        bound_to = envelope.context(Kind.DOCUMENT, self._lake, "employee", subject)
        return envelope.unseal(self._keys[DIRECTORY], sealed, bound_to).decode()

    def actor_tag(self, user: str) -> str:
        """The pseudonym of a user in the audit log: ``u:`` and 32 hexadecimal digits."""
        return "u:" + envelope.mac(self._keys[AUDIT_TAGS], envelope.context(Kind.DERIVED, "actor", user))[:16].hex()

    def literal_tag(self, text: str) -> str:
        """A constant of a query as the audit log shows it: comparable by who knows it, readable by nobody."""
        tag = envelope.mac(self._keys[AUDIT_TAGS], envelope.context(Kind.DERIVED, "literal", text))
        return "hmac:" + tag[:16].hex()

    def seal_document(self, secret: str, name: str, content: bytes) -> bytes:
        """Seal a document (a policy, an audit detail, an actor's name) under its name."""
        return envelope.seal(self._keys[secret], content, envelope.context(Kind.DOCUMENT, self._lake, secret, name))

    def open_document(self, secret: str, name: str, sealed: bytes) -> bytes:
        """Open a document that was sealed under this name."""
        return envelope.unseal(self._keys[secret], sealed, envelope.context(Kind.DOCUMENT, self._lake, secret, name))

    def pseudonym_key(self, role: str, purpose: str) -> bytes:
        """The key of a role's pseudonyms and masks for one purpose: two roles can't join theirs."""
        return envelope.mac(self._keys[PSEUDONYMS], envelope.context(Kind.DERIVED, "role", self._lake, role, purpose))


def audit_detail_name(actor: str, moment: datetime) -> str:
    """Audit details are sealed by actor and month, so that later they can be erased by actor and month."""
    return f"{actor}/{moment.year:04d}-{moment.month:02d}"
