"""The AWS KMS provider's errors: refusals, silence, credentials, and answers that are wrong."""

from __future__ import annotations

import base64
import os
import threading
import traceback

import pytest

from keys.errors import (
    KeyIntegrityError,
    KeyStateError,
    ProviderAnswerError,
    ProviderDeniedError,
    ProviderThrottledError,
    ProviderTimeoutError,
    ProviderUnavailableError,
)
from keys.providers import KeyToWrap, WrappedKey
from keys.providers.aws_calls import LONGEST_PAUSE
from keys.providers.aws_kms import AwsKmsConfig, AwsKmsProvider
from tests.keys.providers import kms_service
from tests.keys.providers.case_aws import REGION
from tests.keys.providers.openbao_server import free_port

KEY = bytes(range(32))
BOUND = b"level 3, bucket 17"


@pytest.fixture
def provider(open_kms, kms):
    """A provider with the key ``root``, and nothing counted yet."""
    provider = open_kms()
    provider.create(["root"])
    kms.reset()
    return provider


@pytest.fixture
def service(provider, kms, kms_pauses):
    """A provider with what it talks to, and the pauses it makes."""
    return provider, kms, kms_pauses


def wrapped(provider, version=1):
    """A key that was just wrapped."""
    (blob,) = provider.wrap("root", version, [KeyToWrap(KEY, BOUND)])
    return WrappedKey(version, blob, BOUND)


@pytest.mark.parametrize(
    ("code", "status", "refusal"),
    [
        ("ThrottlingException", 400, (ProviderThrottledError, 5)),
        ("TooManyRequestsException", 429, (ProviderThrottledError, 5)),
        ("SomethingNew", 429, (ProviderThrottledError, 5)),
        ("LimitExceededException", 400, (ProviderThrottledError, 1)),
        ("KMSInternalException", 500, (ProviderUnavailableError, 5)),
        ("DependencyTimeoutException", 500, (ProviderUnavailableError, 5)),
        ("KeyUnavailableException", 500, (ProviderUnavailableError, 5)),
        ("SomethingNew", 503, (ProviderUnavailableError, 5)),
        ("AccessDeniedException", 400, (ProviderDeniedError, 1)),
        ("ExpiredTokenException", 400, (ProviderDeniedError, 1)),
        ("UnrecognizedClientException", 400, (ProviderDeniedError, 1)),
        ("InvalidSignatureException", 403, (ProviderDeniedError, 1)),
        ("DisabledException", 409, (KeyStateError, 1)),
        ("KMSInvalidStateException", 409, (KeyStateError, 1)),
        ("NotFoundException", 404, (KeyStateError, 1)),
        ("InvalidKeyUsageException", 400, (KeyStateError, 1)),
        ("InvalidCiphertextException", 400, (KeyIntegrityError, 1)),
        ("IncorrectKeyException", 400, (KeyIntegrityError, 1)),
        ("ValidationException", 400, (ProviderAnswerError, 1)),
        ("SomethingNew", 400, (ProviderAnswerError, 1)),
    ],
)
def test_each_refusal_has_its_error(service, code, status, refusal):
    """What may pass is tried five times with growing random pauses; the rest once. AWS's texts are not repeated."""
    (provider, kms, kms_pauses), (error, requests) = service, refusal
    item = wrapped(provider)
    kms.script["Decrypt"].extend([kms_service.error(code, status)] * 9)
    with pytest.raises(error) as caught:
        provider.unwrap("root", [item])
    assert type(caught.value) is error
    assert len(kms.seen["Decrypt"]) == requests
    assert len(kms_pauses) == requests - 1
    assert all(0 <= pause <= min(LONGEST_PAUSE, 0.1 * 2**number) for number, pause in enumerate(kms_pauses))
    shown = "".join(traceback.format_exception(caught.value))
    assert "a-secret-of-the-service" not in shown + repr(caught.value)
    assert "SomethingNew" not in shown


def test_pauses_differ_and_stay_bounded(open_kms, kms, kms_pauses):
    """Full jitter: no two alike, none above the bound, however many attempts there are."""
    kms.script["ListAliases"].extend([kms_service.error("ThrottlingException")] * 30)
    with pytest.raises(ProviderThrottledError):
        open_kms(attempts=30).describe("root")
    assert len(set(kms_pauses)) == len(kms_pauses) == 29
    assert max(kms_pauses) <= LONGEST_PAUSE


def test_a_short_failure_is_not_noticed(provider, kms, kms_pauses):
    """Throttled, dropped, lost and failing calls of a batch are made again until they succeed."""
    faults = [kms_service.error("ThrottlingException"), kms_service.dropped, kms_service.lost]
    kms.script["Encrypt"].extend([*faults, kms_service.error("KMSInternalException", 500)])
    keys = [os.urandom(32) for _ in range(20)]
    blobs = provider.wrap("root", 1, [KeyToWrap(key, BOUND) for key in keys])
    assert len(kms.seen["Encrypt"]) == 24
    assert len(kms_pauses) == 4
    kms.script["Decrypt"].extend(faults)
    assert provider.unwrap("root", [WrappedKey(1, blob, BOUND) for blob in blobs]) == keys


def test_silence_is_a_timeout(provider, open_kms, kms):
    """A service that takes the request and does not answer."""
    item, gate = wrapped(provider), threading.Event()
    kms.script["Decrypt"].extend([kms_service.late(gate)] * 2)
    try:
        with pytest.raises(ProviderTimeoutError):
            open_kms(timeout=0.3, attempts=2).unwrap("root", [item])
    finally:
        gate.set()
    assert len(kms.seen["Decrypt"]) == 2


def test_no_service_is_unavailable(open_kms, kms_pauses):
    """Nobody listens."""
    with pytest.raises(ProviderUnavailableError) as caught:
        open_kms(endpoint=f"http://127.0.0.1:{free_port()}", attempts=3).describe("root")
    assert type(caught.value) is ProviderUnavailableError
    assert len(kms_pauses) == 2


def test_no_credentials_are_denied(kms, open_kms, monkeypatch):
    """Without anything in boto3's chain, and with a profile that does not exist."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    with pytest.raises(ProviderDeniedError):
        open_kms().describe("root")
    with pytest.raises(ProviderDeniedError):
        open_kms(profile="nobody")


@pytest.mark.parametrize("endpoint", ["http://kms.example.com", "http://10.0.0.7:4566", "ftp://127.0.0.1", "127.0.0.1"])
def test_keys_do_not_travel_in_clear(endpoint):
    """An endpoint without TLS is for this machine only."""
    with pytest.raises(ProviderDeniedError, match="not encrypted"):
        AwsKmsProvider(AwsKmsConfig(REGION, endpoint=endpoint))
    AwsKmsProvider(AwsKmsConfig(REGION, endpoint="https://kms.example.com")).close()


@pytest.mark.parametrize(
    "change",
    [
        {"deletion_days": 6},
        {"deletion_days": 31},
        {"attempts": 0},
        {"prefix": ""},
        {"prefix": "aws/x"},
        {"prefix": "a b"},
    ],
)
def test_settings_that_aws_does_not_know_are_refused(change):
    """Before anything is asked."""
    with pytest.raises(ValueError, match=r"must|is 7 to 30"):
        AwsKmsConfig(**({"region": REGION} | change))


OTHER_ARN = "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000000"


@pytest.mark.parametrize("name", ["KeyId", "CiphertextBlob"])
@pytest.mark.parametrize("value", [None, "", OTHER_ARN])
def test_a_wrong_answer_to_a_wrap_is_refused(provider, kms, name, value):
    """Fields missing, empty or another key's."""
    if name == "CiphertextBlob" and value:
        value = "="
    kms.script["Encrypt"].append(kms_service.changed(lambda answer: answer.__setitem__(name, value)))
    with pytest.raises(ProviderAnswerError):
        provider.wrap("root", 1, [KeyToWrap(KEY, BOUND)])


@pytest.mark.parametrize(
    "answer",
    [
        kms_service.changed(lambda answer: answer.pop("KeyId")),
        kms_service.changed(lambda answer: answer.pop("Plaintext")),
        kms_service.changed(lambda answer: answer.update(KeyId=OTHER_ARN)),
        kms_service.changed(lambda answer: answer.update(Plaintext=base64.b64encode(bytes(32)).decode())),
        kms_service.changed(lambda answer: answer.update(Plaintext=base64.b64encode(KEY[:31]).decode())),
        kms_service.changed(lambda answer: answer.update(Plaintext="no base64")),
        kms_service.raw(b"{}"),
        kms_service.raw(b"<html>"),
        kms_service.raw(b"[1]"),
        kms_service.raw(b"null"),
        kms_service.raw(b'{"Plaintext": {}}'),
        kms_service.raw(b"\xff\xfe"),
    ],
)
def test_a_wrong_answer_to_an_unwrap_is_refused(provider, kms, answer):
    """Another key, a zero key, a short one, nothing, and what is no answer at all."""
    item = wrapped(provider)
    kms.script["Decrypt"].append(answer)
    with pytest.raises(ProviderAnswerError):
        provider.unwrap("root", [item])
    assert provider.unwrap("root", [item]) == [KEY]


def test_swapped_answers_are_refused(provider, kms):
    """Two keys of a batch, each answered with the other."""
    items = [WrappedKey(1, provider.wrap("root", 1, [KeyToWrap(os.urandom(32), BOUND)])[0], BOUND) for _ in range(2)]
    first, second = (base64.b64encode(key).decode() for key in provider.unwrap("root", items))

    def swap(answer):
        answer["Plaintext"] = second if answer["Plaintext"] == first else first

    kms.script["Decrypt"].extend([kms_service.changed(swap)] * 2)
    with pytest.raises(ProviderAnswerError):
        provider.unwrap("root", items)


@pytest.mark.parametrize("name", ["KeyId", "SourceKeyId", "CiphertextBlob"])
@pytest.mark.parametrize("value", [None, "", OTHER_ARN])
def test_a_wrong_answer_to_a_rewrap_is_refused(provider, kms, name, value):
    """Fields missing, empty or another key's."""
    item = wrapped(provider)
    if name == "CiphertextBlob" and value:
        value = "="
    kms.script["ReEncrypt"].append(kms_service.changed(lambda answer: answer.__setitem__(name, value)))
    with pytest.raises(ProviderAnswerError):
        provider.rewrap("root", 1, [item])


@pytest.mark.parametrize(
    ("operation", "change"),
    [
        ("ListAliases", lambda answer: answer.pop("Aliases")),
        ("ListAliases", lambda answer: (answer.update(Truncated=True), answer.pop("NextMarker", None))),
        ("ListAliases", lambda answer: answer["Aliases"][0].pop("AliasName")),
        ("DescribeKey", lambda answer: answer.pop("KeyMetadata")),
        ("DescribeKey", lambda answer: answer["KeyMetadata"].pop("Arn")),
        ("DescribeKey", lambda answer: answer["KeyMetadata"].pop("KeyState")),
    ],
)
def test_a_wrong_description_is_refused(provider, kms, operation, change):
    """Lists and descriptions without what they must have."""
    kms.script[operation].append(kms_service.changed(change))
    with pytest.raises(ProviderAnswerError):
        provider.describe("root")


def test_a_list_that_never_ends_is_refused(provider, kms):
    """The same page again and again."""
    again = kms_service.changed(lambda answer: answer.update(Truncated=True, NextMarker="1"))
    kms.script["ListAliases"].extend([again] * 3)
    with pytest.raises(ProviderAnswerError, match="same page"):
        provider.describe("root")


def test_a_proxy_does_not_see_keys_in_clear(provider, open_kms, monkeypatch):
    """Requests without TLS go to this machine directly, whatever the environment says."""
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    assert open_kms().describe("root").current == 1
