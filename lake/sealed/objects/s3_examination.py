"""What a store can do, found out by doing it below the lake's prefix. Changes no object, and leaves none but a claim.

Said by ``lake init`` before a lake is made, and by ``lake doctor`` of one that is there.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from lake.errors import LakeError, UnavailableError, UsageError
from lake.rules.layout import DATA, OWNER
from lake.sealed.objects.s3_calls import Answer, Calls, Patience, checksum_text
from lake.sealed.objects.s3_errors import DENIED, EXISTS, GARBLED, UNKNOWN_CALL, code_of
from lake.sealed.objects.s3_place import S3Place

PROBE = f"{DATA}/probe-"
CONTENT = b"telemetry lake probe\n"
MOST_SKEW = 60.0
"""Seconds. Stores refuse requests from 900 on; it grows before."""
PATIENCE = Patience(deadline=15.0)


@dataclass(slots=True)
class Examination:
    """What was found: sentences that name no secret, ``good`` and ``lacking``."""

    good: list[str] = field(default_factory=list)
    lacking: list[str] = field(default_factory=list)


def claim(place: S3Place, owner: str) -> None:
    """Put, get and delete a probe, and take the prefix for a lake: of two that do it at once one at most succeeds.

    Args:
        owner: who takes it, in letters and digits; may do so again as long as nothing lies there.

    Raises:
        UsageError: there are objects below the prefix, or another lake is being made there.
        StoreRefusedError, UnavailableError: what is to be set right, or that the store does not answer.
    """
    with _Probe(place) as probe:
        claimed = f"{OWNER}{owner}"
        _refuse_others(place, probe, claimed)
        probe.put()
        if probe.get() != CONTENT:
            raise UnavailableError("the object store gives back other bytes than it was given")
        probe.delete()
        try:
            probe.put(claimed)
            _refuse_others(place, probe, claimed)
        except BaseException:
            probe.delete(claimed)
            raise


def release(place: S3Place, owner: str) -> None:
    """Give up the prefix that was claimed for a lake that could not be made."""
    with _Probe(place) as probe:
        probe.delete(f"{OWNER}{owner}")


def _refuse_others(place: S3Place, probe: _Probe, own: str) -> None:
    if probe.others(own):
        raise UsageError(
            f"there are objects below {place.url}/{DATA} already",
            hint="give the lake a prefix of its own: 'lake jobs sweep' removes what is not the lake's; "
            f"if all there is is {OWNER}..., of a lake that was never finished, remove that",
        )


def examine(place: S3Place) -> Examination:
    """Find out what the server lacks.

    Raises:
        StoreRefusedError, UnavailableError: not even a probe can be written and read.
    """
    found = Examination()
    with _Probe(place) as probe:
        skew = probe.put()
        if probe.get() != CONTENT:
            raise UnavailableError("the object store gives back other bytes than it was given")
        found.good.append(f"{place.url} can be written and read")
        for look in (_conditional, _checksums, _versions):
            look(probe, found)
        if abs(skew) > MOST_SKEW:
            found.lacking.append(
                f"the store's clock and this machine's differ by {abs(skew):.0f} s, and requests are refused from 900 s"
                " on: run an NTP client on both"
            )
        try:
            probe.delete()
        except LakeError as error:
            if code_of(error) != DENIED:
                raise
            found.good.append("this identity may not delete, as is right for ingest")
    if urlsplit(place.endpoint or "https:").scheme == "http" and not place.here:
        found.lacking.append("the endpoint is plain http: others on the network see which objects are read; use https")
    return found


def _conditional(probe: _Probe, found: Examination) -> None:
    try:
        probe.put(IfNoneMatch="*")
    except LakeError as error:
        if code_of(error) == EXISTS:
            found.good.append("an object is never overwritten")
            return
        if code_of(error) != UNKNOWN_CALL:
            raise
    found.lacking.append(
        "the server ignores conditional writes (If-None-Match): nothing is lost by it, as names are unique, but nothing"
        " hinders who has its credentials from overwriting an object, which is noticed when it is read"
    )


def _checksums(probe: _Probe, found: Examination) -> None:
    wrong = checksum_text(hashlib.sha256(b"something else").digest())
    try:
        probe.put(f"{probe.key}-checked", again=False, ChecksumSHA256=wrong)
    except LakeError as error:
        if code_of(error) not in GARBLED:
            raise
        found.good.append("content that was changed on its way is refused (SHA-256)")
        return
    with suppress(LakeError):
        probe.delete(f"{probe.key}-checked")
    found.lacking.append(
        "the server ignores checksums (SHA-256): content that is changed on its way is noticed only when it is read;"
        " use https"
    )


def _versions(probe: _Probe, found: Examination) -> None:
    try:
        status = probe.ask("get_bucket_versioning").fields.get("Status")
    except LakeError as error:
        if code_of(error) not in {UNKNOWN_CALL, DENIED}:
            raise
        status = "unknown" if code_of(error) == DENIED else None
    found.good.append(
        {
            "Enabled": "the bucket keeps versions; the lake deletes all versions of what it deletes",
            "Suspended": "the bucket kept versions once; the lake deletes all versions of what it deletes",
            "unknown": "this identity may not ask whether the bucket keeps versions",
        }.get(str(status), "the bucket keeps no versions: an object that somebody deletes is gone, but for backups")
    )


class _Probe:
    """An object of a name of its own, that goes whatever happens."""

    def __init__(self, place: S3Place) -> None:
        self._place = place
        self._calls = Calls(place, PATIENCE)
        self._once = Calls(place, Patience(deadline=0.0))
        self.key = f"{PROBE}{secrets.token_hex(16)}"

    def __enter__(self) -> _Probe:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            with suppress(LakeError):
                self.delete()
        self._calls.close()
        self._once.close()

    def ask(self, operation: str, **options: object) -> Answer:
        return self._calls(operation, Bucket=self._place.bucket, **options)

    def others(self, own: str) -> bool:
        """Whether there are objects but probes, and the one that is named."""
        listed = self.ask("list_objects_v2", Prefix=f"{self._place.root}{DATA}/", MaxKeys=100).fields
        keys = [one["Key"].removeprefix(self._place.root) for one in listed.get("Contents", ())]
        return any(key != own and not key.startswith(PROBE) for key in keys)

    def put(self, key: str | None = None, *, again: bool = True, **options: object) -> float:
        """Write it, once or while it fails; gives by how many seconds the store's clock is ahead."""
        calls = self._calls if again else self._once
        answer = calls("put_object", Bucket=self._place.bucket, Key=self._name(key), Body=CONTENT, **options)
        now = time.time()
        date = answer.fields["ResponseMetadata"]["HTTPHeaders"].get("date", "")
        try:
            return parsedate_to_datetime(date).timestamp() - now
        except ValueError:
            return 0.0

    def get(self) -> bytes:
        return self.ask("get_object", Key=self._name()).body

    def delete(self, key: str | None = None) -> None:
        name = self._name(key)
        try:
            listed = self.ask("list_object_versions", Prefix=name).fields
            versions = [*listed.get("Versions", ()), *listed.get("DeleteMarkers", ())]
        except LakeError:
            versions = []
        for version in [one["VersionId"] for one in versions if one["Key"] == name]:
            self.ask("delete_object", Key=name, VersionId=version)
        if not versions:
            self.ask("delete_object", Key=name)

    def _name(self, key: str | None = None) -> str:
        return self._place.root + (key or self.key)
