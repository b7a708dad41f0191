"""Errors of boto3 as ours. Its texts stay behind: they may quote a request, and requests carry keys."""

from __future__ import annotations

from botocore import exceptions as boto

from keys.errors import (
    KeyIntegrityError,
    KeysError,
    KeyStateError,
    ProviderAnswerError,
    ProviderDeniedError,
    ProviderThrottledError,
    ProviderTimeoutError,
    ProviderUnavailableError,
)

RAISED = (boto.BotoCoreError, boto.ClientError, ValueError, TypeError, AttributeError, KeyError)
"""What a call may raise; the last four come of answers that are not in the service's format."""

NOT_FOUND, EXISTS = "NotFoundException", "AlreadyExistsException"
QUOTA = "LimitExceededException"

_CODES: dict[type[KeysError], frozenset[str]] = {
    ProviderThrottledError: frozenset(
        {"ThrottlingException", "Throttling", "ThrottledException", "TooManyRequestsException", "RequestLimitExceeded"}
        | {QUOTA}
    ),
    ProviderDeniedError: frozenset(
        {"AccessDenied", "AccessDeniedException", "NotAuthorized", "OptInRequired", "InvalidGrantTokenException"}
        | {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "InvalidClientTokenId"}
        | {"IncompleteSignature", "InvalidSignatureException", "SignatureDoesNotMatch", "UnrecognizedClientException"}
        | {"MissingAuthenticationToken", "MissingAuthenticationTokenException"}
    ),
    KeyStateError: frozenset(
        {"DisabledException", "KMSInvalidStateException", "InvalidKeyUsageException", NOT_FOUND, EXISTS}
    ),
    KeyIntegrityError: frozenset({"InvalidCiphertextException", "IncorrectKeyException"}),
    ProviderUnavailableError: frozenset(
        {"KMSInternalException", "DependencyTimeoutException", "KeyUnavailableException", "InternalFailure"}
    ),
}

# First match counts: timeouts are connection errors too.
_RAISED: tuple[tuple[tuple[type[Exception], ...], type[KeysError], str], ...] = (
    (
        (
            boto.NoCredentialsError,
            boto.PartialCredentialsError,
            boto.CredentialRetrievalError,
            boto.ProfileNotFound,
            boto.TokenRetrievalError,
            boto.NoAuthTokenError,
            boto.SSOError,
            boto.LoginError,
        ),
        ProviderDeniedError,
        "there are no usable credentials",
    ),
    ((boto.ConnectTimeoutError, boto.ReadTimeoutError), ProviderTimeoutError, "no answer in time"),
    ((boto.ConnectionError, boto.HTTPClientError), ProviderUnavailableError, "no connection"),
    ((boto.ParamValidationError,), KeyStateError, "a name or a size that it does not take"),
    (
        (boto.NoRegionError, boto.InvalidRegionError, boto.UnknownEndpointError, boto.EndpointProviderError),
        ProviderDeniedError,
        "the region or the endpoint is not usable",
    ),
)


def translated(error: Exception, operation: str) -> KeysError:
    """Our error; the service's own code, if there is one, is in ``details["aws"]``."""
    call = f"AWS KMS, {operation}"
    if isinstance(error, boto.ClientError):
        return _answered(error.response, call)
    for classes, ours, text in _RAISED:
        if isinstance(error, classes):
            return ours(f"{call}: {text}")
    return ProviderAnswerError(f"{call}: the answer cannot be read ({type(error).__name__})")


def _answered(response: dict[str, dict[str, object]], call: str) -> KeysError:
    code = str(response.get("Error", {}).get("Code", ""))
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    known = next((ours for ours, codes in _CODES.items() if code in codes), None)
    if known is None and isinstance(status, int) and status >= 500:
        known = ProviderUnavailableError
    if known is None:
        # The code of an answer in no format of AWS may be anything.
        return (
            ProviderThrottledError(f"{call}: throttled") if status == 429 else ProviderAnswerError(f"{call}: refused")
        )
    error = known(f"{call}: {code if any(code in codes for codes in _CODES.values()) else 'it fails'}")
    error.details["aws"] = code
    return error
