"""Errors of boto3 as ours. Its texts stay behind: they may quote a request, and with it a session token.

Three kinds: *try again* (UnavailableError), *set something right* (StoreRefusedError), *something is gone*
(IntegrityError, which only the caller can tell from an object that need not be there). The store's own code, where it
is one that is known here, is in ``details["s3"]``.
"""

from __future__ import annotations

from dataclasses import dataclass

from botocore import exceptions as boto

from lake.errors import IntegrityError, LakeError, StoreRefusedError, UnavailableError

GARBLED = ("BadDigest", "InvalidDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch", "IncompleteBody")
RAISED = (boto.BotoCoreError, boto.ClientError, OSError, ValueError, TypeError, AttributeError, KeyError)
"""What a call may raise; those after OSError come of answers that are not in S3's format."""

MISSING, EXISTS, GONE, DENIED = "NoSuchKey", "PreconditionFailed", "NoSuchUpload", "AccessDenied"
EMPTY, UNKNOWN_CALL, FULL = "InvalidRange", "NotImplemented", "StorageFull"
AGAIN = "the same call may succeed later"


@dataclass(frozen=True, slots=True)
class _Meaning:
    error: type[LakeError]
    message: str
    hint: str = AGAIN


_RIGHTS = _Meaning(
    StoreRefusedError,
    "access denied",
    "give this identity the right (docs/operations/provisioning.md), or use the credentials of another; "
    "who may not list a bucket is told this of missing objects too",
)
_KEYS = _Meaning(
    StoreRefusedError,
    "the credentials are not accepted",
    "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the credentials file or role that stands for them",
)
_EXPIRED = _Meaning(StoreRefusedError, "the credentials have expired", "get new ones, or use a role that renews them")
_CLOCK = _Meaning(
    StoreRefusedError, "this machine's clock and the store's differ", "set the clock right; run an NTP client"
)
_BUCKET = _Meaning(StoreRefusedError, "there is no such bucket", "make the bucket, or correct 'store' in lake.json")
_PLACE = _Meaning(
    StoreRefusedError,
    "the bucket is in another region, or the endpoint is another's",
    "name the bucket's region with ?region= in the store's URL or in AWS_REGION",
)
_FULL = _Meaning(UnavailableError, "the store is full", "make room on it; then the same call succeeds")
_BUSY = _Meaning(UnavailableError, "the store is too busy")
_FAILS = _Meaning(UnavailableError, "the store fails")
_GARBLED = _Meaning(UnavailableError, "the content was changed on its way to the store")
_ABSENT = _Meaning(IntegrityError, "there is no such object")
_OLD = _Meaning(StoreRefusedError, "the server does not know this call", "use a server that does, or a newer one of it")
_THERE = _Meaning(IntegrityError, "there is an object under this name already", "")
_SHORT = _Meaning(IntegrityError, "the object does not reach so far", "")
_REFUSED = _Meaning(StoreRefusedError, "the request is refused", "see the server's log")

_MEANINGS: dict[_Meaning, tuple[str, ...]] = {
    _RIGHTS: (DENIED, "AllAccessDisabled", "AccountProblem", "MethodNotAllowed"),
    _KEYS: ("InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "AuthFailure"),
    _EXPIRED: ("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"),
    _CLOCK: ("RequestTimeTooSkewed", "RequestExpired"),
    _BUCKET: ("NoSuchBucket",),
    _PLACE: ("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "301", "307"),
    _FULL: (FULL, "XMinioStorageFull", "InsufficientStorage", "QuotaExceeded", "XMinioAdminBucketQuotaExceeded"),
    _BUSY: ("SlowDown", "ServiceUnavailable", "Throttling", "ThrottlingException", "TooManyRequests", "ServerBusy"),
    _FAILS: ("ConditionalRequestConflict", "OperationAborted", "RequestTimeout", "InternalError"),
    _GARBLED: GARBLED,
    _ABSENT: (MISSING, GONE, "NoSuchVersion"),
    _THERE: (EXISTS,),
    _SHORT: (EMPTY,),
    _OLD: (UNKNOWN_CALL,),
}
_CODES = {code: meaning for meaning, codes in _MEANINGS.items() for code in codes}
# A HEAD has no body, so that only its status says something; a proxy before the store knows no codes either.
_STATUS: dict[int, tuple[str, _Meaning]] = {
    301: ("PermanentRedirect", _PLACE),
    403: (DENIED, _RIGHTS),
    404: (MISSING, _ABSENT),
    409: ("ConditionalRequestConflict", _FAILS),
    412: (EXISTS, _THERE),
    416: (EMPTY, _SHORT),
    429: ("SlowDown", _BUSY),
    501: (UNKNOWN_CALL, _OLD),
    503: ("SlowDown", _BUSY),
    507: (FULL, _FULL),
}

# First match counts: timeouts are connection errors too.
_RAISED: tuple[tuple[tuple[type[Exception], ...], _Meaning], ...] = (
    (
        (
            boto.NoCredentialsError,
            boto.PartialCredentialsError,
            boto.CredentialRetrievalError,
            boto.ProfileNotFound,
            boto.TokenRetrievalError,
            boto.NoAuthTokenError,
            boto.SSOError,
            boto.ConfigParseError,
        ),
        _Meaning(
            StoreRefusedError,
            "there are no usable credentials",
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_SHARED_CREDENTIALS_FILE, or give the host a role",
        ),
    ),
    ((boto.SSLError,), _Meaning(StoreRefusedError, "the server's certificate is not trusted", "set AWS_CA_BUNDLE")),
    ((boto.ConnectTimeoutError, boto.ReadTimeoutError), _Meaning(UnavailableError, "no answer in time")),
    (
        (boto.ConnectionError, boto.HTTPClientError, boto.IncompleteReadError, boto.ResponseStreamingError, OSError),
        _Meaning(UnavailableError, "no connection"),
    ),
    ((boto.FlexibleChecksumError,), _Meaning(UnavailableError, "the content was changed on its way from the store")),
    (
        (boto.InvalidRegionError, boto.UnknownEndpointError, boto.EndpointProviderError, boto.ParamValidationError),
        _Meaning(StoreRefusedError, "the region, endpoint or bucket is not usable", "correct 'store' in lake.json"),
    ),
)


def translated(error: Exception, call: str) -> LakeError:
    """Our error for what ``call`` has raised."""
    if isinstance(error, boto.ClientError):
        return _answered(error.response, call)
    for classes, meaning in _RAISED:
        if isinstance(error, classes):
            return _error(meaning, call)
    # An answer in no format of S3 is that of a proxy or of a server in trouble.
    return _error(_FAILS, call)


def code_of(error: LakeError) -> str:
    """The store's code behind an error, or nothing."""
    return str(error.details.get("s3", ""))


def _answered(response: dict[str, dict[str, object]], call: str) -> LakeError:
    code = str(response.get("Error", {}).get("Code", ""))
    if code in _CODES:
        return _error(_CODES[code], call, FULL if _CODES[code] is _FULL else code)
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if isinstance(status, int) and status in _STATUS:
        known, meaning = _STATUS[status]
        return _error(meaning, call, known)
    return _error(_FAILS if isinstance(status, int) and status >= 500 else _REFUSED, call)


def _error(meaning: _Meaning, call: str, code: str = "") -> LakeError:
    details = {"s3": code} if code else {}
    return meaning.error(f"object store, {call}: {meaning.message}", hint=meaning.hint, **details)
