"""Provisioning of an S3 server for a lake: bucket, versions, lifecycle, policies, users. Look first, act if told to.

Each step is looked at, acted on, and looked at again, so that what a server took and did not keep is seen. What is
there already is left alone: it can be run again at any time, and after a crash it goes on.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from minio.commonconfig import ENABLED, Filter
from minio.lifecycleconfig import (
    AbortIncompleteMultipartUpload,
    Expiration,
    NoncurrentVersionExpiration,
    Rule,
)

from lake.errors import UsageError
from lake.sealed.objects import credential_files
from lake.sealed.objects.credential_files import Credential
from lake.sealed.objects.provision_policies import IDENTITIES, Place, policy, same_policy
from lake.sealed.objects.provision_server import MISSING, AnswerError, Server

THERE, MAKE, CHANGE, MADE, CANNOT, LOOK = "there", "make", "change", "made", "cannot", "look"
"""States of a step: nothing to do; to be made or changed; done now; not on this server; for a person to decide."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the store should be like.

    Attributes:
        versioning: whether overwritten and deleted objects stay as versions, for ``noncurrent_days``.
        abort_days: after which unfinished uploads are removed.
        credentials: folder for the secrets of new users.
        renew: identities that get a new secret.
    """

    place: Place
    versioning: bool = False
    noncurrent_days: int = 30
    abort_days: int = 1
    credentials: Path | None = None
    renew: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that the store should have, and how it stands."""

    name: str
    state: str
    message: str


Look = Callable[[], tuple[str, str]]
"""State and message as the server shows them now."""
Act = Callable[[], None]
Answer = TypeVar("Answer")


class Provisioning:
    """Brings one server to what is wanted."""

    def __init__(self, server: Server, wanted: Wanted) -> None:
        self._server = server
        self._wanted = wanted
        self._place = wanted.place
        self._written: frozenset[str] = frozenset()

    def steps(self, *, apply: bool) -> Iterator[Step]:
        """Every step in turn; nothing is changed without ``apply``, and a step is yielded after it was done.

        Raises:
            UsageError: there is no place for the secrets.
            DeniedError: the administrator's credentials are refused.
            UnavailableError: the server does not answer; the steps before this one are done.
        """
        wanted = self._wanted
        if (apply or wanted.renew) and wanted.credentials is None:
            raise UsageError("there is no place for the secrets of users", hint="name a folder with --credentials DIR")
        if apply and wanted.credentials is not None:
            for identity in sorted(wanted.renew):
                self._write_secret(identity)
            self._written = wanted.renew
        for name, look, act in self._work():
            yield _step(name, look, act if apply else None)

    def _work(self) -> Iterator[tuple[str, Look, Act | None]]:
        """Name of every step, how to look at it, and what brings it about."""
        server, bucket = self._server, self._place.bucket
        yield "bucket", self._look_bucket, partial(server.make_bucket, bucket)
        yield "bucket policy", self._look_bucket_policy, None
        yield "versions", self._look_versions, partial(server.set_versioning, bucket)
        for step, look, rule in self._rules():
            yield step, look, partial(self._set_rule, rule)
        yield "other rules", self._look_other_rules, None
        for identity in IDENTITIES:
            name, document = self._place.name(identity), policy(self._place, identity)
            look = partial(self._look_policy, name, document)
            yield f"policy of {identity}", look, partial(server.set_policy, name, document)
            yield f"user {identity}", partial(self._look_user, identity), partial(self._set_user, identity)

    def _look_bucket(self) -> tuple[str, str]:
        bucket = self._place.bucket
        return (THERE, bucket) if self._server.bucket_exists(bucket) else (MAKE, bucket)

    def _look_bucket_policy(self) -> tuple[str, str]:
        try:
            own = self._server.has_bucket_policy(self._place.bucket)
        except AnswerError as error:
            if error.kind == MISSING:
                return THERE, "none, as there is no bucket yet"
            raise
        if own:
            return LOOK, "the bucket has a policy of its own, which may give rights to others: look at it"
        return THERE, "none: the bucket itself gives no rights"

    def _look_versions(self) -> tuple[str, str]:
        try:
            on = _or_none(lambda: self._server.versioning(self._place.bucket)) or False
        except AnswerError:
            if self._wanted.versioning:
                raise
            return THERE, "not asked for; the server keeps none"
        if on:
            kept = "" if self._wanted.versioning else ", although not asked for: with --versioning they expire"
            return THERE, f"kept{kept}"
        if not self._wanted.versioning:
            return THERE, "not kept, and not asked for"
        return MAKE, "keep what was overwritten or deleted"

    def _rules(self) -> Iterator[tuple[str, Look, Rule]]:
        scope = Filter(prefix=self._place.data)
        aborted = Rule(
            status=ENABLED,
            rule_id=self._place.name("uploads"),
            rule_filter=scope,
            abort_incomplete_multipart_upload=AbortIncompleteMultipartUpload(self._wanted.abort_days),
        )
        yield "unfinished uploads", lambda: self._look_uploads(aborted), aborted
        if self._wanted.versioning:
            days = self._wanted.noncurrent_days
            old = Rule(
                status=ENABLED,
                rule_id=self._place.name("versions"),
                rule_filter=scope,
                expiration=Expiration(expired_object_delete_marker=True),
                noncurrent_version_expiration=NoncurrentVersionExpiration(days),
            )
            yield "old versions", lambda: self._look_rule(old, f"removed after {days} days"), old

    def _look_uploads(self, rule: Rule) -> tuple[str, str]:
        state, message = self._look_rule(rule, f"removed after {self._wanted.abort_days} days")
        if state != THERE:
            try:
                own = self._server.stale_uploads_expiry()
            except AnswerError:
                own = None
            if own is not None:  # MinIO takes no rule for it
                return THERE, f"the server itself removes them after {own} (stale_uploads_expiry)"
        return state, message

    def _look_rule(self, rule: Rule, message: str) -> tuple[str, str]:
        found = _or_none(lambda: self._server.lifecycle(self._place.bucket)) or []
        ours = next((one for one in found if one.rule_id == rule.rule_id), None)
        if ours is None:
            return MAKE, message
        return (THERE if ours == rule else CHANGE), message

    def _set_rule(self, rule: Rule) -> None:
        """The server takes all rules of the bucket at once: those of others go back as they were."""
        others = [one for one in self._server.lifecycle(self._place.bucket) if one.rule_id != rule.rule_id]
        self._server.set_lifecycle(self._place.bucket, [*others, rule])

    def _look_other_rules(self) -> tuple[str, str]:
        data = self._place.data
        ours = {self._place.name("uploads"), self._place.name("versions")}
        try:
            found = self._server.lifecycle(self._place.bucket)
        except AnswerError:
            return THERE, "none"
        for rule in found:
            scope = (rule.rule_filter.prefix if rule.rule_filter else None) or ""
            expires = rule.expiration is not None and (rule.expiration.days or rule.expiration.date)
            meets = data.startswith(scope) or scope.startswith(data)
            if rule.rule_id not in ours and rule.status == ENABLED and expires and meets:
                return LOOK, "a lifecycle rule of the bucket removes objects of the lake when they are old: take it out"
        return THERE, "none removes objects of the lake"

    def _look_policy(self, name: str, document: dict[str, object]) -> tuple[str, str]:
        found = self._server.policy(name)
        if found is None:
            return MAKE, name
        return (THERE, name) if same_policy(found, document) else (CHANGE, f"{name} says something else")

    def _look_user(self, identity: str) -> tuple[str, str]:
        name, held = self._place.name(identity), self._secret(identity)
        user = self._server.user(name)
        if user is None:
            return MAKE, name
        if user.groups or not user.enabled:
            wrong = "was disabled: enable or remove it"
            return LOOK, f"{name} " + (
                "is in a group, which gives it more rights: take it out" if user.groups else wrong
            )
        if identity in self._wanted.renew - self._written:
            return CHANGE, f"{name} gets a new secret"
        if held is not None and not self._server.opens(held, self._place.bucket):
            return CHANGE, f"the secret of {name} is not the one in {self._path(identity)}"
        if user.policies != (name,):
            return CHANGE, f"{name} has other policies than its own"
        return THERE, name if held is not None else f"{name}; its secret lies elsewhere"

    def _set_user(self, identity: str) -> None:
        """The secret lies in its file before the server knows it: a crash in between loses none."""
        name, held = self._place.name(identity), self._secret(identity)
        user = self._server.user(name)
        if held is None and user is None:
            held = self._write_secret(identity)
        if held is not None and (user is None or not self._server.opens(held, self._place.bucket)):
            self._server.set_user(held)
            sys.audit("lake.step", "provision.user-made")
        self._server.attach(name, name)

    def _path(self, identity: str) -> Path:
        assert self._wanted.credentials is not None  # noqa: S101 - checked before anything is done
        return credential_files.path_of(self._wanted.credentials, identity)

    def _secret(self, identity: str) -> Credential | None:
        if self._wanted.credentials is None:
            return None
        held = credential_files.read(self._path(identity))
        if held is not None and held.access_key != self._place.name(identity):
            hint = "name another folder with --credentials DIR"
            raise UsageError(f"{self._path(identity)} is the credential of another store", hint=hint)
        return held

    def _write_secret(self, identity: str) -> Credential:
        self._secret(identity)
        made = Credential.new(self._place.name(identity))
        credential_files.write(self._path(identity), made)
        sys.audit("lake.step", "provision.secret-written")
        return made


def _step(name: str, look: Look, act: Act | None) -> Step:
    """Look, act if there is something to do, and look again."""
    try:
        state, message = _looked(look)
        if state not in {MAKE, CHANGE} or act is None:
            return Step(name, state, message)
        act()
        sys.audit("lake.step", f"provision.{name}")
        after, found = _looked(look)
    except AnswerError as error:
        return Step(name, CANNOT, error.message)
    if after in {MAKE, CHANGE}:
        return Step(name, CANNOT, f"the server took it and does not show it: {found}")
    return Step(name, MADE if after == THERE else after, found)


def _looked(look: Look) -> tuple[str, str]:
    try:
        return look()
    except AnswerError as error:
        if error.kind == MISSING:  # before the bucket is made
            return MAKE, "once the bucket is there"
        raise


def _or_none(ask: Callable[[], Answer]) -> Answer | None:
    """The answer; None where the bucket is still to be made."""
    try:
        return ask()
    except AnswerError as error:
        if error.kind != MISSING:
            raise
        return None
