"""The lake's one error hierarchy.

Every message is safe to log and to show: it names identifiers, sizes, files, fields and what to do, and never a row
value, a key, a secret or a library's own text (which may quote values). Names end in Error.

Exit codes of the command line: 1 failed, 2 usage, 3 denied by policy, 4 integrity violated, 5 try again later.
"""

from __future__ import annotations


class LakeError(Exception):
    """Base of everything that the lake raises on purpose.

    Args:
        message: what is wrong, safe to show.
        hint: what to do about it.
        details: identifiers and numbers for machines (``--json``); never values of rows.
    """

    code = "failed"
    exit_code = 1

    def __init__(self, message: str, *, hint: str = "", **details: str | int) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class UsageError(LakeError):
    """The caller asked for something that does not make sense; nothing was done."""

    code = "usage"
    exit_code = 2


class DocumentError(UsageError):
    """A contract, policy, mapping or expectation file is not valid; says the file, line and column."""

    code = "document"

    def __init__(self, source: str, line: int, column: int, message: str, *, hint: str = "") -> None:
        super().__init__(f"{source}:{line}:{column}: {message}", hint=hint, line=line, column=column)
        self.source = source
        self.line = line
        self.column = column


class DeniedError(LakeError):
    """Refused by policy. Outsiders get one message, whether the thing exists or not; the audit log has the reason."""

    code = "denied"
    exit_code = 3


class UnauthenticatedError(LakeError):
    """Nobody whom the gateway knows is at the door. Outsiders get one message, whatever is wrong.

    Args:
        reason: a word of a closed set, for audit log and metrics only; never shown, and no part of ``details``.
    """

    code = "unauthenticated"
    exit_code = 3

    def __init__(
        self,
        message: str = "not authenticated",
        *,
        hint: str = "get a new token from your identity provider, and name one of the purposes in it",
        reason: str = "",
        **details: str | int,
    ) -> None:
        super().__init__(message, hint=hint, **details)
        self.reason = reason


class QueryRefusedError(UsageError):
    """The SQL is not one SELECT over granted tables and allow-listed functions."""

    code = "query_refused"


class QueryFailedError(LakeError):
    """The engine could not finish an admitted query; carries a class and an id, never the engine's text."""

    code = "query_failed"


class LimitExceededError(LakeError):
    """A limit of the grant (rows, bytes, seconds) was reached; nothing beyond it was released."""

    code = "limit_exceeded"


class QueryCancelledError(LakeError):
    """The query was broken off because its caller asked for that, or is gone."""

    code = "cancelled"


class BatchRefusedError(LakeError):
    """A batch did not land, and nothing of it did."""

    code = "batch_refused"


class MalformedInputError(BatchRefusedError):
    """The bytes are not what they claim to be: truncated, wrong types, not UTF-8, broken JSON."""

    code = "malformed_input"


class ContractBreachError(BatchRefusedError):
    """The batch as a whole does not fit the collection contract that it names."""

    code = "contract_breach"


class BatchConflictError(BatchRefusedError):
    """A batch id that has landed before came again with other content."""

    code = "batch_conflict"


class LeaseRefusedError(BatchRefusedError):
    """A batch came without a lease that is for it.

    Args:
        reason: a word of a closed set: malformed, unknown, device, enrolment, employee, dataset, contract, types.
    """

    code = "lease_refused"

    def __init__(self, message: str, *, hint: str = "", reason: str = "", **details: str | int) -> None:
        super().__init__(message, hint=hint, **({"reason": reason} if reason else {}), **details)
        self.reason = reason


class PausedError(BatchRefusedError):
    """Collection is paused here: no lease is granted, or what was sent may not land any more."""

    code = "paused"


class IntegrityError(LakeError):
    """Stored bytes are not what was stored: a file, the catalog, the audit log or a wrapped key was changed or lost."""

    code = "integrity"
    exit_code = 4


class QuarantinedError(IntegrityError):
    """Files that are known to be damaged would have to be read; nothing was, so that no row is missing unnoticed."""

    code = "quarantined"


class UnavailableError(LakeError):
    """Something needed did not answer or is busy; the same call may succeed later."""

    code = "unavailable"
    exit_code = 5


class FilterFailedError(UnavailableError):
    """The filter broke or did not end in time; nothing of the batch landed."""

    code = "filter_failed"


class StaleKeysError(UnavailableError):
    """Keys were retired between wrapping and committing; wrapping anew helps."""

    code = "stale_keys"


class FilesChangedError(UnavailableError):
    """Files of a query were purged or replaced while it ran. Asked again, it reads what there is now."""

    code = "files_changed"


class AuditUnavailableError(UnavailableError):
    """The audit log cannot record, so nothing may be read or changed."""

    code = "audit_unavailable"


class LeaseHeldError(UnavailableError):
    """Another process does this job now."""

    code = "lease_held"


class LeaseLostError(UnavailableError):
    """This process was silent for so long that another has taken its job over; it may change nothing more."""

    code = "lease_lost"


class StoreRefusedError(LakeError):
    """The object store answers, and will not do it until somebody sets something right: rights, clock, bucket."""

    code = "store_refused"


class ObjectRetainedError(LakeError):
    """The object store keeps an object on purpose: it is locked until a date, or held."""

    code = "object_retained"
