"""Provisioning of real servers: the plan changes nothing, applying is idempotent, what a server cannot do is said."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from minio import MinioAdmin
from minio.credentials import StaticProvider

from lake.errors import DeniedError, UnavailableError, UsageError
from lake.sealed.objects import credential_files
from lake.sealed.objects.credential_files import Credential
from lake.sealed.objects.provision import CANNOT, CHANGE, LOOK, MADE, MAKE, THERE, Provisioning, Wanted
from lake.sealed.objects.provision_policies import IDENTITIES, INGEST, JOBS, READER, Place
from lake.sealed.objects.provision_server import Server, administrator
from tests.servers.s3_processes import ADMIN, SECRET, S3Process

STORED = ("bucket", "versions", "unfinished uploads", "old versions")
ACCOUNTS = tuple(f"{kind} {identity}" for identity in IDENTITIES for kind in ("policy of", "user"))


@pytest.fixture
def wanted(place: Place, tmp_path: Path) -> Wanted:
    """Everything, with the secrets in a folder of the test."""
    return Wanted(place, versioning=True, credentials=tmp_path / "credentials")


def states(server: Server, wanted: Wanted, *, apply: bool = False) -> dict[str, str]:
    """State by step."""
    return {step.name: step.state for step in Provisioning(server, wanted).steps(apply=apply)}


def secrets_of(wanted: Wanted) -> dict[str, Credential | None]:
    """What the files hold."""
    assert wanted.credentials is not None
    folder = wanted.credentials
    return {name: credential_files.read(credential_files.path_of(folder, name)) for name in IDENTITIES}


def minio_admin(minio: S3Process) -> MinioAdmin:
    """MinIO's own client."""
    where = minio.endpoint.removeprefix("http://")
    return MinioAdmin(endpoint=where, credentials=StaticProvider(ADMIN, SECRET), secure=False)


def s3(server: S3Process) -> Any:
    """Another S3 client than the one that provisions."""
    return boto3.client(
        "s3", endpoint_url=server.endpoint, aws_access_key_id=ADMIN, aws_secret_access_key=SECRET,
        region_name="us-east-1",
    )  # fmt: skip


def test_a_plan_changes_nothing(on_minio: Server, wanted: Wanted) -> None:
    """Bucket, policies and users are to be made, and a second plan says the same."""
    first = states(on_minio, wanted)
    assert {name for name, state in first.items() if state == MAKE} == {"bucket", *ACCOUNTS}
    assert states(on_minio, wanted) == first
    assert not on_minio.bucket_exists(wanted.place.bucket)
    assert wanted.credentials is not None
    assert not wanted.credentials.exists()


def test_applying_makes_it_once(on_minio: Server, wanted: Wanted) -> None:
    """The second time everything is there, and the secrets are the same."""
    made = states(on_minio, wanted, apply=True)
    assert {name for name, state in made.items() if state == MADE} == {"bucket", *ACCOUNTS}
    before = secrets_of(wanted)
    assert all(held is not None and on_minio.opens(held, wanted.place.bucket) for held in before.values())
    again = states(on_minio, wanted, apply=True)
    assert {again[name] for name in ("bucket", *ACCOUNTS)} == {THERE}
    assert secrets_of(wanted) == before
    assert set(states(on_minio, replace(wanted, credentials=None)).values()) == {THERE, CANNOT}


def test_what_this_server_cannot_do_is_said(on_minio: Server, wanted: Wanted) -> None:
    """No versions and no lifecycle: named in the plan and in the result, and only where asked for."""
    for apply in (False, True):
        steps = {step.name: step for step in Provisioning(on_minio, wanted).steps(apply=apply)}
        lacking = {name for name, step in steps.items() if step.state == CANNOT}
        assert lacking == {"versions", "unfinished uploads", "old versions"}
        assert "NotImplemented" in steps["versions"].message
    less = states(on_minio, replace(wanted, versioning=False))
    assert {name for name, state in less.items() if state == CANNOT} == {"unfinished uploads"}


def test_without_an_admin_interface_no_secret_leaves(
    on_seaweedfs: Server, seaweedfs: S3Process, wanted: Wanted
) -> None:
    """SeaweedFS would store an admin call as an object: none is sent, and that there are no users is said."""
    made = states(on_seaweedfs, wanted, apply=True)
    assert {name for name, state in made.items() if state == MADE} == set(STORED)
    assert {made[name] for name in ACCOUNTS} == {CANNOT}
    assert [found["Name"] for found in s3(seaweedfs).list_buckets()["Buckets"] if found["Name"] == "minio"] == []
    assert wanted.credentials is not None
    assert not wanted.credentials.exists()


def test_versions_and_lifecycle_are_as_wanted(on_seaweedfs: Server, seaweedfs: S3Process, wanted: Wanted) -> None:
    """Seen with another client; days that change are changed, and rules of others stay as they were."""
    states(on_seaweedfs, wanted, apply=True)
    client, bucket = s3(seaweedfs), wanted.place.bucket
    assert client.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    rules = client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    assert {rule["Filter"]["Prefix"] for rule in rules} == {"site/lake/data/"}
    assert [rule["AbortIncompleteMultipartUpload"] for rule in rules if "AbortIncompleteMultipartUpload" in rule] == [
        {"DaysAfterInitiation": 1}
    ]
    other = {
        "ID": "other",
        "Status": "Enabled",
        "Filter": {"Prefix": "logs/"},
        "Expiration": {"Days": 3},
    }
    client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [*rules, other]})
    longer = replace(wanted, noncurrent_days=90)
    assert states(on_seaweedfs, longer)["old versions"] == CHANGE
    assert states(on_seaweedfs, longer, apply=True)["old versions"] == MADE
    assert set(states(on_seaweedfs, longer).values()) == {THERE, CANNOT}
    after = {rule["ID"]: rule for rule in client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]}
    assert after["other"]["Expiration"] == {"Days": 3}
    assert after[wanted.place.name("versions")]["NoncurrentVersionExpiration"]["NoncurrentDays"] == 90


def test_a_rule_that_removes_the_lake_is_shown(on_seaweedfs: Server, seaweedfs: S3Process, wanted: Wanted) -> None:
    """A bucket may have been another's: a rule that expires everything in it would take the lake with it."""
    states(on_seaweedfs, wanted, apply=True)
    client, bucket = s3(seaweedfs), wanted.place.bucket
    rules = client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    rule = {"ID": "all", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 3}}
    client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [*rules, rule]})
    assert states(on_seaweedfs, wanted)["other rules"] == LOOK


def test_a_bucket_that_others_may_read_is_shown(on_minio: Server, minio: S3Process, wanted: Wanted) -> None:
    """A policy of the bucket itself can undo every least privilege."""
    states(on_minio, wanted, apply=True)
    text = (
        '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": ["*"]},'
        f' "Action": ["s3:GetObject"], "Resource": ["arn:aws:s3:::{wanted.place.bucket}/*"]}}]}}'
    )
    s3(minio).put_bucket_policy(Bucket=wanted.place.bucket, Policy=text)
    assert states(on_minio, wanted)["bucket policy"] == LOOK


def test_drift_is_found_and_mended(on_minio: Server, minio: S3Process, wanted: Wanted) -> None:
    """A wider policy, a user with another policy, a user with another secret."""
    states(on_minio, wanted, apply=True)
    admin, place = minio_admin(minio), wanted.place
    wide = {"Effect": "Allow", "Action": ["s3:*"], "Resource": [f"arn:aws:s3:::{place.bucket}/*"]}
    admin.policy_add(place.name(READER), policy={"Version": "2012-10-17", "Statement": [wide]})
    admin.policy_set("readwrite", user=place.name(INGEST))
    admin.user_add(place.name(JOBS), "anothersecret")
    found = states(on_minio, wanted)
    changed = {f"policy of {READER}", f"user {INGEST}", f"user {JOBS}"}
    assert {name for name, state in found.items() if state == CHANGE} == changed
    mended = states(on_minio, wanted, apply=True)
    assert {name for name, state in mended.items() if state == MADE} == changed
    assert CHANGE not in states(on_minio, wanted).values()


def test_who_was_disabled_stays_so(on_minio: Server, minio: S3Process, wanted: Wanted) -> None:
    """Somebody shut an account for a reason: it is shown, and not opened again."""
    states(on_minio, wanted, apply=True)
    name = wanted.place.name(READER)
    minio_admin(minio).user_disable(name)
    assert states(on_minio, wanted, apply=True)[f"user {READER}"] == LOOK
    user = on_minio.user(name)
    assert user is not None
    assert not user.enabled


def test_a_renewed_secret_replaces_the_old_one(on_minio: Server, wanted: Wanted) -> None:
    """The old one opens nothing any more; the plan alone leaves it."""
    states(on_minio, wanted, apply=True)
    old = secrets_of(wanted)[JOBS]
    renewing = replace(wanted, renew=frozenset({JOBS}))
    assert states(on_minio, renewing)[f"user {JOBS}"] == CHANGE
    assert secrets_of(wanted)[JOBS] == old
    assert states(on_minio, renewing, apply=True)[f"user {JOBS}"] == MADE
    new = secrets_of(wanted)[JOBS]
    assert old is not None
    assert new is not None
    assert on_minio.opens(new, wanted.place.bucket)
    assert not on_minio.opens(old, wanted.place.bucket)


class _CrashError(Exception):
    """The process is gone."""


_armed: list[str] = []


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "lake.step" and _armed and arguments[0] == _armed[0]:
        _armed.clear()
        raise _CrashError


sys.addaudithook(_hook)


@contextmanager
def crash_at(step: str) -> Iterator[None]:
    """The step is the last that happens."""
    _armed[:] = [step]
    with pytest.raises(_CrashError):
        yield
    assert not _armed


@pytest.mark.parametrize("step", ["bucket", f"policy of {INGEST}", "secret-written", "user-made", f"user {READER}"])
def test_after_a_crash_at_any_step_it_goes_on(on_minio: Server, wanted: Wanted, step: str) -> None:
    """The next run finishes it, and the secret on file is the one that the server knows."""
    with crash_at(f"provision.{step}"):
        states(on_minio, wanted, apply=True)
    kept = {name: held for name, held in secrets_of(wanted).items() if held is not None}
    made = states(on_minio, wanted, apply=True)
    assert {made[name] for name in ("bucket", *ACCOUNTS)} <= {THERE, MADE}
    now = secrets_of(wanted)
    assert all(held is not None and on_minio.opens(held, wanted.place.bucket) for held in now.values())
    assert {name: now[name] for name in kept} == kept


def test_a_renewal_that_crashed_is_finished(on_minio: Server, wanted: Wanted) -> None:
    """The new secret is on file and the server has the old one: the next run, asked for no renewal, sets the new."""
    states(on_minio, wanted, apply=True)
    with crash_at("provision.secret-written"):
        states(on_minio, replace(wanted, renew=frozenset({READER})), apply=True)
    new = secrets_of(wanted)[READER]
    assert new is not None
    assert not on_minio.opens(new, wanted.place.bucket)
    assert states(on_minio, wanted, apply=True)[f"user {READER}"] == MADE
    assert on_minio.opens(new, wanted.place.bucket)


def test_secrets_need_a_place_before_anything_is_made(on_minio: Server, wanted: Wanted) -> None:
    """Without a folder nothing is done, not even the bucket."""
    with pytest.raises(UsageError, match="secrets"):
        states(on_minio, replace(wanted, credentials=None), apply=True)
    assert not on_minio.bucket_exists(wanted.place.bucket)


def test_the_credentials_of_another_store_are_not_overwritten(on_minio: Server, wanted: Wanted) -> None:
    """One folder belongs to one store."""
    states(on_minio, wanted, apply=True)
    before = secrets_of(wanted)
    elsewhere = replace(wanted, place=Place(wanted.place.bucket, "another"))
    with pytest.raises(UsageError, match="another store"):
        states(on_minio, elsewhere, apply=True)
    assert secrets_of(wanted) == before


def test_wrong_administrators_are_told_so(minio: S3Process, on_minio: Server, wanted: Wanted) -> None:
    """A wrong secret, an unknown name, and a user who is none: denied, and nothing is made."""
    states(on_minio, wanted, apply=True)
    held = secrets_of(wanted)[JOBS]
    assert held is not None
    for credential in (Credential(ADMIN, "wrongsecret"), Credential("nobody", SECRET), held):
        server = Server(minio.endpoint, credential)
        with pytest.raises(DeniedError) as caught:
            states(server, replace(wanted, place=Place("never-made", "x")), apply=True)
        server.close()
        assert credential.secret_key not in str(caught.value)


def test_a_server_that_is_away_is_unavailable(wanted: Wanted) -> None:
    """No answer is an error to try again after."""
    server = Server("http://127.0.0.1:9", Credential(ADMIN, SECRET))
    with pytest.raises(UnavailableError, match="does not answer"):
        states(server, wanted)


@pytest.mark.parametrize("endpoint", ["127.0.0.1:9000", "ftp://host", "http://user:secret@host", "http://h/path", ""])
def test_an_endpoint_is_a_url_without_credentials(endpoint: str) -> None:
    """What is not is refused without repeating it."""
    with pytest.raises(UsageError) as caught:
        Server(endpoint, Credential(ADMIN, SECRET))
    assert "secret" not in str(caught.value)


def test_administrators_come_from_the_environment_or_a_file(tmp_path: Path) -> None:
    """MinIO's variables, AWS's, AWS's file; a file that is open to others is refused."""
    file = tmp_path / "admin"
    credential_files.write(file, Credential("of-file", "secret-of-file"))
    assert administrator(file, {"MINIO_ROOT_USER": "x", "MINIO_ROOT_PASSWORD": "y"}).access_key == "of-file"
    assert administrator(None, {"AWS_SHARED_CREDENTIALS_FILE": str(file)}).access_key == "of-file"
    assert administrator(None, {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}).access_key == "a"
    assert "secret-of-file" not in repr(administrator(file, {}))
    with pytest.raises(UsageError, match="no credentials"):
        administrator(None, {})
    file.chmod(0o644)
    with pytest.raises(UsageError, match="open to other users"):
        administrator(file, {})
