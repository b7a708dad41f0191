"""Collection on one lake, as a server that takes batches asks for it; see interface.py for what each call promises."""

from __future__ import annotations

from datetime import UTC, timedelta

import sqlalchemy as sa

from keys.errors import KeysError
from lake.errors import LakeError, LeaseRefusedError, PausedError
from lake.gateway.collection.device_tokens import DeviceTokens
from lake.gateway.collection.devices import Devices
from lake.gateway.collection.halts import Halts
from lake.gateway.collection.interface import Device, Granted, Header, Judgement
from lake.gateway.collection.leases import Leases, device_actor
from lake.gateway.contracts import Contracts
from lake.gateway.home import Home
from lake.rules import lease as rules
from lake.rules.halt import Halt
from lake.rules.lease import Batch, Gate, Lease
from lake.sealed.audit import entries
from lake.sealed.catalog import issued
from lake.sealed.catalog.rows import microseconds


class Collection:
    """Implements interface.Collecting; may be shared by threads."""

    def __init__(self, home: Home, contracts: Contracts, *, ttl: timedelta = rules.TTL) -> None:
        self._home = home
        self._database = home.catalog.database
        self.devices = Devices(home)
        self.halts = Halts(home, self.devices)
        self.tokens = DeviceTokens(home, self.devices)
        self._leases = Leases(home, contracts, self.devices, self.halts, ttl)

    def authenticate(self, token: str) -> Device:
        """See interface.Collecting."""
        return self.tokens.device(token)

    def authenticate_certificate(self, fingerprint: str) -> Device:
        """See interface.Collecting."""
        return self.devices.find_certificate(fingerprint)

    def grant(self, device: Device, dataset: str, version: int | None, types: frozenset[str]) -> Granted:
        """See interface.Collecting."""
        return self._leases.grant(device, dataset, version, types)

    def mark(self) -> int:
        """See interface.Collecting."""
        return self.halts.mark()

    def acknowledge(self, device: Device, mark: int) -> None:
        """See interface.Collecting."""
        with self._database.writing() as connection:
            # What nobody has ordered yet cannot be acknowledged.
            mark = min(mark, self.halts.known(connection, writing=True).number)
            issued.acknowledge(connection, device.tag, mark, self._now())
        self._home.recorder.record(f"{entries.LEASE}.acknowledge", device_actor(device), {"mark": mark})

    def judge(self, token: str, device: Device, header: Header) -> Judgement:
        """See interface.Collecting."""
        try:
            return self._judge(self._leases.read(token), device, header)
        except LeaseRefusedError as error:
            fields = {"dataset": header.dataset, "reason": error.code, "lease": error.reason}
            self._home.recorder.record(entries.BATCH_REFUSED, device_actor(device), fields)
            # Who sends in a pause without a lease is named there too.
            place = device.place(header.dataset)
            self._refuse(device, [halt for halt in self.halts.known().lasting() if halt.covers(place)])
            raise

    def _judge(self, lease: Lease, device: Device, header: Header) -> Judgement:
        sent = Batch(device.tag, device.enrolment, header.employee, header.dataset, header.contract, header.types)
        with self._database.reading() as connection:
            halts, devices = self.halts.known(connection), self.devices.known(connection)
            gate, forbidding = self._decide(connection, lease, sent, writing=False)
        if not gate.types:
            self._refuse(device, forbidding)
            fields = {"dataset": header.dataset, "reason": PausedError.code, "lease": lease.id}
            self._home.recorder.record(entries.BATCH_REFUSED, device_actor(device), fields)
            raise PausedError("this was paused", hint="it may not land any more; drop it", mark=halts.number)

        def confirm(connection: sa.Connection) -> None:
            nothing_new = self.halts.known(connection, writing=True).number == halts.number
            if nothing_new and self.devices.known(connection, writing=True).number == devices.number:
                return
            fresh, now_forbidding = self._decide(connection, lease, sent, writing=True)
            if fresh != gate:
                forbidding[:] = now_forbidding
                raise PausedError("collection was paused or resumed meanwhile", hint="send the batch again")

        def refused(error: LakeError | KeysError) -> None:
            if isinstance(error, PausedError):
                self._refuse(device, forbidding)

        return Judgement(gate, confirm, refused)

    def _decide(
        self, connection: sa.Connection, lease: Lease, sent: Batch, *, writing: bool
    ) -> tuple[Gate, list[Halt]]:
        known = self.halts.known(connection, writing=writing).halts.values()
        devices = self.devices.known(connection, writing=writing)
        enrolled = devices.enrolments.get((lease.device, lease.enrolment))
        live = devices.live.get(sent.device)
        if enrolled is None or live is None or live.enrolment != sent.enrolment:
            raise LeaseRefusedError("the device is not enrolled as it was", hint="ask for a lease", reason="enrolment")
        place = enrolled.place(lease.dataset)
        word = rules.mismatch(lease, sent, place)
        if word is not None:
            raise LeaseRefusedError(f"the lease is for another {word}", hint="ask for one of this", reason=word)
        return rules.judge(lease, place, known)

    def _refuse(self, device: Device, halts: list[Halt]) -> None:
        if not halts:
            return
        with self._database.writing() as connection:
            issued.refuse(connection, [halt.id for halt in halts], device.tag, self._now())

    def _now(self) -> int:
        return microseconds(self._home.clock().astimezone(UTC).replace(tzinfo=None))
