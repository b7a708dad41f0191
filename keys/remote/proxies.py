"""The broker, its book and the control secrets as a lake's process has them that may not open the key store."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence

from keys import envelope
from keys.broker import LandingKey
from keys.control import ControlKeys, SharedControlKeys
from keys.errors import BrokerMessageError, KeyIntegrityError, KeyStateError, StaleKeyError
from keys.hierarchy import TRIES
from keys.receipts import Receipt
from keys.refs import DekRequest, FileBinding, KeyEvent, PartitionRef, SubjectRef, WrappedDek
from keys.remote import messages as m
from keys.remote.client import BrokerClient
from keys.rows import KekName

VERIFY_SECONDS = 3600.0
CHECKED_AT_ONCE = 256
"""Wraps in one message, well below what a message may hold."""


def control_keys(client: BrokerClient) -> ControlKeys:
    """The control secrets that this host's role needs."""
    return SharedControlKeys(client.lake, {m.text(name): m.key(value) for name, value in _secrets(client)})


def _secrets(client: BrokerClient) -> list[tuple[str, bytes]]:
    answer = client.call("control_secrets", {})
    if not isinstance(answer, dict):
        raise BrokerMessageError("the broker answered something else than it was asked")
    return list(answer.items())


def verify(client: BrokerClient) -> dict[str, int]:
    """Let the broker open every wrap under its parent; counts."""
    return _counts(client.call("verify", {}, seconds=VERIFY_SECONDS))


class RemoteLandingKeys:
    """Fresh DEKs for some partitions, made here and wrapped by the broker: it never learns what they encrypt.

    Attributes:
        epoch: the oldest key epoch of any wrap made since the last renewal; the catalog refuses a commit of an older
            one than its fence.
    """

    def __init__(self, client: BrokerClient, partitions: Collection[PartitionRef]) -> None:
        self._client = client
        self._names = {_kek_name(partition): None for partition in sorted(partitions, key=_kek_name)}
        self._issued: dict[str, tuple[PartitionRef, bytes]] = {}
        self.renew()

    def __repr__(self) -> str:
        return f"RemoteLandingKeys({len(self._names)} partitions)"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("keys are not pickled")

    def renew(self) -> None:
        """Ask for the names of the KEKs again.

        Raises:
            KeyStateError: an employee has been erased or disabled meanwhile.
        """
        self._seen = self._announced()
        self.epoch = self._seen[0]

    def _announced(self) -> tuple[int, dict[KekName, tuple[str, int]]]:
        """The key epoch, and the KEKs (id, version) that wrap now."""
        answer = m.fields(self._client.call("announce", {"partitions": list(self._names)}), "epoch", "keks")
        keks = [m.items(each, 2) for each in m.items(answer["keks"], len(self._names))]
        return m.number(answer["epoch"]), {
            name: (m.text(kek_id), m.number(version)) for name, (kek_id, version) in zip(self._names, keks, strict=True)
        }

    def __call__(self, partition: PartitionRef) -> LandingKey:
        """A fresh DEK for a file of this partition."""
        if _kek_name(partition) not in self._names:
            raise KeyStateError("a DEK was asked for another partition than those announced")
        file_id, dek = secrets.token_hex(16), envelope.new_key()
        self._issued[file_id] = (partition, dek)
        return LandingKey(file_id, dek, aad_prefix(self._client.lake, partition, file_id), self.wrap)

    def files(self) -> list[str]:
        """Ids of the files that DEKs were issued for."""
        return list(self._issued)

    def wrap(self, binding: FileBinding) -> WrappedDek:
        """Let the DEK of a finished file be wrapped under the KEK as it was read last; as often as needed.

        Raises:
            KeyStateError: an employee has been erased or disabled meanwhile.
        """
        partition, dek = self._issued.get(binding.file_id, (None, b""))
        if binding.partition != partition:
            raise KeyIntegrityError("a DEK is wrapped for the file that it was made for, and no other")
        given = {"dek": dek, "binding": m.binding_fields(binding)}
        for _ in range(TRIES):
            epoch, keks = self._seen
            kek_id, version = keks[_kek_name(binding.partition)]
            kek = {"kek_id": kek_id, "version": version, "epoch": epoch}
            try:
                return m.wrapped_of(self._client.call("wrap", given | kek))
            except StaleKeyError:
                # Retired since it was read. Files wrapped before stay of the older epoch.
                self._seen = self._announced()
        raise KeyStateError("the keys of this batch change too often", hint="send the batch again")


class RemoteBroker:
    """The broker's calls, as :class:`keys.broker.Broker` has them."""

    def __init__(self, client: BrokerClient) -> None:
        self._client = client

    def __repr__(self) -> str:
        return f"RemoteBroker({self._client.lake!r})"

    def take_events(self) -> list[KeyEvent]:
        """What happened to keys for this host since the last call, for the audit log."""
        found: list[KeyEvent] = []
        while page := m.items(self._client.call("take_events", {})):
            found += [m.event_of(each) for each in page]
        return found

    def new_subjects(self, count: int) -> list[SubjectRef]:
        """Fresh pseudonyms with random buckets and the next dense numbers."""
        return [m.subject_of(each) for each in m.items(self._client.call("new_subjects", {"count": count}), count)]

    def landing_keys(self, partitions: Collection[PartitionRef]) -> RemoteLandingKeys:
        """A source of fresh DEKs for these partitions.

        Raises:
            KeyStateError: an employee has been erased or disabled.
        """
        return RemoteLandingKeys(self._client, partitions)

    def aad_prefix(self, partition: PartitionRef, file_id: str) -> bytes:
        """The external AAD prefix of a file, 32 bytes."""
        return aad_prefix(self._client.lake, partition, file_id)

    def anchor_size(self) -> int:
        """The size of the audit log that the broker saw last; a receipt must prove growth from there."""
        return _anchor(self._client, "audit")[0]

    def release(self, receipt: Receipt, requests: Sequence[DekRequest]) -> list[bytes]:
        """The DEKs of files whose partitions a fresh, unused, verified receipt names; in the order asked.

        Raises:
            KeysError: as the broker's own.
            BrokerUnavailableError: no answer came; the receipt may be used up.
        """
        given = {"receipt": m.receipt_fields(receipt), "requests": [m.request_fields(each) for each in requests]}
        found = m.items(self._client.call("release", given), len(requests))
        return [m.key(each, held=request.held) for each, request in zip(found, requests, strict=True)]

    def check_wrap(self, request: DekRequest) -> None:
        """Let the broker open one DEK and keep it.

        Raises:
            KeysError: it does not open for the catalog's row.
        """
        self.check_wraps([request])

    def check_open(self, requests: Sequence[DekRequest]) -> None:
        """Whether these DEKs would be given now."""
        self._check("check_open", requests)

    def check_wraps(self, requests: Sequence[DekRequest]) -> None:
        """The same of many files."""
        self._check("check_wraps", requests)

    def _check(self, call: str, requests: Sequence[DekRequest]) -> None:
        for start in range(0, len(requests), CHECKED_AT_ONCE):
            page = requests[start : start + CHECKED_AT_ONCE]
            self._client.call(call, {"requests": [m.request_fields(each) for each in page]})


class RemoteKeyStore:
    """What a lake's process reads and writes of the key store: anchors, the book, counts."""

    def __init__(self, client: BrokerClient) -> None:
        self._client = client

    def __repr__(self) -> str:
        return f"RemoteKeyStore({self._client.lake!r})"

    def epoch(self) -> int:
        """The key epoch."""
        return m.number(self._client.call("epoch", {}))

    def anchor(self, name: str) -> tuple[int, bytes]:
        """What was last seen of the audit log (size, root) or the catalog (commit, MAC); (0, b"") at first."""
        return _anchor(self._client, name)

    def advance_anchor(self, name: str, seq: int, value: bytes) -> None:
        """Remember a newer state; an older one changes nothing."""
        self._client.call("advance_anchor", {"name": name, "seq": seq, "value": value})

    def releases(self, after: int = -1, most: int | None = None) -> dict[int, tuple[str, dict[int, int]]]:
        """(actor, DEKs released by level) by index of the audit entry: the broker's own book, in order."""
        found: dict[int, tuple[str, dict[int, int]]] = {}
        while most is None or len(found) < most:
            page = m.items(self._client.call("releases", {"after": after}))
            if not page:
                break
            for each in page[: None if most is None else most - len(found)]:
                receipt, actor, levels = m.items(each, 3)
                pairs = [m.items(pair, 2) for pair in m.items(levels)]
                after = m.number(receipt, after + 1)
                found[after] = m.text(actor), {m.number(level): m.number(count) for level, count in pairs}
        return found

    def counts(self) -> dict[str, int]:
        """How many bucket keys, KEKs, employees, releases and backups there are."""
        return _counts(self._client.call("counts", {}))


def aad_prefix(lake: str, partition: PartitionRef, file_id: str) -> bytes:
    """The external AAD prefix of a file, 32 bytes."""
    return envelope.aad_prefix(
        lake, partition.dataset, partition.sensitivity, partition.subject, partition.month, file_id
    )


def _kek_name(partition: PartitionRef) -> KekName:
    return partition.subject, partition.sensitivity, partition.month


def _anchor(client: BrokerClient, name: str) -> tuple[int, bytes]:
    seq, value = m.items(client.call("anchor", {"name": name}), 2)
    return m.number(seq), m.blob(value)


def _counts(answer: object) -> dict[str, int]:
    if not isinstance(answer, dict):
        raise BrokerMessageError("the broker answered something else than it was asked")
    return {m.text(name): m.number(count) for name, count in answer.items()}
