"""An identity provider on this machine: discovery, keys and tokens, and every way in which one can misbehave."""

from __future__ import annotations

import base64
import json
import ssl
import threading
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from tests.world import NOW

AUDIENCE = "lake-gateway"
HOUR = 3600
SECONDS = int(NOW.timestamp())
DISCOVERY, JWKS = "/.well-known/openid-configuration", "/keys"


@cache
def new_key(algorithm: str, key_id: str) -> Key:
    """A private key, the same for the same words."""
    named: Any = {"kid": key_id}
    match algorithm:
        case "RS256" | "PS256":
            return RSAKey.generate_key(2048, named)
        case "ES256" | "ES384":
            return ECKey.generate_key("P-256" if algorithm == "ES256" else "P-384", named)
        case "EdDSA":
            return OKPKey.generate_key("Ed25519", named)
        case _:
            return OctKey.generate_key(256, named)


def encoded(part: Mapping[str, Any] | bytes) -> bytes:
    """A part of a token."""
    content = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(content).rstrip(b"=")


def minted(header: Mapping[str, Any] | bytes, claims: Mapping[str, Any] | bytes, key: Key, algorithm: str) -> str:
    """A token of exactly these parts, rightly signed."""
    signed = encoded(header) + b"." + encoded(claims)
    return (signed + b"." + encoded(JWSRegistry.algorithms[algorithm].sign(signed, key))).decode()


class Provider:
    """The provider; its ``mode`` says how it answers, ``asked`` counts what it was asked for."""

    def __init__(self, tls: tuple[Path, Path] | None = None) -> None:
        self.mode = "well"
        self.asked: Counter[str] = Counter()
        self.keys: list[Mapping[str, Any]] = []
        self.discovery: dict[str, Any] = {}
        self.reached, self.released = threading.Event(), threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"provider": self}))
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.issuer = f"{'https' if tls else 'http'}://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.publish(new_key("ES256", "first"))

    def publish(self, *keys: Key) -> None:
        """These are its keys now."""
        self.keys = [key.as_dict(private=False) for key in keys]

    def claims(self, **changes: Any) -> dict[str, Any]:
        """The claims of a good token, changed; None takes one away."""
        good = {
            "iss": self.issuer,
            "aud": AUDIENCE,
            "sub": "mira-canary",
            "purpose": "study",
            "iat": SECONDS,
            "exp": SECONDS + HOUR,
        }
        return {name: value for name, value in (good | changes).items() if value is not None}

    def token(self, algorithm: str = "ES256", key_id: str = "first", **changes: Any) -> str:
        """A good token with some claims changed."""
        header = {"alg": algorithm, "kid": key_id}
        return minted(header, self.claims(**changes), new_key(algorithm, key_id), algorithm)

    def close(self) -> None:
        """Stop."""
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    provider: Provider

    def do_GET(self) -> None:
        """Answer as the mode says."""
        provider = self.provider
        provider.asked[self.path] += 1
        if self.path == DISCOVERY:
            document: Any = {"issuer": provider.issuer, "jwks_uri": provider.issuer + JWKS} | provider.discovery
        else:
            document = {"keys": provider.keys}
        content = json.dumps(document).encode()
        match provider.mode:
            case "well":
                self._answer(200, content)
            case "down":
                self._answer(503, content)
            case "moved":
                self._answer(302, content, Location=provider.issuer + "/elsewhere" + self.path)
            case "silent":
                provider.reached.set()
                provider.released.wait(30)
            case "dripping":
                self._drip(content)
            case "endless":
                self._answer(200, json.dumps(document | {"filler": "x" * 300_000}).encode())
            case "html":
                self._answer(200, b"<html>" + content)
            case "cut":
                self._answer(200, content[:-1])
            case "twice":
                self._answer(200, content.replace(b"{", b'{"keys": [], "issuer": "", ', 1))

    def _answer(self, status: int, content: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def _drip(self, content: bytes) -> None:
        """The whole answer, a byte at a time: each comes soon enough, all of them take ten seconds and more."""
        try:
            for byte in b"HTTP/1.0 200 OK\r\n\r\n" + content.rjust(300):
                self.wfile.write(bytes([byte]))
                self.provider.released.wait(0.04)
        except OSError:
            return

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""


def at(seconds: float) -> datetime:
    """So many seconds after the time of the tests."""
    return datetime.fromtimestamp(SECONDS + seconds, NOW.tzinfo)
