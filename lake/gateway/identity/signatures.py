"""The algorithms that count, the keys that fit them, and the check of a signature.

Asymmetric algorithms are for issuers, HS256 for the lake's own tokens; no key meets an algorithm of the other kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, JWKRegistry, Key, OKPKey, RSAKey
from joserfc.jws import JWSRegistry
from joserfc.util import urlsafe_b64decode

from lake.gateway.identity.tokens import MAX_KEY_ID, UnverifiedToken

LOCAL = "HS256"
_CURVES = {"RS256": None, "PS256": None, "ES256": "P-256", "ES384": "P-384", "EdDSA": "Ed25519"}
ASYMMETRIC = frozenset(_CURVES)

MAX_KEYS = 100
_RSA_BITS = range(2048, 8193)
_RSA_EXPONENTS = range(3, 1 << 32)
_PRIVATE = frozenset({"d", "p", "q", "k"})


def read_keys(document: Mapping[str, Any]) -> dict[str, tuple[Key, ...]]:
    """The keys of a JWKS that can check signatures, by key id; what is no such key is left out."""
    listed = document.get("keys")
    found: dict[str, tuple[Key, ...]] = {}
    for item in listed[:MAX_KEYS] if isinstance(listed, list) else ():
        key = _read_key(item) if isinstance(item, dict) else None
        if key is not None and key.kid:
            found[key.kid] = (*found.get(key.kid, ()), key)
    return found


def fits(key: Key, algorithm: str) -> bool:
    """Whether an issuer's key is one for this algorithm."""
    if algorithm not in ASYMMETRIC or not isinstance(key, RSAKey | ECKey | OKPKey):
        return False
    curve = None if isinstance(key, RSAKey) else key.curve_name
    if curve != _CURVES[algorithm]:
        return False
    try:
        JWSRegistry.algorithms[algorithm].check_key(key)
    except JoseError:
        return False
    return True


def is_signed(token: UnverifiedToken, key: Key) -> bool:
    """Whether the token's signature is one of this key, which the caller has found to fit the token's algorithm."""
    # Asked directly, as the library's way there warns of EdDSA's name at every call.
    try:
        return JWSRegistry.algorithms[token.algorithm].verify(token.signed, token.signature, key)
    except (JoseError, ValueError):
        return False


def _read_key(item: dict[str, Any]) -> Key | None:
    """A public key from its JWK; None if it is not one that is used here."""
    kind, key_id = item.get("kty"), item.get("kid")
    if not isinstance(kind, str) or kind not in {"RSA", "EC", "OKP"} or not _PRIVATE.isdisjoint(item):
        return None
    if not isinstance(key_id, str) or not 0 < len(key_id) <= MAX_KEY_ID or (kind == "RSA" and not _strong(item)):
        return None
    try:
        key = JWKRegistry.import_key(item)
        key.check_use("sig")
        key.check_key_op("verify")
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    return key


def _strong(item: Mapping[str, Any]) -> bool:
    try:
        modulus, exponent = (int.from_bytes(urlsafe_b64decode(item[name].encode())) for name in ("n", "e"))
    except (ValueError, KeyError, AttributeError):
        return False
    return modulus.bit_length() in _RSA_BITS and exponent in _RSA_EXPONENTS
