"""Devices that may collect: enrolled for one employee, moved, retired. Their credentials are in device_tokens.py."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any

import sqlalchemy as sa

from lake.errors import UnauthenticatedError, UsageError
from lake.gateway.collection.interface import Device
from lake.gateway.collection.ledger import Event, Ledger
from lake.gateway.home import Home
from lake.gateway.recorder import Actor
from lake.rules.halt import Scope, ScopeKind
from lake.rules.model import MAX_EMPLOYEE_ID
from lake.sealed.audit import entries
from lake.sealed.catalog import tables
from lake.sealed.catalog.rows import microseconds

DEVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")
GROUP = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""Names of regions and teams."""
_CERTIFICATE = re.compile(r"[0-9a-f]{64}|")
ENROL, RETIRE = "enrol", "retire"


@dataclass(frozen=True, slots=True)
class Known:
    """Every device as of a number.

    Attributes:
        live: enrolled and not retired, by tag.
        enrolments: every enrolment that ever was, by (tag, number); what was issued under one names it.
        since: when the enrolment that counts began, in microseconds, by tag.
    """

    number: int = 0
    live: Mapping[str, Device] = field(default_factory=dict)
    enrolments: Mapping[tuple[str, int], Device] = field(default_factory=dict)
    since: Mapping[str, int] = field(default_factory=dict)

    def members(self) -> dict[Scope, frozenset[str]]:
        """Employees by region and team, as any of their devices was ever enrolled."""
        found: dict[Scope, set[str]] = {}
        for device in self.enrolments.values():
            for scope in (Scope(ScopeKind.REGION, device.region), Scope(ScopeKind.TEAM, device.team)):
                found.setdefault(scope, set()).add(device.employee)
        return {scope: frozenset(employees) for scope, employees in found.items()}


class Devices:
    """The devices of one lake; may be shared by threads."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._database = home.catalog.database
        self._ledger = Ledger(home, tables.devices)
        self._known = Known()

    def tag(self, name: str) -> str:
        """A device as catalog and audit log show it."""
        return self._home.control.literal_tag(f"device {name}")

    def known(self, connection: sa.Connection | None = None, *, writing: bool = False) -> Known:
        """Every device.

        Raises:
            IntegrityError, KeyIntegrityError: an event was changed or removed behind the lake's back.
        """
        if connection is None:
            with self._database.reading() as own:
                return self.known(own)
        read = self._ledger.events(connection, writing=writing)
        known = self._known
        if known.number != read.number:
            self._known = known = _fold(read.number, read.events)
        return known

    def find(self, tag: str) -> Device:
        """A device that is enrolled.

        Raises:
            UnauthenticatedError: it is not, or not any more.
        """
        device = self.known().live.get(tag)
        if device is None:
            raise UnauthenticatedError(hint="the device has to be enrolled: 'lake device enrol'", reason="device")
        return device

    def find_certificate(self, fingerprint: str) -> Device:
        """The same by the SHA-256 of its client certificate.

        Raises:
            UnauthenticatedError: none is enrolled with it.
        """
        for device in self.known().live.values():
            if fingerprint and device.certificate == fingerprint:
                return device
        raise UnauthenticatedError(hint="the device has to be enrolled: 'lake device enrol'", reason="device")

    def enrol(self, actor: Actor, name: str, *, employee: str, region: str, team: str, certificate: str = "") -> Device:
        """Let a device collect of one employee; the same again changes nothing, and something else moves it.

        What was issued to it before it moved, or before it was retired, counts no more.

        Args:
            certificate: SHA-256 of its client certificate in hex, if it has one.

        Raises:
            UsageError: a name is none.
        """
        _check(name, employee, region, team, certificate)
        tag = self.tag(name)
        document = {"name": name, "employee": employee, "region": region, "team": team, "certificate": certificate}

        def done(known: Known) -> Device | None:
            one = known.live.get(tag)
            taken = [each.name for each in known.live.values() if certificate and each.certificate == certificate]
            if set(taken) - {name}:
                raise UsageError("another device is enrolled with this certificate", hint="retire it first")
            return one if one is not None and _document(one) == document else None

        return self._add(actor, ENROL, tag, document, done)

    def retire(self, actor: Actor, name: str) -> Device:
        """Let a device collect no more; its tokens and leases count no more. Again, it changes nothing.

        Raises:
            UsageError: it was never enrolled.
        """
        tag = self.tag(name)

        def done(known: Known) -> Device | None:
            was = [device for (of, _), device in known.enrolments.items() if of == tag]
            if not was:
                raise UsageError("there is no such device", hint="'lake device list' names them")
            return was[-1] if tag not in known.live else None

        return self._add(actor, RETIRE, tag, {}, done)

    def _add(self, actor: Actor, kind: str, tag: str, document: Mapping[str, Any], done: Any) -> Device:
        at = microseconds(self._home.clock().astimezone(UTC).replace(tzinfo=None))
        self._home.catalog.check_anchor(*self._home.key_store.anchor("catalog"))
        with self._database.writing() as connection:
            before = self.known(connection, writing=True)
            settled: Device | None = done(before)
            if settled is not None:
                return settled
            self._home.recorder.record(f"{entries.DEVICE}.{kind}", actor, {"device": tag}, dict(document) or None)
            sys.audit("lake.step", "collection.recorded")
            event, committed = self._ledger.add(connection, kind, tag, at, document)
        sys.audit("lake.step", "collection.committed")
        committed()
        return _device(event) if kind == ENROL else before.live[tag]


def _fold(number: int, events: Iterable[Event]) -> Known:
    live: dict[str, Device] = {}
    enrolments: dict[tuple[str, int], Device] = {}
    since: dict[str, int] = {}
    for event in events:
        if event.kind == ENROL:
            live[event.id] = enrolments[event.id, event.number] = _device(event)
            since[event.id] = event.at
        else:
            live.pop(event.id, None)
    return Known(number, live, enrolments, since)


def _device(event: Event) -> Device:
    return Device(tag=event.id, enrolment=event.number, **event.document)


def _document(device: Device) -> dict[str, str]:
    return {name: getattr(device, name) for name in ("name", "employee", "region", "team", "certificate")}


def _check(name: str, employee: str, region: str, team: str, certificate: str) -> None:
    if DEVICE.fullmatch(name) is None:
        raise UsageError("this is not a valid name of a device", hint=f"expected {DEVICE.pattern}")
    if not 0 < len(employee) <= MAX_EMPLOYEE_ID or not employee.isprintable():
        raise UsageError("this is not a valid id of an employee")
    if GROUP.fullmatch(region) is None or GROUP.fullmatch(team) is None:
        raise UsageError("this is not a valid name of a region or a team", hint=f"expected {GROUP.pattern}")
    if _CERTIFICATE.fullmatch(certificate) is None:
        raise UsageError("a certificate is named by its SHA-256", hint="64 hexadecimal digits, lower case")
