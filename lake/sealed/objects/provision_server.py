"""What provisioning asks of an S3 server and of MinIO's admin interface, in the lake's words and errors.

A server that has no admin interface may take an admin call for the upload of an object, the secret in it and all
(SeaweedFS does). So nothing is sent to it before it has answered a question as only an admin interface does.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

import urllib3
from minio import Minio, MinioAdmin
from minio.commonconfig import ENABLED
from minio.credentials.providers import StaticProvider
from minio.error import InvalidResponseError, MinioAdminException, S3Error, ServerError
from minio.lifecycleconfig import LifecycleConfig, Rule
from minio.versioningconfig import VersioningConfig

from lake.errors import DeniedError, LakeError, UnavailableError, UsageError
from lake.sealed.objects import credential_files
from lake.sealed.objects.credential_files import Credential

SHARED_FILE = "AWS_SHARED_CREDENTIALS_FILE"
REGION = "us-east-1"
CONNECT_SECONDS, READ_SECONDS = 5.0, 30.0
MISSING, NOT_SUPPORTED = "missing", "not supported"
_MISSING = frozenset(
    {"NoSuchBucket", "NoSuchBucketPolicy", "NoSuchLifecycleConfiguration", "XMinioAdminNoSuchPolicy",
     "XMinioAdminNoSuchUser"}
)  # fmt: skip
_NOT_SUPPORTED = frozenset({"MalformedXML", "MethodNotAllowed", "NotImplemented", "XMinioAdminVersionMismatch"})
_WRONG_CREDENTIALS = frozenset({"InvalidAccessKeyId", "SignatureDoesNotMatch"})
_WORD = re.compile(r"[A-Za-z0-9]{1,64}")
_STALE_UPLOADS = re.compile(r"(?:^|\s)stale_uploads_expiry=(\w+)")


class AnswerError(LakeError):
    """The server has no such thing, or cannot do it: ``kind`` is MISSING or NOT_SUPPORTED."""

    code = "unsupported"

    def __init__(self, message: str, kind: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class User:
    """A user as the server shows them; ``policies`` and ``groups`` by name."""

    policies: tuple[str, ...]
    groups: tuple[str, ...]
    enabled: bool


def administrator(file: Path | None, environment: Mapping[str, str] = os.environ) -> Credential:
    """Of a file in AWS's format, else of MinIO's or AWS's variables.

    Raises:
        UsageError: there is none, or the file is open to others.
    """
    for name, secret in (("MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD"), ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")):
        if file is None and environment.get(name) and environment.get(secret):
            return Credential(environment[name], environment[secret])
    place = file or (Path(environment[SHARED_FILE]) if environment.get(SHARED_FILE) else None)
    found = None if place is None else credential_files.read(place)
    if found is None:
        where = "in the environment" if place is None else f"in {place}"
        hint = f"set MINIO_ROOT_USER and MINIO_ROOT_PASSWORD, or {SHARED_FILE}, or give --admin FILE"
        raise UsageError(f"there are no credentials of an administrator {where}", hint=hint)
    return found


class Server:
    """One S3 server, as its administrator. Makes no request until it is asked for something.

    Args:
        endpoint: ``http://HOST:PORT`` or ``https://HOST:PORT``.

    Raises:
        UsageError: the endpoint is no such URL.
    """

    def __init__(self, endpoint: str, administrator: Credential, region: str = REGION) -> None:
        parts = urlsplit(endpoint)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path.strip("/") or parts.query:
            raise UsageError("the endpoint is not http://HOST:PORT or https://HOST:PORT")
        if parts.username is not None:
            raise UsageError("the endpoint has credentials in it", hint="take them out: the environment has them")
        self._http = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS),
            retries=urllib3.Retry(2, backoff_factor=0.2, status_forcelist=[500, 502, 503, 504], raise_on_status=False),
        )
        self._where: dict[str, Any] = {
            "endpoint": parts.netloc,
            "secure": parts.scheme == "https",
            "region": region,
            "http_client": self._http,
        }
        provider = StaticProvider(administrator.access_key, administrator.secret_key)
        self._s3 = Minio(credentials=provider, **self._where)
        self._admin = MinioAdmin(credentials=provider, **self._where)
        self._has_admin: bool | None = None

    def close(self) -> None:
        """Give the connections back."""
        self._http.clear()

    def bucket_exists(self, bucket: str) -> bool:
        """Whether there is such a bucket."""
        with _errors("ask for the bucket"):
            return bool(self._s3.bucket_exists(bucket_name=bucket))

    def make_bucket(self, bucket: str) -> None:
        """Make it; one that was made meanwhile by the same administrator is no error."""
        with _errors("make the bucket"):
            try:
                self._s3.make_bucket(bucket_name=bucket)
            except S3Error as error:
                if error.code != "BucketAlreadyOwnedByYou":
                    raise

    def versioning(self, bucket: str) -> bool:
        """Whether the bucket keeps versions."""
        with _errors("tell whether the bucket keeps versions"):
            return bool(self._s3.get_bucket_versioning(bucket_name=bucket).status == ENABLED)

    def set_versioning(self, bucket: str) -> None:
        """Let the bucket keep versions."""
        with _errors("keep versions"):
            self._s3.set_bucket_versioning(bucket_name=bucket, config=VersioningConfig(status=ENABLED))

    def lifecycle(self, bucket: str) -> list[Rule]:
        """The bucket's lifecycle rules."""
        with _errors("show lifecycle rules"):
            found = self._s3.get_bucket_lifecycle(bucket_name=bucket)
            return list(found.rules) if found else []

    def set_lifecycle(self, bucket: str, rules: list[Rule]) -> None:
        """Replace the bucket's lifecycle rules."""
        with _errors("keep this lifecycle rule"):
            self._s3.set_bucket_lifecycle(bucket_name=bucket, config=LifecycleConfig(rules))

    def has_bucket_policy(self, bucket: str) -> bool:
        """Whether the bucket has a policy of its own, which may give rights to anybody."""
        with _errors("show the bucket's own policy"):
            try:
                return bool(json.loads(self._s3.get_bucket_policy(bucket_name=bucket)).get("Statement"))
            except S3Error as error:
                if error.code not in _MISSING:
                    raise
                return False

    def stale_uploads_expiry(self) -> str | None:
        """After how long MinIO removes unfinished uploads by itself, as it writes it; None if it does not say so."""
        with _errors("show its configuration"):
            self._require_admin()
            try:
                found = _STALE_UPLOADS.search(self._admin.config_get("api"))
            except UnboundLocalError:  # the SDK (7.2.20) loses the error of a refusal here
                return None
            return found[1] if found else None

    def policy(self, name: str) -> dict[str, Any] | None:
        """The document of a policy, or None."""
        with _errors("show policies"):
            self._require_admin()
            found = json.loads(self._optional(lambda: self._admin.policy_info(name)) or "null")
            # Newer servers wrap the document in what else they know of it.
            return found if found is None or "Statement" in found else dict(found["Policy"])

    def set_policy(self, name: str, document: dict[str, Any]) -> None:
        """Make or replace a policy."""
        with _errors("keep policies"):
            self._require_admin()
            self._admin.policy_add(name, policy=document)

    def user(self, name: str) -> User | None:
        """A user, or None."""
        with _errors("show users"):
            self._require_admin()
            found = json.loads(self._optional(lambda: self._admin.user_info(name)) or "null")
            if found is None:
                return None
            policies = tuple(filter(None, found.get("policyName", "").split(",")))
            return User(policies, tuple(found.get("memberOf") or ()), found.get("status") == "enabled")

    def set_user(self, credential: Credential) -> None:
        """Make a user, or give one a new secret."""
        with _errors("keep users"):
            self._require_admin()
            self._admin.user_add(credential.access_key, credential.secret_key)

    def attach(self, policy: str, user: str) -> None:
        """Make this the one policy of a user."""
        with _errors("give users policies"):
            self._require_admin()
            # The newer call adds to what a user has; this one replaces it, and every version of the server has it.
            self._admin.policy_set(policy, user=user)

    def opens(self, credential: Credential, bucket: str) -> bool:
        """Whether the server knows this access key with this secret, whatever it may do."""
        client = Minio(credentials=StaticProvider(credential.access_key, credential.secret_key), **self._where)
        with _errors("check a credential"):
            try:
                next(iter(client.list_objects(bucket_name=bucket)), None)
            except S3Error as error:
                if error.code in _WRONG_CREDENTIALS:
                    return False
                if error.code != "AccessDenied":
                    raise
            return True

    def _require_admin(self) -> None:
        if self._has_admin is None:
            try:
                self._has_admin = isinstance(json.loads(self._admin.user_list()), dict)
            except (ValueError, TypeError):  # not JSON sealed for this administrator: an object store's own answer
                self._has_admin = False
            except MinioAdminException as error:
                if _code(error) not in _NOT_SUPPORTED | {"NoSuchBucket", "NoSuchKey"}:
                    raise
                self._has_admin = False
        if not self._has_admin:
            raise AnswerError("the server has no admin interface of MinIO's kind", NOT_SUPPORTED)

    @staticmethod
    def _optional(ask: Callable[[], str]) -> str | None:
        try:
            return ask()
        except MinioAdminException as error:
            if _code(error) not in _MISSING:
                raise
            return None


def _code(error: MinioAdminException | S3Error) -> str:
    """The server's word for what is wrong; its sentences are not repeated."""
    if isinstance(error, S3Error):
        return error.code if error.code and _WORD.fullmatch(error.code) else "unknown"
    found = re.search(r'"Code":\s*"([A-Za-z0-9]{1,64})"|<Code>([A-Za-z0-9]{1,64})</Code>', str(error))
    return (found[1] or found[2]) if found else "unknown"


@contextmanager
def _errors(what: str) -> Iterator[None]:
    """``what`` the server was asked to do, for the message."""
    try:
        yield
    except (S3Error, MinioAdminException) as error:
        _refuse(what, _code(error))
    except ServerError as error:
        raise UnavailableError(f"the object store could not {what}: it answered {error.status_code}") from None
    except (InvalidResponseError, ValueError, KeyError):
        raise UnavailableError(f"the object store gave an answer that is not S3's when asked to {what}") from None
    except (urllib3.exceptions.HTTPError, OSError):
        hint = "is the endpoint right, the server up, and its certificate one that this host trusts?"
        raise UnavailableError("the object store does not answer", hint=hint) from None


def _refuse(what: str, code: str) -> NoReturn:
    if code in _MISSING:
        raise AnswerError(f"the object store has none ({code})", MISSING) from None
    if code in _NOT_SUPPORTED:
        raise AnswerError(f"the object store cannot {what} ({code})", NOT_SUPPORTED) from None
    if code in _WRONG_CREDENTIALS:
        raise DeniedError(f"the object store does not know the administrator's credentials ({code})") from None
    if code == "AccessDenied":
        raise DeniedError("these credentials may not provision", hint=f"refused: to {what}") from None
    if code == "RequestTimeTooSkewed":
        hint = "set the clock of this host or of the server"
        raise UnavailableError("the clocks of this host and the object store differ too much", hint=hint) from None
    raise UnavailableError(f"the object store could not {what} ({code})") from None
