"""The identity file: who may vouch for callers. docs/operations/identity.md has the format."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

from lake.gateway.identity import rules as r
from lake.gateway.identity.durations import read_duration
from lake.gateway.identity.https import split_url
from lake.gateway.identity.signatures import ASYMMETRIC
from lake.gateway.owned import read_owned
from lake.rules.document import Node, read_document
from lake.rules.model import NAME
from lake.rules.policy_document import USER

MAX_ISSUERS = 20
_CERTIFICATE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,252}")
_PREFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,31}")
_CLAIM_KEYS = (
    "user_claim",
    "user_prefix",
    "groups_claim",
    "employee_claim",
    "attributes",
    "purpose_claim",
    "scope_prefix",
    "token_type",
    "require",
    "max_lifetime",
)
_KEYS = ("algorithms", "ca_file", "keys_max_age", "keys_outage", *_CLAIM_KEYS)
_MINUTE, _DAY = timedelta(minutes=1), timedelta(days=1)


def load_identity(path: Path) -> r.IdentityRules:
    """The identity file, which nobody but its owner may change: who writes it says who anybody is.

    Raises:
        UsageError: it cannot be read, or others can write it.
        DocumentError: it is not valid; names line and column.
    """
    return read_identity(read_owned(path, "say who they are"), str(path), path.parent)


def read_identity(text: str, source: str, folder: Path) -> r.IdentityRules:
    """Read an identity file; a relative ``ca_file`` lies in ``folder``.

    Raises:
        DocumentError: anything unknown or contradictory, or nobody is named.
    """
    root = read_document(text, source)
    found = root.mapping(optional=("issuers", "certificates", "local_tokens", "clock_skew"))
    certificates = dict(_service(name, node) for name, node in _items(found.get("certificates")))
    issuers = _issuers(found["issuers"], folder) if "issuers" in found else ()
    local = found["local_tokens"].boolean() if "local_tokens" in found else False
    skew = r.CLOCK_SKEW
    if "clock_skew" in found:
        skew = read_duration(found["clock_skew"], minimum=timedelta(seconds=1), maximum=5 * _MINUTE)
    if not issuers and not certificates and not local:
        raise root.error("nobody can be authenticated by this", hint="name issuers, certificates or local_tokens: true")
    return r.IdentityRules(issuers, certificates, local, skew)


def _items(node: Node | None) -> list[tuple[str, Node]]:
    return list(node.items()) if node else []


def _service(name: str, node: Node) -> tuple[str, r.ServiceRules]:
    if _CERTIFICATE.fullmatch(name) is None:
        raise node.error(f"{name[:64]!r} is not the name of a certificate", hint=f"expected {_CERTIFICATE.pattern}")
    part = node.mapping(required=("user", "purposes"), optional=())
    purposes = tuple(dict.fromkeys(item.name(NAME) for item in part["purposes"].sequence()))
    if not purposes:
        raise part["purposes"].error("the list is empty", hint="leave the certificate out instead")
    return name, r.ServiceRules(part["user"].name(USER), purposes)


def _issuers(node: Node, folder: Path) -> tuple[r.IssuerRules, ...]:
    items = node.sequence()
    if len(items) > MAX_ISSUERS:
        raise node.error(f"more than {MAX_ISSUERS} issuers")
    parts = [item.mapping(required=("issuer", "audience"), optional=_KEYS) for item in items]
    prefixes = [part["user_prefix"].name(_PREFIX) if "user_prefix" in part else "" for part in parts]
    issuers: list[r.IssuerRules] = []
    for at, (item, part) in enumerate(zip(items, parts, strict=True)):
        others = [prefix for place, prefix in enumerate(prefixes) if place != at]
        # With equal beginnings, one issuer could give the names of the other's users.
        if prefixes[at] in others or (prefixes[at] and any(p and p.startswith(prefixes[at]) for p in others)):
            raise item.error("another issuer's user_prefix begins like this one's", hint="give each one of its own")
        issuer = _issuer(part, prefixes[at], tuple(filter(None, others)), folder)
        if any(issuer.issuer == other.issuer for other in issuers):
            raise part["issuer"].error("this issuer stands here twice")
        issuers.append(issuer)
    return tuple(issuers)


def _issuer(part: dict[str, Node], prefix: str, others: tuple[str, ...], folder: Path) -> r.IssuerRules:
    url = part["issuer"].string()
    parts = split_url(url, plain=True)
    if parts is None or parts.query:
        raise part["issuer"].error("not the https URL of an issuer", hint="http is for hosts of this machine only")
    algorithms = ASYMMETRIC
    if "algorithms" in part:
        algorithms = frozenset(item.one_of(ASYMMETRIC) for item in part["algorithms"].sequence())
        if not algorithms:
            raise part["algorithms"].error("the list is empty", hint="leave it out for all")
    return r.IssuerRules(
        url,
        _claims(part, prefix, () if prefix else others),
        algorithms,
        folder / part["ca_file"].string() if "ca_file" in part else None,
        _duration(part, "keys_max_age", r.KEYS_MAX_AGE, _MINUTE),
        _duration(part, "keys_outage", r.KEYS_OUTAGE, _MINUTE, 7 * _DAY),
    )


def _claims(part: dict[str, Node], prefix: str, foreign: tuple[str, ...]) -> r.ClaimRules:
    texts = {key: part[key].string(max_length=200) for key in _CLAIM_KEYS if key in part and key in _TEXTS}
    attributes = [(_named(name, node), node.string(max_length=200)) for name, node in _items(part.get("attributes"))]
    required = [(name, _listed(node)) for name, node in _items(part.get("require"))]
    return r.ClaimRules(
        audiences=_listed(part["audience"]),
        user_claim=texts.get("user_claim", "sub"),
        user_prefix=prefix,
        foreign_prefixes=foreign,
        groups_claim=texts.get("groups_claim"),
        employee_claim=texts.get("employee_claim"),
        attributes=tuple(attributes),
        purpose_claim=texts.get("purpose_claim", "purpose"),
        scope_prefix=texts.get("scope_prefix"),
        token_type=texts.get("token_type"),
        required=tuple(required),
        max_lifetime=_duration(part, "max_lifetime", r.MAX_LIFETIME, _MINUTE, 30 * _DAY),
    )


_TEXTS = {"user_claim", "groups_claim", "employee_claim", "purpose_claim", "scope_prefix", "token_type"}


def _named(name: str, node: Node) -> str:
    if NAME.fullmatch(name) is None:
        raise node.error(f"{name[:64]!r} is not a valid name", hint=f"expected {NAME.pattern}")
    return name


def _listed(node: Node) -> frozenset[str]:
    """A text or a list of texts."""
    if node.is_scalar():
        return frozenset({node.string(max_length=200)})
    texts = frozenset(item.string(max_length=200) for item in node.sequence())
    if not texts:
        raise node.error("the list is empty")
    return texts


def _duration(
    part: dict[str, Node], key: str, default: timedelta, minimum: timedelta, maximum: timedelta = _DAY
) -> timedelta:
    return read_duration(part[key], minimum=minimum, maximum=maximum) if key in part else default
