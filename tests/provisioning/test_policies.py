"""Policy documents: what they name, and which differences matter."""

from __future__ import annotations

import pytest

from lake.errors import UsageError
from lake.sealed.objects.provision_policies import IDENTITIES, INGEST, JOBS, READER, Place, policy, same_policy

PLACE = Place("bucket", "site/lake")


def allowed(identity: str) -> set[tuple[str, str]]:
    """Action and resource of every statement that allows."""
    return {
        (action, resource)
        for statement in policy(PLACE, identity)["Statement"]
        if statement["Effect"] == "Allow"
        for action in statement["Action"]
        for resource in statement["Resource"]
    }


def test_ingest_puts_and_aborts_and_nothing_else() -> None:
    """Two actions, below the data folder."""
    where = "arn:aws:s3:::bucket/site/lake/data/*"
    assert allowed(INGEST) == {("s3:PutObject", where), ("s3:AbortMultipartUpload", where)}


def test_a_reader_gets_and_nothing_else() -> None:
    """One action: no versions, no lists."""
    assert allowed(READER) == {("s3:GetObject", "arn:aws:s3:::bucket/site/lake/data/*")}


def test_jobs_reach_no_other_prefix() -> None:
    """What is not limited by its resource is limited by a condition, but for the list of unfinished uploads."""
    for statement in policy(PLACE, JOBS)["Statement"][:-1]:
        below = all(resource.endswith("/site/lake/data/*") for resource in statement["Resource"])
        asked = statement.get("Condition") == {"StringLike": {"s3:prefix": ["site/lake/data/*"]}}
        assert below or asked or statement["Action"] == ["s3:ListBucketMultipartUploads"]


@pytest.mark.parametrize("identity", IDENTITIES)
def test_nobody_administers(identity: str) -> None:
    """Making credentials for oneself is denied, too."""
    assert {"Effect": "Deny", "Action": ["admin:*"]} in policy(PLACE, identity)["Statement"]


def test_the_order_of_a_policy_does_not_matter_and_its_words_do() -> None:
    """Servers give documents back in an order of their own."""
    mine = policy(PLACE, JOBS)
    turned = {
        "Statement": [
            {key: value[::-1] if isinstance(value, list) else value for key, value in reversed(statement.items())}
            for statement in reversed(mine["Statement"])
        ],
        "Version": mine["Version"],
    }
    assert same_policy(mine, turned)
    bare = policy(PLACE, READER)
    bare["Statement"][0]["Action"] = "s3:GetObject"
    assert same_policy(policy(PLACE, READER), bare)
    wider = policy(PLACE, READER)
    wider["Statement"][0]["Resource"] = ["arn:aws:s3:::bucket/*"]
    assert not same_policy(policy(PLACE, READER), wider)
    free = policy(PLACE, JOBS)
    del free["Statement"][1]["Condition"]
    assert not same_policy(mine, free)


def test_names_differ_by_place_and_fit() -> None:
    """Two lakes in one bucket have users of their own; access keys have 20 characters at most."""
    others = [Place("bucket", "site"), Place("bucket", ""), Place("other", "site/lake"), PLACE]
    for identity in IDENTITIES:
        names = {place.name(identity) for place in others}
        assert len(names) == len(others)
        assert all(len(name) <= 20 for name in names)


@pytest.mark.parametrize("store", ["s3://telemetry/lake/one", "s3://telemetry/lake/one/"])
def test_a_store_is_a_bucket_and_a_prefix(store: str) -> None:
    """With or without a slash at the end."""
    assert Place.parse(store) == Place("telemetry", "lake/one")
    assert Place.parse("s3://telemetry") == Place("telemetry", "")
    assert Place.parse("s3://telemetry").data == "data/"


@pytest.mark.parametrize(
    "store",
    ["s3://b*cket/x", "s3://bucket/*", "s3://bucket/a?", "s3://bucket/${aws:username}", "s3://bucket/../x",
     "s3://bucket//x", "http://bucket/x", "bucket", "s3://", "s3://user:secret@bucket/x", "s3://bucket/a\n"],
)  # fmt: skip
def test_a_place_cannot_mean_more_than_itself(store: str) -> None:
    """Wildcards and variables of policies are refused, as is what is no place at all."""
    with pytest.raises(UsageError):
        Place.parse(store)
