"""Leases of collectors: granted, renewed, and looked up when a batch comes with one.

A lease counts while its row is there: the token says what is granted, the row that it was. So a catalog that was
restored from a backup knows no lease from after it.
"""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from lake.clock import timestamp
from lake.errors import ContractBreachError, LeaseRefusedError, PausedError, UnauthenticatedError
from lake.gateway.collection.devices import Devices
from lake.gateway.collection.halts import Halts, Known
from lake.gateway.collection.interface import Device, Granted
from lake.gateway.collection.signed import LEASES, Signer
from lake.gateway.contracts import Contracts
from lake.gateway.home import Home
from lake.gateway.recorder import Actor
from lake.rules import lease as rules
from lake.rules.contract import Contract
from lake.rules.lease import Lease
from lake.sealed.audit import entries
from lake.sealed.audit.entries import canonical
from lake.sealed.catalog import issued
from lake.sealed.catalog.issued import IssuedRow
from lake.sealed.catalog.rows import microseconds, moment

KEPT = timedelta(days=30)
"""For how long after its end a batch may still come with a lease."""


def forget_over(home: Home, halts: Halts) -> int:
    """Forget the leases that ended long ago and that no pause asks for any more; gives how many."""
    now = home.clock().astimezone(UTC).replace(tzinfo=None)
    with home.catalog.database.writing() as connection:
        return _forget_over(connection, halts.known(connection, writing=True), now)


def _forget_over(connection: sa.Connection, known: Known, now: datetime) -> int:
    oldest = min([now - KEPT, *(halt.since for halt in known.lasting())])
    return issued.forget_leases(connection, microseconds(oldest))


class Leases:
    """The leases of one lake; may be shared by threads."""

    def __init__(self, home: Home, contracts: Contracts, devices: Devices, halts: Halts, ttl: timedelta) -> None:
        if not rules.SHORTEST_TTL <= ttl <= rules.LONGEST_TTL:
            raise ValueError("a lease lasts from 5 seconds to an hour")
        self._home = home
        self._contracts = contracts
        self._devices = devices
        self._halts = halts
        self._ttl = ttl
        self._signer = Signer(home, LEASES)
        self._database = home.catalog.database

    def grant(self, device: Device, dataset: str, version: int | None, types: frozenset[str]) -> Granted:
        """See interface.Collecting."""
        contract = self._contract(dataset, version, types)
        try:
            granted, row, before = self._decide(device, contract, types)
        except PausedError as error:
            fields = {"dataset": dataset, "reason": error.code}
            self._home.recorder.record(f"{entries.LEASE}.deny", device_actor(device), fields)
            raise
        if row is not None:
            sys.audit("lake.step", "lease.committed")
            if before is not None and not granted.renewed:
                self._note_expired(device, before)
            self._record(device, granted)
            sys.audit("lake.step", "lease.recorded")
        return granted

    def read(self, token: str) -> Lease:
        """The lease that a token is.

        Raises:
            LeaseRefusedError: it is none, or one that the lake does not know any more.
        """
        try:
            claims = self._signer.read(token)
            lease = parse_claims(claims)
        except (UnauthenticatedError, KeyError, TypeError, ValueError, OverflowError):
            raise LeaseRefusedError("the batch comes without a lease", hint="ask for one", reason="malformed") from None
        with self._database.reading() as connection:
            row = issued.find_lease(connection, lease.id)
        if row is None or parse_claims(json.loads(row.claims)) != lease:
            raise LeaseRefusedError("the lease is too old, or is none", hint="ask for another", reason="unknown")
        return lease

    def _contract(self, dataset: str, version: int | None, types: frozenset[str]) -> Contract:
        self._contracts.reload()
        contract = self._contracts.get(dataset, version)
        if not types or not types <= set(contract.events):
            raise ContractBreachError(
                "an event type is asked for that the contract does not name", hint=f"of {dataset}, {contract.version}"
            )
        return contract

    def _decide(
        self, device: Device, contract: Contract, types: frozenset[str]
    ) -> tuple[Granted, IssuedRow | None, IssuedRow | None]:
        """What is granted, its row if it is new, and the device's lease before it."""
        place = device.place(contract.dataset)
        with self._database.writing() as connection:
            # The time is taken inside: what a pause that is not seen here stops is stopped by its later time.
            now = self._home.clock().astimezone(UTC).replace(tzinfo=None)
            known = self._halts.known(connection, writing=True)
            enrolled = self._devices.known(connection, writing=True).live.get(device.tag)
            if enrolled is None or enrolled.enrolment != device.enrolment:
                raise UnauthenticatedError(reason="device")
            left = rules.recordable(place, types, known.halts.values())
            if not left:
                raise PausedError("collection is paused here", hint="nothing may be recorded", mark=known.number)
            epochs = rules.lease_epochs(place, known.halts.values())
            before = issued.newest_lease(connection, device.tag, contract.dataset)
            live = before is not None and moment(before.issued_at) <= now < moment(before.expires_at)
            if before is not None and live and now < moment(before.issued_at) + self._ttl / 2:
                held = parse_claims(json.loads(before.claims))
                same = (held.enrolment, held.contract, held.types, held.epochs)
                if same == (device.enrolment, contract.digest, left, epochs):
                    return self._granted(held, before.mark, renewed=True), None, None
            lease = Lease(
                secrets.token_hex(16),
                *(device.tag, device.enrolment, contract.dataset, contract.digest, left),
                *(now, now + self._ttl, epochs),
            )
            row = IssuedRow(
                *(lease.id, device.tag, lease.dataset, canonical(claims_of(lease)).decode(), known.number),
                *(microseconds(lease.issued), microseconds(lease.expires)),
            )
            _forget_over(connection, known, now)
            issued.add_lease(connection, row, before.id if before is not None and live else None)
        return self._granted(lease, known.number, renewed=live), row, before

    def _granted(self, lease: Lease, mark: int, *, renewed: bool) -> Granted:
        return Granted(self._signer.sign(claims_of(lease)), lease, mark, renewed)

    def _record(self, device: Device, granted: Granted) -> None:
        lease = granted.lease
        fields = {
            "lease": lease.id,
            "dataset": lease.dataset,
            "contract": lease.contract,
            "types": len(lease.types),
            "until": timestamp(lease.expires.replace(tzinfo=UTC)),
        }
        kind = "renew" if granted.renewed else "grant"
        self._home.recorder.record(f"{entries.LEASE}.{kind}", device_actor(device), fields)

    def _note_expired(self, device: Device, before: IssuedRow) -> None:
        fields = {
            "lease": before.id,
            "dataset": before.dataset,
            "until": timestamp(moment(before.expires_at).replace(tzinfo=UTC)),
        }
        self._home.recorder.record(f"{entries.LEASE}.expire", device_actor(device), fields)


def device_actor(device: Device) -> Actor:
    """A device as the audit log shows who acts."""
    return Actor(device.tag)


def claims_of(lease: Lease) -> dict[str, Any]:
    """What the token of a lease says."""
    return {
        "jti": lease.id,
        "dev": lease.device,
        "enr": lease.enrolment,
        "dataset": lease.dataset,
        "contract": lease.contract,
        "types": sorted(lease.types),
        "from": microseconds(lease.issued),
        "until": microseconds(lease.expires),
        "epochs": list(lease.epochs),
    }


def parse_claims(claims: Mapping[str, Any]) -> Lease:
    """The lease of a token whose signature holds."""
    return Lease(
        str(claims["jti"]),
        str(claims["dev"]),
        int(claims["enr"]),
        str(claims["dataset"]),
        str(claims["contract"]),
        frozenset(claims["types"]),
        moment(claims["from"]),
        moment(claims["until"]),
        tuple(claims["epochs"]),
    )
