"""Objects on S3, or on a server that speaks it. An object is there once its put is answered: whole, or not at all.

Nothing here needs a server that is more than that. Names are unique random ids and the catalog decides which of them
count, so that a server which ignores ``If-None-Match`` or checksums weakens a second line, not the first.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from lake.errors import IntegrityError, LakeError, ObjectRetainedError, UnavailableError
from lake.rules.layout import DATA, OWNER
from lake.sealed.objects import Location, Part, StoredObject, Upload
from lake.sealed.objects.s3_calls import Answer, Calls, Patience, checksum_text
from lake.sealed.objects.s3_errors import DENIED, EMPTY, EXISTS, GONE, MISSING, UNKNOWN_CALL, code_of
from lake.sealed.objects.s3_place import S3Place

MIB = 1024 * 1024
LARGE = 64 * MIB
"""Objects from here on are uploaded in parts."""
PART = 16 * MIB
PAGE = 1000


class S3Store:
    """The objects of one lake, below a prefix of a bucket. Threads may share it."""

    def __init__(
        self,
        place: S3Place,
        patience: Patience | None = None,
        *,
        large: int = LARGE,
        part: int = PART,
        page: int = PAGE,
    ) -> None:
        """Open a client; no request is made yet.

        Args:
            large, part: bytes from which on an object is uploaded in parts, and of a part (5 MiB at least).
            page: names that a list is asked for at a time.
        """
        self.place = place
        self._calls = Calls(place, patience)
        self._large, self._part, self._page = large, part, page

    def close(self) -> None:
        """See ObjectStore."""
        self._calls.close()

    def location(self) -> Location:
        """See ObjectStore."""
        return Location("s3", self.place.url, self.part)

    def put(self, key: str, content: memoryview) -> None:
        """See ObjectStore. The same content under the same name is no error: the answer to a first try may be lost."""
        digest = hashlib.sha256(content).digest()
        try:
            if content.nbytes < self._large:
                self._call(
                    "put_object",
                    key,
                    Body=bytes(content),
                    IfNoneMatch="*",
                    ChecksumSHA256=checksum_text(digest),
                )
            else:
                self._upload(key, content)
        except LakeError as error:
            if code_of(error) not in {EXISTS, GONE}:
                raise
            if not self._is(key, content.nbytes, digest):
                raise UnavailableError(
                    f"there is another object under the name {key}", hint="try again: names are made anew"
                ) from None

    def settle(self, keys: Collection[str]) -> None:
        """See ObjectStore. What the store has answered for is durable: there is nothing left to do."""

    def read(self, key: str) -> bytes:
        """See ObjectStore."""
        return self._get(key).body

    def part(self, key: str, start: int, length: int) -> Part:
        """See ObjectStore."""
        if length <= 0:
            return Part(b"", self.length(key) or 0)
        try:
            answer = self._get(key, Range=f"bytes={start}-{start + length - 1}")
        except IntegrityError as error:
            if code_of(error) == EMPTY:
                return Part(b"", self.length(key) or 0)
            raise
        return Part(answer.body, _total(answer))

    def length(self, key: str) -> int | None:
        """See ObjectStore."""
        # Not a HEAD: its answer does not tell a missing object from a missing bucket.
        try:
            return _total(self._call("get_object", key, Range="bytes=0-0"))
        except IntegrityError as error:
            if code_of(error) == EMPTY:
                return 0
            return None

    def list(self) -> Iterator[StoredObject]:
        """See ObjectStore."""
        for answer in self._pages("list_objects_v2", ("ContinuationToken", "NextContinuationToken")):
            now = _now(answer)
            for found in answer.fields.get("Contents", ()):
                key = self._key(found["Key"])
                if not key.startswith(OWNER):
                    yield StoredObject(key, found["Size"], _age(now, found["LastModified"]))

    def delete(self, key: str) -> None:
        """See ObjectStore. On a bucket with versions all of them go, for what is kept is not deleted.

        Raises:
            ObjectRetainedError: the store keeps it on purpose.
        """
        versions = self._versions(key)
        if versions is None:
            self._call("delete_object", key)
            return
        for version in versions:
            try:
                self._call("delete_object", key, VersionId=version)
            except LakeError as error:
                self._raise_if_kept(key, version)
                if code_of(error) != MISSING:
                    raise

    def unfinished(self) -> Iterator[Upload]:
        """See ObjectStore."""
        markers = ("KeyMarker", "NextKeyMarker"), ("UploadIdMarker", "NextUploadIdMarker")
        try:
            for answer in self._pages("list_multipart_uploads", *markers):
                now = _now(answer)
                for found in answer.fields.get("Uploads", ()):
                    yield Upload(self._key(found["Key"]), found["UploadId"], _age(now, found["Initiated"]))
        except LakeError as error:
            if code_of(error) != UNKNOWN_CALL:
                raise

    def abort(self, upload: Upload) -> None:
        """See ObjectStore."""
        try:
            self._call("abort_multipart_upload", upload.key, UploadId=upload.id)
        except IntegrityError:  # it was finished or aborted meanwhile
            return

    def _upload(self, key: str, content: memoryview) -> None:
        begun = self._call("create_multipart_upload", key, ChecksumAlgorithm="SHA256")
        upload = str(begun.fields["UploadId"])
        sys.audit("lake.step", "store.upload-begun")
        try:
            parts = []
            for number, start in enumerate(range(0, content.nbytes, self._part), 1):
                part = content[start : start + self._part]
                checksum = checksum_text(hashlib.sha256(part).digest())
                answer = self._call(
                    "upload_part",
                    key,
                    UploadId=upload,
                    PartNumber=number,
                    Body=bytes(part),
                    ChecksumSHA256=checksum,
                )
                sys.audit("lake.step", "store.part-written")
                known = {"ChecksumSHA256": checksum} if "ChecksumSHA256" in answer.fields else {}
                parts.append({"PartNumber": number, "ETag": answer.fields["ETag"], **known})
            self._call(
                "complete_multipart_upload", key, UploadId=upload, MultipartUpload={"Parts": parts}, IfNoneMatch="*"
            )
            sys.audit("lake.step", "store.upload-completed")
        except BaseException:
            with suppress(LakeError):  # what stays is swept later
                self._call("abort_multipart_upload", key, UploadId=upload)
            raise

    def _is(self, key: str, length: int, digest: bytes) -> bool:
        """Whether an object is there with this content; a server that keeps no digest is asked for the content."""
        try:
            head = self._call("head_object", key, ChecksumMode="ENABLED").fields
            if head["ContentLength"] != length:
                return False
            if head.get("ChecksumSHA256") and head.get("ChecksumType", "FULL_OBJECT") == "FULL_OBJECT":
                return bool(head["ChecksumSHA256"] == checksum_text(digest))
            return hashlib.sha256(self.read(key)).digest() == digest
        except IntegrityError:
            return False
        except LakeError as error:
            if code_of(error) != DENIED:
                raise
            raise UnavailableError(
                "whether the object was written is not known, as this identity may not read",
                hint="send the batch again: nothing is doubled",
            ) from None

    def _versions(self, key: str) -> Sequence[str] | None:
        """Every version of an object, markers included; None if the server knows no versions."""
        markers = ("KeyMarker", "NextKeyMarker"), ("VersionIdMarker", "NextVersionIdMarker")
        try:
            return [
                one["VersionId"]
                for answer in self._pages("list_object_versions", *markers, prefix=key)
                for one in (*answer.fields.get("Versions", ()), *answer.fields.get("DeleteMarkers", ()))
                if self._key(one["Key"]) == key
            ]
        except LakeError as error:
            if code_of(error) != UNKNOWN_CALL:
                raise
            return None

    def _raise_if_kept(self, key: str, version: str) -> None:
        try:
            head = self._call("head_object", key, VersionId=version).fields
        except LakeError:
            return
        locked = head.get("ObjectLockRetainUntilDate")
        until = f"{locked.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" if isinstance(locked, datetime) else ""
        held = head.get("ObjectLockLegalHoldStatus") == "ON"
        if not held and not until:
            return
        why = "a legal hold is on it" if held else f"it is locked until {until}"
        raise ObjectRetainedError(
            f"the object store does not delete {key}: {why}",
            hint="delete it when the store lets go of it",
            until="" if held else until,
            version=version,
        )

    def _get(self, key: str, **options: Any) -> Answer:
        try:
            return self._call("get_object", key, **options)
        except IntegrityError as error:
            if code_of(error) == EMPTY:
                raise
            raise IntegrityError(f"the object {key} is missing", hint="restore it from a backup") from None

    def _call(self, operation: str, key: str, **parameters: Any) -> Answer:
        return self._calls(operation, Bucket=self.place.bucket, Key=self.place.root + key, **parameters)

    def _pages(self, operation: str, *markers: tuple[str, str], prefix: str = f"{DATA}/") -> Iterator[Answer]:
        """The pages of a list; each marker with the field in which the next one's value comes."""
        most = "MaxUploads" if operation == "list_multipart_uploads" else "MaxKeys"
        options = {"Bucket": self.place.bucket, "Prefix": self.place.root + prefix, most: self._page}
        while True:
            answer = self._calls(operation, **options)
            yield answer
            if not answer.fields.get("IsTruncated"):
                return
            following = {name: answer.fields[field] for name, field in markers if answer.fields.get(field)}
            if not following or following.items() <= options.items():
                raise UnavailableError("the object store gives the same page of a list again")
            options |= following

    def _key(self, name: str) -> str:
        return name.removeprefix(self.place.root)


def _total(answer: Answer) -> int:
    """Bytes of the whole object, of the answer to a ranged request; a server may send all of it instead."""
    said = str(answer.fields.get("ContentRange", "")).rpartition("/")[2]
    return int(said) if said.isdigit() else int(answer.fields["ContentLength"])


def _now(answer: Answer) -> datetime:
    """The store's own time, which its dates are of."""
    try:
        return parsedate_to_datetime(answer.fields["ResponseMetadata"]["HTTPHeaders"]["date"])
    except (KeyError, ValueError):
        return datetime.now(UTC)


def _age(now: datetime, then: datetime) -> float:
    return max(0.0, (now - then).total_seconds())
