"""Tokens with which devices show who they are. Each stands in the audit log before anybody has it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from lake.clock import timestamp
from lake.errors import UsageError
from lake.gateway.collection.devices import Devices
from lake.gateway.collection.interface import Device
from lake.gateway.collection.signed import DEVICES, Signer, number, text
from lake.gateway.home import Home
from lake.gateway.identity.reasons import Reason, refused
from lake.gateway.recorder import Actor
from lake.sealed.audit import entries

MAX_LIFETIME = timedelta(days=400)
DEFAULT_LIFETIME = timedelta(days=90)


@dataclass(frozen=True, slots=True)
class DeviceToken:
    """A new token; who holds it is the device until it expires (UTC). Its ``repr`` shows its id only."""

    text: str = field(repr=False)
    token_id: str
    expires: datetime


class DeviceTokens:
    """Issues and checks the tokens of devices of one lake."""

    def __init__(self, home: Home, devices: Devices) -> None:
        self._home = home
        self._devices = devices
        self._signer = Signer(home, DEVICES)

    def issue(self, actor: Actor, name: str, lifetime: timedelta = DEFAULT_LIFETIME) -> DeviceToken:
        """A token of an enrolled device. It ends with the enrolment, whatever it says.

        Raises:
            UnauthenticatedError: there is no such device.
            UsageError: it would live for too long.
        """
        if not timedelta(0) < lifetime <= MAX_LIFETIME:
            raise UsageError(f"a device's token lives for at most {MAX_LIFETIME.days} days")
        device = self._devices.find(self._devices.tag(name))
        now, token_id = self._home.clock().astimezone(UTC), secrets.token_hex(16)
        expires = (now + lifetime).replace(microsecond=0)
        claims = {"jti": token_id, "dev": device.tag, "enr": device.enrolment}
        times = {"iat": int(now.timestamp()), "exp": int(expires.timestamp())}
        fields = {"token": token_id, "device": device.tag, "expires": timestamp(expires)}
        self._home.recorder.record(f"{entries.DEVICE}.token", actor, fields)
        return DeviceToken(self._signer.sign(claims | times), token_id, expires)

    def device(self, token: str) -> Device:
        """The device that shows a token.

        Raises:
            UnauthenticatedError: the token is none or has ended, or the device was retired or enrolled anew since.
        """
        claims = self._signer.read(token)
        if number(claims, "exp") <= self._home.clock().timestamp():
            raise refused(Reason.EXPIRED)
        device = self._devices.find(text(claims, "dev"))
        if device.enrolment != number(claims, "enr"):
            raise refused(Reason.EXPIRED)
        return device
