"""AWS KMS for tests: a moto server, and before it a proxy that adds what moto lacks of the real service.

moto's are: keys, aliases, encryption with its context, re-encryption. The proxy's are, after AWS's documentation: no
use of disabled keys and of keys pending deletion, IncorrectKeyException, pages of lists, aliases that are made
atomically and go with their key. Tests may script its answers: see `Answer`.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import threading
from collections import defaultdict, deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

from tests.keys.providers.openbao_server import free_port, wait_until

Reply = tuple[int, bytes]
Answer = Callable[[Callable[[], Reply]], Reply | None]
"""Given what would forward the request, what is sent back; None hangs up."""

_HEADERS = ("Authorization", "Content-Type", "X-Amz-Target", "X-Amz-Date")
_USES = {
    "Encrypt": ["KeyId"],
    "Decrypt": ["KeyId"],
    "ReEncrypt": ["SourceKeyId", "DestinationKeyId"],
}
_REFUSALS = {"Disabled": "DisabledException", "PendingDeletion": "KMSInvalidStateException"}
_LISTS = {"ListAliases": "Aliases", "ListKeys": "Keys"}


def error(code: str, status: int = 400) -> Answer:
    """Refuses with one of AWS's codes; the message quotes a secret, as a careless service might."""
    return lambda _: _refusal(code, status)


def raw(content: bytes, status: int = 200) -> Answer:
    """Sends these bytes."""
    return lambda _: (status, content)


def dropped(forward: Callable[[], Reply]) -> Reply | None:
    """Hangs up before the request is carried out."""
    return None


def lost(forward: Callable[[], Reply]) -> Reply | None:
    """Carries the request out, and hangs up."""
    forward()
    return None


def changed(change: Callable[[dict[str, Any]], Any]) -> Answer:
    """Carries the request out, and edits the answer in place."""

    def answer(forward: Callable[[], Reply]) -> Reply:
        status, content = forward()
        fields = json.loads(content)
        change(fields)
        return status, json.dumps(fields).encode()

    return answer


def late(gate: threading.Event) -> Answer:
    """Answers nothing until the gate opens, and hangs up then."""

    def answer(forward: Callable[[], Reply]) -> Reply | None:
        gate.wait(60)
        return None

    return answer


def _refusal(code: str, status: int = 400) -> Reply:
    return status, json.dumps({"__type": code, "message": "a-secret-of-the-service"}).encode()


class KmsService:
    """A moto process and the proxy before it, both on free ports of the loopback address.

    Attributes:
        moto: moto's own address. ``url`` is the proxy's.
        script: answers to come, by operation; what is not scripted is forwarded.
        seen: bodies of the requests, by operation.
        page: items of a list per page at most.
    """

    def __init__(self, folder: Path) -> None:
        """Start both."""
        self._port = free_port()
        self.moto = f"http://127.0.0.1:{self._port}"
        with (folder / "moto.log").open("wb") as log:
            self._process = subprocess.Popen(
                [Path(sys.executable).with_name("moto_server"), "-H", "127.0.0.1", "-p", str(self._port)],
                stdout=log,
                stderr=log,
            )
        wait_until(self._up)
        self._turn = threading.Lock()
        self._states: dict[str, str] = {}
        self.reset()
        handler = type("Handler", (_Handler,), {"service": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def reset(self) -> None:
        """Forget what a test has scripted and counted; keys stay."""
        self.script: defaultdict[str, deque[Answer]] = defaultdict(deque)
        self.seen: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        self.page = 100

    def stop(self) -> None:
        """Give everything back."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._process.kill()
        self._process.wait()

    def let_time_pass(self, key_id: str) -> None:
        """The waiting time of a key is over: AWS has deleted it and its aliases."""
        self._states[key_id] = "gone"

    def answer(self, operation: str, body: bytes, headers: dict[str, str]) -> Reply | None:
        """What the proxy sends back."""
        self.seen[operation].append(json.loads(body))

        def forward() -> Reply:
            with self._turn:
                return self._enforced(operation, json.loads(body), headers)

        script = self.script[operation]
        return script.popleft()(forward) if script else forward()

    def _enforced(self, operation: str, fields: dict[str, Any], headers: dict[str, str]) -> Reply:
        asked = str(fields.get("KeyId", "")).rpartition("/")[2]
        if code := self._forbidden(operation, fields, asked):
            return _refusal(code)
        status, content = self._forward(json.dumps(fields).encode(), headers)
        if operation in {"Decrypt", "ReEncrypt"}:
            return self._right_key(operation, fields, status, content)
        if status == 200:
            self._follow(operation, asked)
            if operation in _LISTS:
                return 200, self._page(_LISTS[operation], fields, json.loads(content))
        return status, content

    def _forbidden(self, operation: str, fields: dict[str, Any], asked: str) -> str:
        """The code with which AWS refuses this for the state of a key; empty if it does not."""
        if self._states.get(asked) == "gone":
            return "NotFoundException"
        if operation == "ScheduleKeyDeletion" and self._states.get(asked) == "PendingDeletion":
            return "KMSInvalidStateException"
        for name in _USES.get(operation, []):
            state = self._states.get(str(fields.get(name, "")).rpartition("/")[2], "")
            if state in _REFUSALS:
                return _REFUSALS[state]
        return ""

    @staticmethod
    def _right_key(operation: str, fields: dict[str, Any], status: int, content: bytes) -> Reply:
        """moto refuses a ciphertext of another key as if access were denied, and re-encrypts it."""
        answer = json.loads(content) if status == 200 else {}
        if operation == "ReEncrypt" and status == 200 and answer["SourceKeyId"] != fields["SourceKeyId"]:
            return _refusal("IncorrectKeyException")
        code = "" if status == 200 else str(json.loads(content).get("__type")) if status == 400 else "damaged"
        return (status, content) if code in {"", "InvalidCiphertextException"} else _refusal("IncorrectKeyException")

    def _follow(self, operation: str, key_id: str) -> None:
        after = {
            "DisableKey": "Disabled",
            "CancelKeyDeletion": "Disabled",
            "EnableKey": "Enabled",
            "ScheduleKeyDeletion": "PendingDeletion",
        }
        if operation in after:
            self._states[key_id] = after[operation]

    def _page(self, content: str, fields: dict[str, Any], answer: dict[str, Any]) -> bytes:
        items = [item for item in answer[content] if self._states.get(item.get("TargetKeyId", "")) != "gone"]
        start, size = int(fields.get("Marker", 0)), min(self.page, int(fields.get("Limit", 100)))
        more = len(items) > start + size
        page = {content: items[start : start + size], "Truncated": more}
        return json.dumps(page | ({"NextMarker": str(start + size)} if more else {})).encode()

    def _forward(self, body: bytes, headers: dict[str, str]) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        try:
            connection.request("POST", "/", body, headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def _up(self) -> bool:
        if self._process.poll() is not None:
            raise RuntimeError("moto does not start")
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
        try:
            connection.request("GET", "/moto-api/")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()


class _Handler(BaseHTTPRequestHandler):
    """One connection to the proxy."""

    service: ClassVar[KmsService]
    protocol_version = "HTTP/1.1"
    # An answer in two small packets would wait for the other side's delayed acknowledgement.
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        operation = self.headers["X-Amz-Target"].rpartition(".")[2]
        headers = {name: self.headers[name] for name in _HEADERS if name in self.headers}
        reply = self.service.answer(operation, body, headers)
        if reply is None:
            self.close_connection = True
            return
        self.send_response(reply[0])
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(reply[1])))
        self.end_headers()
        self.wfile.write(reply[1])

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        """Tests need no access log."""
