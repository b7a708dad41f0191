"""Each identity tries everything on a server that enforces policies: what is not granted is refused, one by one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from minio import MinioAdmin
from minio.credentials import StaticProvider
from minio.error import MinioAdminException

from lake.sealed.objects import credential_files
from lake.sealed.objects.credential_files import Credential
from lake.sealed.objects.provision import Provisioning, Wanted
from lake.sealed.objects.provision_policies import IDENTITIES, INGEST, JOBS, READER, Place
from lake.sealed.objects.provision_server import Server
from tests.servers.s3_processes import ADMIN, SECRET, S3Process

HAVE, NEW, OUTSIDE, SIBLING = "p/data/have", "p/data/new", "p/other", "p/data2/x"
PLACE = Place("least-privilege", "p")
B = PLACE.bucket


@dataclass(frozen=True, slots=True)
class Tried:
    """What an operation is tried with."""

    s3: Any
    upload: str
    bucket: str


OPERATIONS: dict[str, Callable[[Tried], Any]] = {
    "put": lambda t: t.s3.put_object(Bucket=B, Key=NEW, Body=b"x"),
    "put if absent": lambda t: t.s3.put_object(Bucket=B, Key=NEW + "2", Body=b"x", IfNoneMatch="*"),
    "put outside": lambda t: t.s3.put_object(Bucket=B, Key=OUTSIDE, Body=b"x"),
    "put in sibling": lambda t: t.s3.put_object(Bucket=B, Key=SIBLING, Body=b"x"),
    "put elsewhere": lambda t: t.s3.put_object(Bucket="elsewhere", Key=NEW, Body=b"x"),
    "start upload": lambda t: t.s3.create_multipart_upload(Bucket=B, Key=NEW),
    "start outside": lambda t: t.s3.create_multipart_upload(Bucket=B, Key=OUTSIDE),
    "put part": lambda t: t.s3.upload_part(Bucket=B, Key=HAVE, UploadId=t.upload, PartNumber=1, Body=b"x"),
    "list parts": lambda t: t.s3.list_parts(Bucket=B, Key=HAVE, UploadId=t.upload),
    "abort": lambda t: t.s3.abort_multipart_upload(Bucket=B, Key=HAVE, UploadId=t.upload),
    "copy in": lambda t: t.s3.copy_object(Bucket=B, Key=NEW, CopySource=f"{B}/{OUTSIDE}"),
    "copy out": lambda t: t.s3.copy_object(Bucket=B, Key=OUTSIDE, CopySource=f"{B}/{HAVE}"),
    "copy": lambda t: t.s3.copy_object(Bucket=B, Key=NEW, CopySource=f"{B}/{HAVE}"),
    "get": lambda t: t.s3.get_object(Bucket=B, Key=HAVE)["Body"].read(),
    "get range": lambda t: t.s3.get_object(Bucket=B, Key=HAVE, Range="bytes=0-0")["Body"].read(),
    "head": lambda t: t.s3.head_object(Bucket=B, Key=HAVE),
    "get outside": lambda t: t.s3.get_object(Bucket=B, Key=OUTSIDE)["Body"].read(),
    "get elsewhere": lambda t: t.s3.get_object(Bucket="elsewhere", Key=HAVE)["Body"].read(),
    "get tags": lambda t: t.s3.get_object_tagging(Bucket=B, Key=HAVE),
    "put tags": lambda t: t.s3.put_object_tagging(Bucket=B, Key=HAVE, Tagging={"TagSet": []}),
    "list": lambda t: t.s3.list_objects_v2(Bucket=B, Prefix="p/data/"),
    "list one dataset": lambda t: t.s3.list_objects_v2(Bucket=B, Prefix="p/data/events/", Delimiter="/"),
    "list all": lambda t: t.s3.list_objects_v2(Bucket=B),
    "list above": lambda t: t.s3.list_objects_v2(Bucket=B, Prefix="p/"),
    "list old": lambda t: t.s3.list_objects(Bucket=B),
    "list elsewhere": lambda t: t.s3.list_objects_v2(Bucket="elsewhere", Prefix="p/data/"),
    "list versions": lambda t: t.s3.list_object_versions(Bucket=B, Prefix="p/data/"),
    "list all versions": lambda t: t.s3.list_object_versions(Bucket=B),
    "list uploads": lambda t: t.s3.list_multipart_uploads(Bucket=B, Prefix="p/data/"),
    "delete": lambda t: t.s3.delete_object(Bucket=B, Key=HAVE),
    "delete version": lambda t: t.s3.delete_object(Bucket=B, Key=HAVE, VersionId="null"),
    "delete outside": lambda t: t.s3.delete_object(Bucket=B, Key=OUTSIDE),
    "delete elsewhere": lambda t: t.s3.delete_object(Bucket="elsewhere", Key=HAVE),
    "list buckets": lambda t: _any(t.s3.list_buckets()["Buckets"]),
    "make bucket": lambda t: t.s3.create_bucket(Bucket=t.bucket),
    "delete bucket": lambda t: t.s3.delete_bucket(Bucket=B),
    "get bucket policy": lambda t: t.s3.get_bucket_policy(Bucket=B),
    "put bucket policy": lambda t: t.s3.put_bucket_policy(Bucket=B, Policy="{}"),
    "delete bucket policy": lambda t: t.s3.delete_bucket_policy(Bucket=B),
    "put lifecycle": lambda t: t.s3.delete_bucket_lifecycle(Bucket=B),
}
GRANTED = {
    INGEST: {"put", "put if absent", "start upload", "put part", "abort"},
    READER: {"get", "get range", "head"},
    JOBS: {
        "put", "put if absent", "start upload", "put part", "abort", "list parts", "copy", "get", "get range", "head",
        "list", "list one dataset", "list versions", "list uploads", "delete", "delete version",
    },
}  # fmt: skip
ADMINISTRATION: dict[str, Callable[[MinioAdmin], Any]] = {
    "list users": lambda admin: admin.user_list(),
    "list policies": lambda admin: admin.policy_list(),
    "make a user": lambda admin: admin.user_add("intruder", "intrudersecret"),
    "change another": lambda admin: admin.user_add(ADMIN, "intrudersecret"),
    "make a policy": lambda admin: admin.policy_add("intruder", policy={"Version": "2012-10-17", "Statement": []}),
    "take a policy": lambda admin: admin.policy_set("readwrite", user=PLACE.name(INGEST)),
    "list groups": lambda admin: admin.group_list(),
}


def _any(found: list[Any]) -> Any:
    """A list that shows nothing is as good as a refusal."""
    if not found:
        raise ClientError({"Error": {"Code": "AccessDenied"}}, "ListBuckets")
    return found


def client(server: S3Process, credential: Credential) -> Any:
    """S3 with one attempt."""
    return boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        aws_access_key_id=credential.access_key,
        aws_secret_access_key=credential.secret_key,
        region_name="us-east-1",
        config=Config(
            retries={"total_max_attempts": 1},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


@pytest.fixture(scope="session")
def provisioned(minio: S3Process, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Credential]:
    """The credentials of the identities of one store; a second bucket is there, too."""
    folder: Path = tmp_path_factory.mktemp("credentials")
    server = Server(minio.endpoint, Credential(ADMIN, SECRET))
    server.make_bucket("elsewhere")
    list(Provisioning(server, Wanted(PLACE, credentials=folder)).steps(apply=True))
    server.close()
    root = client(minio, Credential(ADMIN, SECRET))
    for key in (HAVE, OUTSIDE, SIBLING):
        root.put_object(Bucket=B, Key=key, Body=b"x")
    root.put_object(Bucket="elsewhere", Key=HAVE, Body=b"x")
    found = {name: credential_files.read(credential_files.path_of(folder, name)) for name in IDENTITIES}
    return {name: held for name, held in found.items() if held is not None}


@pytest.mark.parametrize("identity", IDENTITIES)
def test_only_what_is_granted_is_done(minio: S3Process, provisioned: dict[str, Credential], identity: str) -> None:
    """Granted operations succeed, so that a refusal of the others means something; the rest is AccessDenied."""
    root = client(minio, Credential(ADMIN, SECRET))
    upload = root.create_multipart_upload(Bucket=B, Key=HAVE)["UploadId"]
    tried = Tried(client(minio, provisioned[identity]), upload, f"made-by-{identity}")
    done, refusals = set(), set()
    for name, operation in OPERATIONS.items():
        root.put_object(Bucket=B, Key=HAVE, Body=b"x")
        try:
            operation(tried)
            done.add(name)
        except ClientError as error:
            refusals.add(error.response["Error"]["Code"])
    assert refusals <= {"AccessDenied", "403"}
    assert done == GRANTED[identity]
    assert root.get_object(Bucket=B, Key=OUTSIDE)["Body"].read() == b"x"


@pytest.mark.parametrize("identity", IDENTITIES)
def test_nobody_administers(minio: S3Process, provisioned: dict[str, Credential], identity: str) -> None:
    """Users, policies and configuration are the administrator's alone."""
    held = provisioned[identity]
    where = minio.endpoint.removeprefix("http://")
    admin = MinioAdmin(endpoint=where, credentials=StaticProvider(held.access_key, held.secret_key), secure=False)
    for operation in ADMINISTRATION.values():
        with pytest.raises(MinioAdminException, match="AccessDenied"):
            operation(admin)


@pytest.mark.parametrize("identity", IDENTITIES)
def test_a_credential_made_by_a_user_can_do_no_more(
    minio: S3Process, provisioned: dict[str, Credential], identity: str
) -> None:
    """MinIO's older versions let users make themselves keys whatever the policy says: with their rights, at most."""
    held = provisioned[identity]
    admin = MinioAdmin(
        endpoint=minio.endpoint.removeprefix("http://"),
        credentials=StaticProvider(held.access_key, held.secret_key),
        secure=False,
    )
    made = Credential(f"made-by-{identity}", "madebymadeby")
    try:
        admin.add_service_account(access_key=made.access_key, secret_key=made.secret_key)
    except MinioAdminException:
        return
    tried = Tried(client(minio, made), "none", f"made-by-{identity}")
    for operation in OPERATIONS.keys() - GRANTED[identity] - {"list parts", "copy"}:
        with pytest.raises(ClientError):
            OPERATIONS[operation](tried)


def test_strangers_are_refused(minio: S3Process, provisioned: dict[str, Credential]) -> None:
    """A wrong secret, and no user at all."""
    for credential in (Credential(provisioned[READER].access_key, "wrongsecret"), Credential("nobody", SECRET)):
        with pytest.raises(ClientError) as caught:
            client(minio, credential).get_object(Bucket=B, Key=HAVE)
        assert caught.value.response["Error"]["Code"] in {"SignatureDoesNotMatch", "InvalidAccessKeyId"}
