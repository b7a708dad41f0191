"""Collectors on a known lake behind the real ingest server, stepped by hand on clocks that a test moves."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from lake.collector import Collector, CollectorSettings
from lake.collector.backoff import Backoff
from lake.collector.clocks import Clocks
from lake.collector.keeper import Hook
from lake.gateway.receiving.receipts import receipt_signer
from lake.rules.halt import Backlog, Halt, Order, Scope, ScopeKind
from tests.gateway.receiving.site import DEVICES, Site, later
from tests.keys.remote.hosts import Authority

REASON = "works council, ticket 4711"
TYPES = frozenset({"focus"})


@dataclass
class Listener:
    """A hook that notes whether it is there."""

    installed: bool = False
    times: int = 0

    def install(self) -> None:
        assert not self.installed
        self.installed = True
        self.times += 1

    def remove(self) -> None:
        assert self.installed
        self.installed = False


@dataclass
class Lab:
    """The lake's time is the site's; ``boot`` is a laptop's clock that nobody sets, ``skew`` that of its wall clock."""

    site: Site
    authority: Authority
    folder: Path
    boot: float = 1000.0
    skew: timedelta = timedelta()
    opened: list[Collector] = field(default_factory=list)

    def pass_(self, seconds: float) -> None:
        """Let time pass, everywhere."""
        self.boot += seconds
        later(self.site, seconds)

    def clocks(self, boot_id: str = "boot-1") -> Clocks:
        """Of a laptop."""
        return Clocks(lambda: self.boot, lambda: boot_id, lambda: self.site.now + self.skew)

    def settings(self, name: str = "ada-1", **options: Any) -> CollectorSettings:
        """As the operator has given them to a device."""
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        token = folder / "token"
        if not token.exists():
            token.write_text(self.site.collection.tokens.issue(self.site.lake.actor, name).text)
            token.chmod(0o600)
        given: dict[str, Any] = {
            "server": self.site.receiving.addresses[0],
            "ca": self.authority.file,
            "verifier": receipt_signer(self.site.lake.home).verifier_key,
            "device": name,
            "employee": DEVICES[name],
            "dataset": "events",
            "types": TYPES,
            "token_file": token,
            "folder": folder / "spool",
        }
        return CollectorSettings(**given | options)

    def collector(
        self, name: str = "ada-1", hooks: Sequence[Hook] = (), boot_id: str = "boot-1", **options: Any
    ) -> Collector:
        """One that a test steps by hand; retries come after half a second."""
        made = Collector(
            self.settings(name, **options),
            hooks,
            clocks=self.clocks(boot_id),
            backoff=lambda: Backoff(1.0, chance=lambda: 0.0),
        )
        self.opened.append(made)
        return made

    def pause(
        self, scope: Scope | None = None, backlog: Backlog = Backlog.DROP, types: frozenset[str] | None = None
    ) -> Halt:
        """A pause from now on."""
        order = Order(scope or Scope(ScopeKind.GLOBAL), REASON, types, backlog)
        return self.site.collection.halts.order("olga", order)

    def resume(self, halt: Halt) -> None:
        """By two people."""
        for person in ("olga", "stu"):
            self.site.collection.halts.resume(person, halt.id, REASON)


def focus(number: int, **more: Any) -> dict[str, Any]:
    """One event."""
    return {"type": "focus", "app": "Sent-QX", "n": number, **more}


def upload(collector: Collector) -> None:
    """Close the batch and send until nothing is left or the server wants to wait."""
    collector.spool.close_batch()
    for _ in range(100):
        if collector.spool.first() is None or collector.sender.step() > 0:
            return


def crash(collector: Collector) -> None:
    """What a killed process leaves, with its locks gone."""
    opened = collector.spool._open
    if opened is not None:
        os.close(opened.descriptor)
        collector.spool._open = None
    collector.spool._folder.close()


def naive(moment: datetime) -> datetime:
    """As rows have it."""
    return moment.astimezone(UTC).replace(tzinfo=None)
