"""One request to an ingest server: TLS under the pinned CA, in bounded time and memory, and nothing followed."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import ssl
import threading
import urllib.parse
from collections.abc import Mapping
from contextlib import suppress
from importlib import metadata
from typing import Any

from keys.errors import KeysError
from keys.secretfiles import read_secret_file
from lake.collector.answers import Answer, Asked
from lake.collector.settings import CollectorSettings
from lake.errors import UnavailableError, UsageError

VERSION = metadata.version("telemetry-lake")
TOO_LARGE = 413
LARGEST_ANSWER = 2 * 1024 * 1024


class Client:
    """Speaks for one device; may be shared by threads, as each request has a connection of its own.

    Raises:
        UsageError: the address, the CA or the certificate cannot be used.
    """

    def __init__(self, settings: CollectorSettings) -> None:
        parts = urllib.parse.urlsplit(settings.server)
        try:
            self._place = parts.hostname or "", parts.port or 443
        except ValueError:
            raise UsageError("the server's port is none", hint="server: https://HOST:PORT") from None
        if not self._place[0] or parts.path not in {"", "/"} or parts.query or "@" in parts.netloc:
            raise UsageError("the server's address is none", hint="server: https://HOST:PORT")
        self._token_file = settings.token_file
        self._timeout = settings.timeout
        self._context = _context(settings)

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        within: float | None = None,
    ) -> Answer:
        """One request and its answer, whatever its status.

        Args:
            within: seconds for all of it.

        Raises:
            UnavailableError: no answer in time, or none that is HTTP with JSON.
        """
        seconds = max(0.05, min(within or self._timeout, self._timeout))
        connection = http.client.HTTPSConnection(*self._place, timeout=seconds, context=self._context)
        # A server that drips byte by byte meets every time-out but this.
        watchdog = threading.Timer(seconds, _cut, [connection])
        watchdog.daemon = True
        watchdog.start()
        try:
            # Who finds a body too large answers before its end and closes. What was said may still be read.
            with suppress(BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
                connection.request(method, path, body, {**self._credential(), **(headers or {})})
            response = connection.getresponse()
            content = response.read(LARGEST_ANSWER + 1)
            if response.length and response.status == TOO_LARGE:  # its status is enough
                content = b""
            elif response.length:
                raise http.client.IncompleteRead(b"")  # cut off, or too long
            after = response.headers.get("Retry-After", "")
        except (OSError, http.client.HTTPException, ValueError) as error:
            what = "its certificate is not trusted" if isinstance(error, ssl.SSLCertVerificationError) else "no answer"
            raise UnavailableError(f"the ingest server cannot be reached: {what}", hint="tried again later") from None
        finally:
            watchdog.cancel()
            connection.close()
        return Answer(response.status, _document(content), float(after) if after.isdecimal() else None)

    def lease(self, asked: Asked, *, within: float | None = None) -> Answer:
        """Ask for a lease."""
        wanted = {
            "dataset": asked.dataset,
            "types": sorted(asked.types),
            "version": asked.version,
            "nonce": asked.nonce,
        }
        return self.ask("POST", "/v1/leases", _json(wanted), _JSON, within=within)

    def acknowledge(self, mark: int) -> Answer:
        """Say that what pauses up to a mark forbid has stopped."""
        return self.ask("POST", "/v1/acknowledgements", _json({"mark": mark}), _JSON)

    def contract(self, dataset: str, version: int | None) -> Answer:
        """A contract in force, the newest if no version is named."""
        query = "" if version is None else f"?version={version}"
        return self.ask("GET", f"/v1/contracts/{dataset}{query}")

    def send(self, header: Mapping[str, Any], body: bytes) -> tuple[dict[str, Any], Answer]:
        """Send a batch; gives its whole header too."""
        whole = {**header, "content": f"sha256:{hashlib.sha256(body).hexdigest()}", "collector": VERSION}
        packed = base64.urlsafe_b64encode(_json(whole)).decode().rstrip("=")
        words = {"Lake-Batch": packed, "Content-Type": "application/x-ndjson", "Content-Encoding": "gzip"}
        return whole, self.ask("POST", "/v1/batches", body, words)

    def _credential(self) -> dict[str, str]:
        if self._token_file is None:
            return {}
        try:
            token = read_secret_file(self._token_file).decode("ascii", "replace").strip()
        except KeysError as error:
            raise UnavailableError(error.message, hint=error.hint) from None
        if not token.isascii() or not token.isprintable() or " " in token:
            raise UnavailableError(f"{self._token_file} holds no token", hint="'lake device token' makes one")
        return {"Authorization": f"Bearer {token}"}


_JSON = {"Content-Type": "application/json"}


def _context(settings: CollectorSettings) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(settings.ca)
        if settings.certificate is not None:
            context.load_cert_chain(settings.certificate, settings.key, password=_no_password)
    except (OSError, ssl.SSLError, ValueError):
        raise UsageError(
            "the CA or the certificate cannot be used", hint="PEM files, the key without password"
        ) from None
    return context


def _no_password() -> str:
    raise ValueError("keys with a password are not asked for one")


def _cut(connection: http.client.HTTPSConnection) -> None:
    with suppress(OSError, AttributeError):
        connection.sock.shutdown(2)


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode()


def _document(content: bytes) -> dict[str, Any]:
    """An answer's JSON object; nothing else is one."""
    try:
        found = json.loads(content) if len(content) <= LARGEST_ANSWER else None
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {}
