"""What a server that takes batches from collectors needs of the lake's collection: see service.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import sqlalchemy as sa

from keys.errors import KeysError
from lake.errors import LakeError
from lake.rules.halt import Place
from lake.rules.lease import Gate, Lease


@dataclass(frozen=True, slots=True)
class Device:
    """An enrolled device.

    Attributes:
        tag: ``hmac:`` and 32 hexadecimal digits; what catalog and audit log show of it.
        enrolment: number of the enrolment that counts.
        certificate: SHA-256 of its client certificate (DER), 64 hexadecimal digits; empty if it has none.
    """

    name: str
    tag: str
    enrolment: int
    employee: str
    region: str
    team: str
    certificate: str = ""

    def place(self, dataset: str) -> Place:
        """Where it collects for a dataset."""
        return Place(dataset, self.region, self.team, self.employee)


@dataclass(frozen=True, slots=True)
class Header:
    """What a batch says of itself. ``contract`` is the digest of the contract's text (``sha256:…``)."""

    employee: str
    dataset: str
    contract: str
    types: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Granted:
    """A lease that was granted.

    Attributes:
        token: signed; goes to the device, and comes back with every batch.
        mark: the newest event of pauses that it takes in; a device acknowledges a later one.
        renewed: whether the device had a live one.
    """

    token: str = field(repr=False)
    lease: Lease
    mark: int
    renewed: bool


@dataclass(frozen=True, slots=True)
class Judgement:
    """What may land of a batch. It goes with the delivery: ``Delivery(..., judgement=...)``.

    Attributes:
        gate: which rows; the others are dropped and counted as ``paused``, ``outside_lease`` and so on.
        confirm: asks again inside the commit's transaction; raises PausedError if a pause came meanwhile.
        refused: counts a refusal that came after the judgement.
    """

    gate: Gate
    confirm: Callable[[sa.Connection], None]
    refused: Callable[[LakeError | KeysError], None] = lambda _: None


class Collecting(Protocol):
    """Implemented by ``lake.gateway.collection.service.Collection``; may be shared by threads."""

    def authenticate(self, token: str) -> Device:
        """The device whose token this is.

        Raises:
            UnauthenticatedError: none, or one that is retired.
        """

    def authenticate_certificate(self, fingerprint: str) -> Device:
        """The device that was enrolled with a client certificate, by its SHA-256 in hex (DER).

        Raises:
            UnauthenticatedError: none, or one that is retired.
        """

    def grant(self, device: Device, dataset: str, version: int | None, types: frozenset[str]) -> Granted:
        """A lease, or the one that it has while half of its time is not over. It is recorded before anyone has it.

        Args:
            version: of the contract; None for the newest.
            types: event types that the device wants to record; fewer are granted if some are paused.

        Raises:
            PausedError: nothing may be recorded now; ``details["mark"]`` is what to acknowledge.
            ContractBreachError: no such dataset, version or event type.
        """

    def judge(self, token: str, device: Device, header: Header) -> Judgement:
        """What may land of a batch that comes with a lease.

        Raises:
            LeaseRefusedError: the lease is none, or is for another device, employee, dataset, contract or types.
            PausedError: nothing of it may land; ``details["mark"]`` is what to acknowledge.
        """

    def acknowledge(self, device: Device, mark: int) -> None:
        """A device says that it has stopped recording what pauses up to a mark forbid."""

    def mark(self) -> int:
        """The newest event of pauses; 0 if there was none."""
