"""What the broker answers, to whom. Knows no sockets.

A host of the role ``ingest`` gets nothing that opens: it sends the DEKs that it made, and gets back their wraps.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Callable, Mapping

from keys.broker import Broker
from keys.control import ControlKeys
from keys.errors import (
    BrokerFailedError,
    BrokerRefusedError,
    KeyIntegrityError,
    KeysError,
    KeyStateError,
    ReceiptRefusedError,
    StaleKeyError,
)
from keys.keystore import KeyStore, check_subjects
from keys.receipts import Receipt
from keys.refs import FileBinding, KeyEvent, WrappedDek
from keys.remote import messages as m
from keys.remote.peers import Peer
from keys.remote.roles import CALLS, RECEIPTS, SECRETS, Role
from keys.remote.wire import Value

MOST_SUBJECTS = 100_000
"""New employees in one call."""
PAGE = 20_000
"""Entries of the book, or events, in one answer."""
_ANCHORS = frozenset({"audit", "catalog", "halts", "devices", "contract_events", "holds", "retention"})
_LOG = logging.getLogger(__name__)


class Service:
    """Answers calls, one broker's. Safe to share between threads.

    Args:
        verify: opens every wrap, and gives counts.
        translate: what an exception of the database means for the caller; None if nothing is known of it.
    """

    def __init__(
        self,
        broker: Broker,
        store: KeyStore,
        control: ControlKeys,
        *,
        verify: Callable[[], Mapping[str, int]],
        translate: Callable[[Exception], KeysError | None] = lambda _: None,
    ) -> None:
        self.lake = broker.hierarchy.lake
        self._broker = broker
        self._store = store
        self._control = control
        self._verify = verify
        self._translate = translate
        self._announcing = threading.Lock()
        self._events: dict[str, list[KeyEvent]] = {}
        self._handlers: dict[str, Callable[[Peer, Value], Value]] = {
            "control_secrets": self._secrets,
            "anchor": self._anchor,
            "advance_anchor": self._advance_anchor,
            "announce": self._announce,
            "wrap": self._wrap,
            "new_subjects": self._new_subjects,
            "take_events": self._take_events,
            "release": self._release,
            "releases": self._releases,
            "counts": self._counts,
            "epoch": self._epoch,
            "check_open": self._check_open,
            "check_wraps": self._check_wraps,
            "verify": self._verified,
        }

    def __repr__(self) -> str:
        return f"Service({self.lake!r})"

    def answer(self, peer: Peer, call: str, given: Value) -> Value:
        """The result of one call.

        Raises:
            KeysError: refused or failed; its text is safe to send.
        """
        if call not in CALLS[peer.role]:
            raise BrokerRefusedError(
                f"the role {peer.role.value} may not ask that of the broker", hint="see the peers file of the broker"
            )
        sys.audit("lake.step", f"broker.{call}.asked")
        try:
            result = self._handlers[call](peer, given)
        except KeysError:
            raise
        except Exception as error:  # noqa: BLE001 - its text could quote a row or a key
            known = self._translate(error)
            if known is None:
                _LOG.error("%s for %s failed with %s", call, peer.name, type(error).__name__)
            raise known or BrokerFailedError("the broker failed", hint="its log names the kind of error") from None
        sys.audit("lake.step", f"broker.{call}.done")
        return result

    def _secrets(self, peer: Peer, given: Value) -> Value:
        m.fields(given)
        return self._control.share(SECRETS[peer.role])

    def _anchor(self, _: Peer, given: Value) -> Value:
        return list(self._store.anchor(_anchor_name(m.fields(given, "name")["name"])))

    def _advance_anchor(self, _: Peer, given: Value) -> Value:
        found = m.fields(given, "name", "seq", "value")
        self._store.advance_anchor(_anchor_name(found["name"]), m.number(found["seq"]), m.blob(found["value"]))

    def _announce(self, peer: Peer, given: Value) -> Value:
        names = [m.kek_name_of(each) for each in m.items(m.fields(given, "partitions")["partitions"])]
        # One at a time, so that the keys that are made are told to the host that they were made for.
        with self._announcing:
            try:
                view = self._broker.hierarchy.landing_view(set(names))
            finally:
                self._events.setdefault(peer.name, []).extend(self._broker.take_events())
        rows = [view.wrapping_kek(name) for name in names]
        return {"epoch": view.epoch, "keks": [[row.kek_id, row.version] for row in rows]}

    def _wrap(self, _: Peer, given: Value) -> Value:
        found = m.fields(given, "dek", "binding", "kek_id", "version", "epoch")
        dek, binding, epoch = m.key(found["dek"]), m.binding_of(found["binding"]), m.number(found["epoch"])
        kek = (m.text(found["kek_id"]), m.number(found["version"]))
        return m.wrapped_fields(self._wrapped(dek, binding, kek, epoch))

    def _wrapped(self, dek: bytes, binding: FileBinding, kek: tuple[str, int], epoch: int) -> WrappedDek:
        """Wrapped under a KEK that wraps now, for the partition that it stands for."""
        partition = binding.partition
        view = self._store.view_of_keks({partition.subject}, {kek})
        check_subjects([partition.subject], view.subjects)
        row = view.keks.get(kek)
        if row is None and epoch != view.epoch:
            raise StaleKeyError("a key was replaced meanwhile", hint="send the batch again")
        if row is None or row.name != (partition.subject, partition.sensitivity, partition.month):
            raise KeyIntegrityError(f"the key of file {binding.file_id} is to be wrapped by that of another partition")
        if not row.state.wraps:
            if epoch == view.epoch:
                raise KeyStateError(f"the key {row.kek_id} is {row.state.value} and does not wrap")
            raise StaleKeyError(f"the key {row.kek_id} has been retired meanwhile", hint="send the batch again")
        try:
            return self._broker.wrap_dek(view, row, dek, binding)
        except KeyStateError:
            if self._store.epoch() == view.epoch:
                raise
            raise StaleKeyError("a key above was retired meanwhile", hint="send the batch again") from None

    def _new_subjects(self, _: Peer, given: Value) -> Value:
        count = m.number(m.fields(given, "count")["count"], 1, MOST_SUBJECTS)
        return [m.subject_fields(ref) for ref in self._broker.new_subjects(count)]

    def _take_events(self, peer: Peer, given: Value) -> Value:
        m.fields(given)
        with self._announcing:
            waiting = self._events.pop(peer.name, [])
            if len(waiting) > PAGE:
                self._events[peer.name] = waiting[PAGE:]
        return [m.event_fields(event) for event in waiting[:PAGE]]

    def _release(self, peer: Peer, given: Value) -> Value:
        found = m.fields(given, "receipt", "requests")
        requests = [m.request_of(each) for each in m.items(found["requests"])]
        receipt = m.receipt_of(found["receipt"])
        _check_kind(receipt, peer.role)
        return self._broker.release(receipt, requests)

    def _releases(self, _: Peer, given: Value) -> Value:
        after = m.number(m.fields(given, "after")["after"], -1)
        page = self._store.releases(after, PAGE)
        return [[receipt, actor, sorted(levels.items())] for receipt, (actor, levels) in page.items()]

    def _counts(self, _: Peer, given: Value) -> Value:
        m.fields(given)
        return self._store.counts()

    def _epoch(self, _: Peer, given: Value) -> Value:
        m.fields(given)
        return self._store.epoch()

    def _check_open(self, _: Peer, given: Value) -> Value:
        self._broker.check_open([m.request_of(each) for each in m.items(m.fields(given, "requests")["requests"])])

    def _check_wraps(self, _: Peer, given: Value) -> Value:
        self._broker.check_wraps([m.request_of(each) for each in m.items(m.fields(given, "requests")["requests"])])

    def _verified(self, _: Peer, given: Value) -> Value:
        m.fields(given)
        return dict(self._verify())


def _check_kind(receipt: Receipt, role: Role) -> None:
    """Refuse a receipt of an entry that is not this role's; whether it holds is the broker's to say."""
    try:
        kind = json.loads(receipt.entry)["type"]
        allowed = kind in RECEIPTS[role]
    except (ValueError, LookupError, TypeError, RecursionError):
        raise ReceiptRefusedError("an audit receipt's entry is malformed") from None
    if not allowed:
        raise ReceiptRefusedError(f"the role {role.value} gets no key for an audit receipt of this kind")


def _anchor_name(value: Value) -> str:
    if m.text(value) not in _ANCHORS:
        raise BrokerRefusedError("the broker keeps no such anchor")
    return m.text(value)
