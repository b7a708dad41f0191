"""The keys as a lake's process has them: opened from the key store on this host, or asked of a broker.

The lake is handed a ``Broker`` and a ``KeyStore`` either way. Those of a broker in another process have the calls that
queries, ingest and checks need, and no others; what needs the rest asks :meth:`KeySide.here` first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from keys.broker import Broker
from keys.changes import Changes
from keys.control import ControlKeys
from keys.errors import SecretFileError
from keys.hierarchy import Hierarchy
from keys.keystore import KeyStore
from keys.limits import BrokerLimits
from keys.operations.verify import verify_keys
from keys.providers import KeyProvider
from keys.remote import proxies
from keys.remote.client import BrokerClient
from keys.remote.connect import Connect, tls, unix
from keys.remote.tls import client_context
from keys.signing import NoteSigner, NoteVerifier
from lake.clock import Clock
from lake.errors import IntegrityError, UsageError
from lake.gateway.config import LakeConfig
from lake.rules import layout
from lake.sealed.catalog.database import Database
from lake.settings import BrokerPlace

BROKER_FORMS = "unix:/run/lake/broker.sock or tls:host:port"


@dataclass(frozen=True, slots=True)
class KeysHere:
    """What only the host of the key store has."""

    provider: KeyProvider
    database: Database
    changes: Changes
    hierarchy: Hierarchy


@dataclass(frozen=True, slots=True)
class KeySide:
    """The keys of one lake.

    Attributes:
        verify: opens every wrap under its parent; counts.
        close: gives everything back.
        local: None if a broker in another process holds the keys.
    """

    control: ControlKeys
    store: KeyStore
    broker: Broker
    verify: Callable[[], dict[str, int]]
    close: Callable[[], None]
    local: KeysHere | None

    def here(self) -> KeysHere:
        """The key store itself.

        Raises:
            UsageError: a broker holds it.
        """
        if self.local is None:
            raise UsageError(
                "this needs the key store itself, and a broker holds it",
                hint="run it on the broker's host with --key-file, and without --broker and LAKE_BROKER",
            )
        return self.local


def open_here(
    config: LakeConfig, provider: KeyProvider, database: Database, *, clock: Clock, limits: BrokerLimits | None = None
) -> KeySide:
    """The keys of a key store on this host.

    Raises:
        IntegrityError: ``lake.json`` belongs to another lake.
    """
    store = KeyStore(database)
    changes = Changes(database)
    control = ControlKeys(config.lake, store, provider)
    signer = log_signer(config, control)
    hierarchy = Hierarchy(config.lake, store, provider, clock=clock)
    notes = NoteVerifier([signer.verifier_key])
    broker = Broker(hierarchy, store, origin=signer.name, notes=notes, clock=clock, limits=limits)

    def close() -> None:
        database.close()
        provider.close()

    here = KeysHere(provider, database, changes, hierarchy)
    return KeySide(control, store, broker, lambda: verify_keys(hierarchy, changes), close, here)


def open_remote(config: LakeConfig, place: BrokerPlace) -> KeySide:
    """The keys as a broker in another process gives them.

    Raises:
        UsageError: the broker's address or files are not what they should be.
        KeysError: it cannot be reached, does not know this host, or is another lake's.
    """
    client = BrokerClient(_connect(place), config.lake)
    try:
        control = proxies.control_keys(client)
    except BaseException:
        client.close()
        raise
    store = cast(KeyStore, proxies.RemoteKeyStore(client))
    broker = cast(Broker, proxies.RemoteBroker(client))
    return KeySide(control, store, broker, lambda: proxies.verify(client), client.close, None)


def log_signer(config: LakeConfig, control: ControlKeys) -> NoteSigner:
    """Signs the audit log.

    Raises:
        IntegrityError: ``lake.json`` names another audit key.
    """
    signer = control.signer(layout.audit_origin(config.lake))
    if signer.verifier_key != config.audit_key:
        raise IntegrityError(f"{layout.CONFIG} names another audit key", hint="restore it from a backup")
    return signer


def _connect(place: BrokerPlace) -> Connect:
    kind, _, rest = place.address.partition(":")
    host, _, port = rest.rpartition(":")
    if kind == "unix" and rest:
        return unix(Path(rest))
    if kind != "tls" or not host or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise UsageError("the broker's address is none", hint=f"{BROKER_FORMS}, in --broker or LAKE_BROKER")
    if place.ca is None or place.certificate is None or place.key is None:
        raise UsageError(
            "a broker over TLS takes three files",
            hint="--broker-ca, --broker-cert and --broker-key, or LAKE_BROKER_CA, LAKE_BROKER_CERT, LAKE_BROKER_KEY",
        )
    try:
        return tls(host.strip("[]"), int(port), client_context(place.ca, place.certificate, place.key))
    except SecretFileError as error:
        raise UsageError(error.message, hint=error.hint) from None
