"""The AWS KMS provider: states, destruction, races. What is moto's and what the proxy's: see `kms_service`."""

from __future__ import annotations

import hashlib
import logging
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import boto3
import pytest

from keys.errors import (
    KeyStateError,
    ProviderDeniedError,
    ProviderError,
    ProviderUnavailableError,
)
from keys.providers import KeyToWrap, WrappedKey, aws_kms
from keys.refs import KeyState
from tests.keys.providers import kms_service
from tests.keys.providers.case_aws import REGION

KEY = bytes(range(32))
BOUND = b"level 3, bucket 17"

ROTATING = """
import os, signal, sys
from keys.providers.aws_kms import AwsKmsConfig, AwsKmsProvider

def hook(event, arguments):
    if event == "lake.step" and arguments[0] == "aws-kms.keys-made":
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(hook)
AwsKmsProvider(AwsKmsConfig("eu-central-1", prefix=sys.argv[2], endpoint=sys.argv[1])).new_version("root", 1)
"""


@pytest.fixture
def provider(open_kms, kms):
    """A provider with the key ``root``, and nothing counted yet."""
    provider = open_kms()
    provider.create(["root"])
    kms.reset()
    return provider


@pytest.fixture
def admin(kms):
    """An administrator of the account, who goes through the proxy."""
    client = boto3.client("kms", region_name=REGION, endpoint_url=kms.url)
    yield client
    client.close()


@pytest.fixture
def moto(kms):
    """The same, past the proxy."""
    client = boto3.client("kms", region_name=REGION, endpoint_url=kms.moto)
    yield client
    client.close()


def wrapped(provider, version=1):
    """A key that was just wrapped."""
    (blob,) = provider.wrap("root", version, [KeyToWrap(KEY, BOUND)])
    return WrappedKey(version, blob, BOUND)


def described(client, prefix, version):
    """What the service says of a version's key."""
    return client.describe_key(KeyId=f"alias/{prefix}root/v{version}")["KeyMetadata"]


def test_moto_opens_with_suspended_keys_and_the_provider_does_not(open_kms, kms, kms_prefix, moto, kms_clock):
    """Past the proxy moto decrypts with a disabled key and one pending deletion: that refusal is the provider's own."""
    provider = open_kms(endpoint=kms.moto)
    provider.create(["root"])
    item = wrapped(provider)
    key_id = described(moto, kms_prefix, 1)["KeyId"]

    def moto_decrypts():
        context = {"tlake:context": hashlib.sha256(BOUND).hexdigest()}
        return moto.decrypt(CiphertextBlob=item.blob[33:], EncryptionContext=context, KeyId=key_id)["Plaintext"] == KEY

    def suspend():
        moto.disable_key(KeyId=key_id)

    def doom():
        moto.schedule_key_deletion(KeyId=key_id, PendingWindowInDays=7)

    for state, change in (("disabled", suspend), ("pending_destruction", doom)):
        change()
        kms_clock.now += aws_kms.STATES_SECONDS
        assert moto_decrypts()
        with pytest.raises(KeyStateError, match=state):
            provider.unwrap("root", [item])
        with pytest.raises(KeyStateError, match=state):
            provider.wrap("root", 1, [KeyToWrap(KEY, BOUND)])
        with pytest.raises(KeyStateError, match=state):
            provider.rewrap("root", 1, [item])


def test_states_are_read_again_after_five_seconds(provider, admin, kms_prefix, kms_clock, kms):
    """Until then AWS's own refusal counts; afterwards the provider does not even ask."""
    item = wrapped(provider)
    assert provider.unwrap("root", [item]) == [KEY]
    admin.disable_key(KeyId=described(admin, kms_prefix, 1)["KeyId"])
    with pytest.raises(KeyStateError, match="DisabledException"):
        provider.unwrap("root", [item])
    asked = len(kms.seen["Decrypt"])
    kms_clock.now += aws_kms.STATES_SECONDS
    with pytest.raises(KeyStateError, match="disabled"):
        provider.unwrap("root", [item])
    assert len(kms.seen["Decrypt"]) == asked
    assert provider.describe("root").versions == {1: KeyState.DISABLED}


def test_a_wrap_never_goes_by_old_states(open_kms, provider, kms):
    """What another process rotated a moment ago does not wrap here any more, though AWS would let it."""
    wrapped(provider)
    open_kms().new_version("root", 1)
    with pytest.raises(KeyStateError, match="decrypt_only"):
        provider.wrap("root", 1, [KeyToWrap(KEY, BOUND)])
    assert len(kms.seen["Encrypt"]) == 1


def test_a_trimmed_version_is_pending_until_aws_deletes_it(open_kms, provider, admin, kms_prefix, kms):
    """It opens nothing meanwhile, the certificate's date is AWS's own, and later it is gone."""
    item = wrapped(provider)
    provider.new_version("root", 1)
    newer = wrapped(provider, 2)
    for _ in range(2):
        provider.trim("root", 2)
        with pytest.raises(KeyStateError, match="pending_destruction"):
            provider.unwrap("root", [item])
    assert [each["PendingWindowInDays"] for each in kms.seen["ScheduleKeyDeletion"]] == [7]
    for each in (provider, open_kms()):
        found = each.describe("root")
        assert found.versions == {1: KeyState.PENDING_DESTRUCTION, 2: KeyState.ENABLED}
        assert found.gone_after == {1: described(admin, kms_prefix, 1)["DeletionDate"].astimezone(UTC)}
        assert found.gone_after[1].tzinfo is UTC
        with pytest.raises(KeyStateError, match="pending_destruction"):
            each.unwrap("root", [item])
    kms.let_time_pass(described(admin, kms_prefix, 1)["KeyId"])
    for each in (provider, open_kms()):
        found = each.describe("root")
        assert (found.current, found.gone_after) == (2, {})
        assert found.versions == {1: KeyState.DESTROYED, 2: KeyState.ENABLED}
        with pytest.raises(KeyStateError, match="destroyed"):
            each.unwrap("root", [item])
        each.trim("root", 2)
        assert each.unwrap("root", [newer]) == [KEY]


def test_a_version_called_back_in_time_is_disabled(provider, admin, kms_prefix):
    """What pending destruction means: until the date an administrator can undo it."""
    provider.new_version("root", 1)
    provider.trim("root", 2)
    admin.cancel_key_deletion(KeyId=described(admin, kms_prefix, 1)["KeyId"])
    assert provider.describe("root").versions[1] is KeyState.DISABLED
    provider.trim("root", 2)
    assert provider.describe("root").versions[1] is KeyState.PENDING_DESTRUCTION


def test_two_trims_at_once_both_succeed(open_kms, provider, kms):
    """The later one finds the key on its way already."""
    provider.new_version("root", 1)
    other = open_kms()

    def first(forward):
        other.trim("root", 2)
        return forward()

    kms.script["ScheduleKeyDeletion"].append(first)
    provider.trim("root", 2)
    assert len(kms.seen["ScheduleKeyDeletion"]) == 2
    assert provider.describe("root").versions[1] is KeyState.PENDING_DESTRUCTION


def test_aws_logs_see_a_digest_only(provider, kms):
    """The encryption context, which CloudTrail keeps in clear, holds nothing but the digest of what a wrap binds."""
    item = wrapped(provider)
    provider.unwrap("root", [item])
    provider.rewrap("root", 1, [item])
    expected = {"tlake:context": hashlib.sha256(BOUND).hexdigest()}
    for operation, names in (
        ("Encrypt", ["EncryptionContext"]),
        ("Decrypt", ["EncryptionContext"]),
        ("ReEncrypt", ["SourceEncryptionContext", "DestinationEncryptionContext"]),
    ):
        (body,) = kms.seen[operation]
        assert [body[name] for name in names] == [expected] * len(names)


def test_a_rewrap_stays_inside(provider, kms):
    """A host without the right to decrypt or encrypt can rotate, and is told if it may not re-encrypt."""
    item = wrapped(provider)
    provider.new_version("root", 1)
    kms.reset()
    (blob,) = provider.rewrap("root", 2, [item])
    assert not kms.seen["Decrypt"]
    assert not kms.seen["Encrypt"]
    kms.script["ReEncrypt"].append(kms_service.error("AccessDeniedException"))
    with pytest.raises(ProviderDeniedError):
        provider.rewrap("root", 2, [item])
    assert not kms.seen["Decrypt"]
    assert provider.unwrap("root", [WrappedKey(2, blob, BOUND)]) == [KEY]


def test_lists_come_in_pages(provider, open_kms, kms):
    """Versions are found wherever in the list they stand."""
    for version in range(1, 6):
        assert provider.new_version("root", version) == version + 1
    kms.reset()
    kms.page = 2
    assert sorted(open_kms().describe("root").versions) == [1, 2, 3, 4, 5, 6]
    assert len(kms.seen["ListAliases"]) >= 3


def test_a_moved_alias_is_noticed(provider, admin, kms_prefix):
    """An alias that somebody pointed at another key neither wraps nor unwraps."""
    item = wrapped(provider)
    other = admin.create_key(Description="another key")["KeyMetadata"]["KeyId"]
    admin.update_alias(AliasName=f"alias/{kms_prefix}root/v1", TargetKeyId=other)
    for use in (lambda: provider.wrap("root", 1, [KeyToWrap(KEY, BOUND)]), lambda: provider.describe("root")):
        with pytest.raises(KeyStateError, match="moved the alias"):
            use()
    # States that were read before still name the right key.
    assert provider.unwrap("root", [item]) == [KEY]


@pytest.mark.parametrize("fields", [{"MultiRegion": True}, {"Origin": "EXTERNAL"}, {"KeySpec": "RSA_2048"}])
def test_a_key_that_can_come_back_is_refused(provider, kms, fields):
    """Replicas and imported material outlive a deletion."""
    kms.script["DescribeKey"].append(kms_service.changed(lambda answer: answer["KeyMetadata"].update(fields)))
    with pytest.raises(KeyStateError, match="copies elsewhere"):
        provider.wrap("root", 1, [KeyToWrap(KEY, BOUND)])


def test_of_two_that_make_a_version_one_wins(open_kms, provider, admin, kms_prefix, kms):
    """Both make a key, one gets the alias, the other's key is deleted, and both are told the same version."""
    barrier = threading.Barrier(2)

    def together(forward):
        barrier.wait(30)
        return forward()

    kms.script["CreateAlias"].extend([together] * 2)
    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(lambda each: each.new_version("root", 1), [provider, open_kms()])) == [2, 2]
    (discarded,) = kms.seen["ScheduleKeyDeletion"]
    winner = described(admin, kms_prefix, 2)
    assert winner["KeyState"] == "Enabled"
    assert winner["KeyId"] != discarded["KeyId"]
    assert open_kms().describe("root").versions == {1: KeyState.DECRYPT_ONLY, 2: KeyState.ENABLED}


def test_a_lost_answer_makes_one_version(provider, admin, kms_prefix, kms):
    """The alias was made and nobody heard of it: the second attempt finds it to be its own."""
    kms.script["CreateAlias"].append(kms_service.lost)
    assert provider.new_version("root", 1) == 2
    assert len(kms.seen["CreateKey"]) == 1
    assert not kms.seen["ScheduleKeyDeletion"]
    assert described(admin, kms_prefix, 2)["KeyState"] == "Enabled"


def test_a_new_version_is_returned_once_it_shows(provider, kms, kms_pauses):
    """AWS's lists lag behind; whoever was told of a version can use it."""

    def without_new(answer):
        answer["Aliases"] = [alias for alias in answer["Aliases"] if not alias["AliasName"].endswith("/v2")]

    # The account has aliases of other tests too, so that a list may take several pages.
    provider.describe("root")
    before = len(kms.seen["ListAliases"])
    provider.describe("root")
    pages = len(kms.seen["ListAliases"]) - before
    kms.script["ListAliases"].extend([kms_service.changed(without_new)] * 3 * pages)
    assert provider.new_version("root", 1) == 2
    assert len(kms_pauses) == 2
    assert wrapped(provider, 2)


def test_a_key_that_nobody_knows_is_swept(provider, open_kms, admin, kms, kms_prefix):
    """After a lost answer of CreateKey the call fails, can be made again, and the lost key is found by the sweep."""
    kms.script["CreateKey"].append(kms_service.lost)
    with pytest.raises(ProviderUnavailableError):
        provider.new_version("root", 1)
    assert len(kms.seen["CreateKey"]) == 1
    assert provider.describe("root").current == 1
    assert provider.new_version("root", 1) == 2
    strangers = admin.create_key(Description="of somebody else")["KeyMetadata"]["KeyId"]
    now = datetime.now(UTC)
    assert provider.sweep(now) == []
    (swept,) = provider.sweep(now + timedelta(hours=2))
    assert admin.describe_key(KeyId=swept)["KeyMetadata"]["KeyState"] == "PendingDeletion"
    assert admin.describe_key(KeyId=swept)["KeyMetadata"]["Description"] == f"alias/{kms_prefix}root/v2"
    assert provider.sweep(now + timedelta(hours=2)) == []
    assert admin.describe_key(KeyId=strangers)["KeyMetadata"]["KeyState"] == "Enabled"
    assert open_kms().describe("root").versions == {1: KeyState.DECRYPT_ONLY, 2: KeyState.ENABLED}


def test_a_kill_between_key_and_alias_leaves_one_key_to_sweep(provider, kms, child, kms_prefix):
    """After kill -9 the version can be made again."""
    process = child(ROTATING, kms.url, kms_prefix)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, errors
    assert provider.describe("root").versions == {1: KeyState.ENABLED}
    assert provider.new_version("root", 1) == 2
    assert len(provider.sweep(datetime.now(UTC) + timedelta(hours=2))) == 1
    assert wrapped(provider, 2)


@pytest.mark.parametrize(
    "fault", [kms_service.error("AccessDeniedException"), kms_service.error("LimitExceededException")]
)
@pytest.mark.parametrize("operation", ["CreateKey", "CreateAlias"])
def test_keys_are_made_all_or_none(open_kms, kms, operation, fault):
    """A refusal in the middle undoes what was done, and the same call made again succeeds."""
    provider = open_kms()

    def passed(forward):
        return forward()

    kms.script[operation].extend([passed, fault])
    with pytest.raises(ProviderError):
        provider.create(["one", "two"])
    for name in ("one", "two"):
        with pytest.raises(KeyStateError):
            provider.describe(name)
    made = len(kms.seen["CreateKey"]) - (operation == "CreateKey")
    assert len(kms.seen["ScheduleKeyDeletion"]) == made
    provider.create(["one", "two"])
    assert provider.describe("two").versions == {1: KeyState.ENABLED}


def test_what_was_undone_stays_undone_when_an_answer_is_lost(open_kms, kms):
    """The alias is gone although nobody heard of it, and its key goes too."""
    provider = open_kms()
    kms.script["CreateAlias"].extend([lambda forward: forward(), kms_service.error("AccessDeniedException")])
    kms.script["DeleteAlias"].append(kms_service.lost)
    with pytest.raises(ProviderDeniedError):
        provider.create(["one", "two"])
    assert len(kms.seen["DeleteAlias"]) == 2
    assert len(kms.seen["ScheduleKeyDeletion"]) == 2
    provider.create(["one", "two"])


@pytest.mark.parametrize("name", ["", "a/b", "alias:x", "ü", "x" * 200])
def test_names_that_aws_does_not_take_are_refused(open_kms, kms, name):
    """Before a key is made."""
    provider = open_kms()
    with pytest.raises(KeyStateError):
        provider.create([name])
    with pytest.raises(KeyStateError):
        provider.describe(name)
    assert not kms.seen["CreateKey"]


def test_logs_and_representations_show_no_key(provider, open_kms, caplog, leaks):
    """Not even when everything is logged: botocore would write whole requests, answers and session tokens."""
    secret = os.urandom(32)
    with caplog.at_level(logging.DEBUG):
        # What boto3.set_stream_logger does.
        logging.getLogger("botocore").setLevel(logging.DEBUG)
        try:
            again = open_kms()
            (blob,) = again.wrap("root", 1, [KeyToWrap(secret, BOUND)])
            assert again.unwrap("root", [WrappedKey(1, blob, BOUND)]) == [secret]
        finally:
            logging.getLogger("botocore").setLevel(logging.NOTSET)
    assert not leaks(caplog.text + repr(provider), secret, b"a-session-token", b"a-secret-access-key")
