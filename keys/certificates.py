"""Certificates for the processes of one lake on machines without a CA of their own.

A new authority signs all of them and its key is forgotten: nobody can add a host later, and whoever wants other
certificates makes all of them anew. A company with a CA uses that instead.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SKEW = timedelta(hours=1)
"""How far the clock of another machine may be behind."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate and its private key, both PEM; the key is not shown."""

    certificate: bytes
    key: bytes

    def __repr__(self) -> str:
        return "Issued(...)"


def issue(
    servers: Mapping[str, Sequence[str]], clients: Sequence[str], lifetime: timedelta
) -> tuple[bytes, dict[str, Issued]]:
    """A new authority's certificate (PEM), and what it signed, by name.

    Args:
        servers: for each, the DNS names and addresses that it is called by.
        clients: hosts that show themselves to a server; each one's name is the only one in its certificate.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "telemetry-lake")])
    now = datetime.now(UTC)

    def builder(subject: x509.Name, public: ec.EllipticCurvePublicKey, *, signs: bool) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - SKEW)
            .not_valid_after(now + lifetime)
            .add_extension(x509.BasicConstraints(ca=signs, path_length=0 if signs else None), critical=True)
            .add_extension(_usage(signs=signs), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        )

    def signed(names: Sequence[str], usage: x509.ObjectIdentifier) -> Issued:
        own = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        certificate = (
            builder(subject, own.public_key(), signs=False)
            .add_extension(x509.SubjectAlternativeName([_general(one) for one in names]), critical=False)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .sign(key, hashes.SHA256())
        )
        return Issued(_pem(certificate), _private(own))

    found = {server: signed(names, ExtendedKeyUsageOID.SERVER_AUTH) for server, names in servers.items()}
    found |= {client: signed([client], ExtendedKeyUsageOID.CLIENT_AUTH) for client in clients}
    return _pem(builder(name, key.public_key(), signs=True).sign(key, hashes.SHA256())), found


def _general(name: str) -> x509.GeneralName:
    with suppress(ValueError):
        return x509.IPAddress(ipaddress.ip_address(name))
    return x509.DNSName(name)


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


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
