"""What an ingest server does for a device, whatever way its batches come by: leases, and batches that land."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from lake.errors import ContractBreachError, LakeError, LeaseRefusedError
from lake.gateway.collection.interface import Device, Header, Judgement
from lake.gateway.collection.leases import device_actor
from lake.gateway.collection.service import Collection
from lake.gateway.contracts import Contracts
from lake.gateway.home import Home
from lake.gateway.identity.tokens import parse_token
from lake.gateway.ingest import BatchReport, ContentDigest, Delivery, Ingest
from lake.gateway.receiving.failures import retryable
from lake.gateway.receiving.header import NONCE, BatchHeader, Words
from lake.gateway.receiving.limits import ReceivingLimits
from lake.gateway.receiving.metrics import ReceivingMetrics
from lake.gateway.receiving.receipts import receipt_signer, signed, signed_lease
from lake.rules.contract import Contract
from lake.rules.model import NAME
from lake.sealed.audit import entries

UPLOAD = "ingest.upload"
ALREADY = "already_landed"


@dataclass(frozen=True, slots=True)
class Digest:
    """The digest of a body, known before its rows are read: 64 hexadecimal digits."""

    text: str

    def hexdigest(self) -> str:
        """See ContentDigest."""
        return self.text


@dataclass(frozen=True, slots=True)
class Admitted:
    """A batch whose header was judged: its rows may come."""

    device: Device
    header: BatchHeader
    contract: Contract
    judgement: Judgement


class Desk:
    """Of one server; safe for many threads."""

    def __init__(
        self,
        home: Home,
        contracts: Contracts,
        ingest: Ingest,
        metrics: ReceivingMetrics,
        limits: ReceivingLimits,
    ) -> None:
        self.limits = limits
        self.metrics = metrics
        self._home = home
        self._contracts = contracts
        self._collection = Collection(home, contracts)
        self._ingest = ingest
        self._signer = receipt_signer(home)

    def device(self, token: str) -> Device:
        """See Collecting.authenticate."""
        return self._collection.authenticate(token)

    def device_of(self, fingerprint: str) -> Device:
        """See Collecting.authenticate_certificate."""
        return self._collection.authenticate_certificate(fingerprint)

    def verifier(self) -> dict[str, Any]:
        """What receipts and leases are checked with."""
        return {"verifier": self._signer.verifier_key}

    def contract(self, dataset: str, version: int | None) -> dict[str, Any]:
        """A contract in force.

        Raises:
            ContractBreachError: there is none.
        """
        if NAME.fullmatch(dataset) is None:
            raise ContractBreachError("there is no such dataset", hint="names are lower case, with _ between words")
        found = self._contracts.get(dataset, version)
        return {
            "dataset": dataset,
            "version": found.version,
            "contract": found.digest,
            "text": found.text,
        }

    def lease(self, device: Device, document: Mapping[str, Any]) -> dict[str, Any]:
        """A lease, or the one that the device has, signed for this device and this request.

        Raises:
            UsageError: the document is not of its form.
            PausedError, ContractBreachError: see Collecting.grant.
        """
        words = Words(document, "the request")
        dataset, types = words.text("dataset", NAME), words.names("types")
        nonce = words.text("nonce", NONCE)
        version = None if document.get("version") is None else words.number("version", 1)
        if "version" in document and version is None:
            words.take("version", type(None))
        words.end()
        granted = self._collection.grant(device, dataset, version, types)
        lease, now = granted.lease, self._home.clock().astimezone(UTC)
        answer = {
            "v": 1,
            "nonce": nonce,
            "token": granted.token,
            "id": lease.id,
            "device": device.name,
            "employee": device.employee,
            "dataset": lease.dataset,
            "version": self._version(lease.dataset, lease.contract),
            "contract": lease.contract,
            "types": sorted(lease.types),
            "epochs": list(lease.epochs),
            "issued": _exact(lease.issued),
            "expires": _exact(lease.expires),
            "now": _exact(now),
            "mark": granted.mark,
            "renewed": granted.renewed,
        }
        return signed_lease(answer, self._signer)

    def acknowledge(self, device: Device, document: Mapping[str, Any]) -> None:
        """The device has stopped what pauses up to a mark forbid.

        Raises:
            UsageError: the document is not of its form.
        """
        words = Words(document, "the request")
        mark = words.number("mark", 0)
        words.end()
        self._collection.acknowledge(device, mark)

    def admit(self, device: Device, header: BatchHeader) -> Admitted:
        """Judge a batch by its header, before anything of it is read.

        Raises:
            LeaseRefusedError, PausedError, ContractBreachError: it may not land.
        """
        with self.recorded(device, header.dataset):
            if header.device != device.name:
                raise LeaseRefusedError(
                    "the batch is of another device than the one that sends it", hint="send your own", reason="device"
                )
            contract = self._contracts.get(header.dataset, header.version)
            if contract.digest != header.contract:
                raise ContractBreachError(
                    f"the contract's version {header.version} has another digest", hint="fetch the contract anew"
                )
        said = Header(header.employee, header.dataset, header.contract, header.types)
        return Admitted(device, header, contract, self._collection.judge(header.lease, device, said))

    def land(
        self,
        admitted: Admitted,
        batches: Iterable[pa.RecordBatch],
        content: ContentDigest,
        door: str,
    ) -> dict[str, Any]:
        """Land rows whose content is known, and give the signed receipt. It is recorded before it is given.

        Raises:
            BatchRefusedError: the batch may not land; nothing of it did.
            UnavailableError: try again; it has landed wholly or not at all.
        """
        delivery = self._delivery(admitted, batches, content)
        report = self._ingest.acting(device_actor(admitted.device)).land(delivery)
        sys.audit("lake.step", "receiving.landed")
        return self._acknowledged(admitted, report, door)

    def landed(self, admitted: Admitted, door: str) -> dict[str, Any] | None:
        """The receipt of a batch that has landed before, without its rows; None if it has not.

        So a batch whose receipt was lost is never taken apart because it has become too large.

        Raises:
            BatchConflictError: the id has landed with other content.
        """
        digest = Digest(admitted.header.content.removeprefix("sha256:"))
        with self.recorded(admitted.device, admitted.header.dataset):
            report = self._ingest.find(self._delivery(admitted, (), digest))
        return None if report is None else self._acknowledged(admitted, report, door)

    def _delivery(self, admitted: Admitted, batches: Iterable[pa.RecordBatch], content: ContentDigest) -> Delivery:
        header = admitted.header
        return Delivery(
            dataset=header.dataset,
            batches=batches,
            content=content,
            batch_id=header.name,
            contract_version=header.version,
            known_content=True,
            judgement=admitted.judgement,
            lease=_lease_id(header),
        )

    def _acknowledged(self, admitted: Admitted, report: BatchReport, door: str) -> dict[str, Any]:
        status = "landed" if report.status == "landed" else ALREADY
        self._record(admitted, report, status, door)
        sys.audit("lake.step", "receiving.recorded")
        self.metrics.acknowledged(status, report.rows if status == "landed" else 0)
        return signed(self._receipt(admitted, report), self._signer) | {"repeated": status == ALREADY}

    def _receipt(self, admitted: Admitted, report: BatchReport) -> dict[str, Any]:
        """What the lake signs of a batch: from what it keeps of it, so the same however often it is sent."""
        header, kept = admitted.header, report.entry is not None
        return {
            "v": 1,
            "at": report.landed_at,
            "batch": header.batch,
            "device": admitted.device.tag,
            "dataset": header.dataset,
            "version": report.contract_version,
            "contract": self._contracts.get(header.dataset, report.contract_version).digest,
            "content": header.content,
            "lease": report.lease if kept else None,
            "status": "landed",
            "rows": report.rows,
            "dropped": report.dropped,
            "files": sum(level["files"] for level in report.levels.values()) if kept else None,
            "levels": report.levels if kept else None,
            "masked": report.masked if kept else None,
            "rules": report.rules if kept else None,
            "entry": report.entry,
        }

    @contextmanager
    def recorded(self, device: Device, dataset: str) -> Iterator[None]:
        """Record a refusal that nothing behind the desk has seen."""
        try:
            yield
        except LakeError as error:
            self.note(device, dataset, error)
            raise

    def note(self, device: Device, dataset: str, error: LakeError) -> None:
        """Record that a batch was refused; one that may be sent again as it is was not."""
        if not retryable(error):
            fields = {"dataset": dataset, "reason": error.code}
            self._home.recorder.record(entries.BATCH_REFUSED, device_actor(device), fields)

    def _record(self, admitted: Admitted, report: BatchReport, status: str, door: str) -> None:
        header = admitted.header
        fields = {
            "dataset": header.dataset,
            "batch": self._home.control.literal_tag(f"batch {header.dataset} {header.name}"),
            "lease": _lease_id(header),
            "status": status,
            "rows": report.rows,
            "door": door,
            "collector": header.collector,
            "seq": None if header.seq is None else list(header.seq),
            "rules": header.rules,
            "filtered": dict(header.filtered),
        }
        self._home.recorder.record(UPLOAD, device_actor(admitted.device), fields)

    def _version(self, dataset: str, digest: str) -> int:
        versions = [one.version for one in self._contracts.all() if (one.dataset, one.digest) == (dataset, digest)]
        return max(versions)


def _lease_id(header: BatchHeader) -> str:
    """The id of a lease whose token was judged."""
    return str(parse_token(header.lease).claims["jti"])


def _exact(moment: datetime) -> str:
    return moment.replace(tzinfo=UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
