"""Certificates of a set of processes: names, purposes, and an authority that signs no more."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from keys.certificates import Issued, issue

LIFETIME = timedelta(days=30)


@pytest.fixture(scope="module")
def issued() -> tuple[x509.Certificate, dict[str, Issued]]:
    """An authority, a server and two hosts."""
    ca, found = issue({"broker": ("broker", "127.0.0.1")}, ("gateway-host", "jobs-host"), LIFETIME)
    return x509.load_pem_x509_certificate(ca), found


def read(pair: Issued) -> x509.Certificate:
    """The certificate of a pair, whose key is its own."""
    certificate = x509.load_pem_x509_certificate(pair.certificate)
    assert load_pem_private_key(pair.key, None).public_key() == certificate.public_key()
    return certificate


def test_a_server_is_known_by_its_names(issued: tuple[x509.Certificate, dict[str, Issued]]) -> None:
    """By each of them, and by no other."""
    ca, found = issued
    policy = PolicyBuilder().store(Store([ca]))
    policy.build_server_verifier(x509.DNSName("broker")).verify(read(found["broker"]), [])
    with pytest.raises(VerificationError):
        policy.build_server_verifier(x509.DNSName("gateway")).verify(read(found["broker"]), [])
    with pytest.raises(VerificationError):
        policy.build_server_verifier(x509.DNSName("gateway-host")).verify(read(found["gateway-host"]), [])


def test_a_host_has_one_name_and_is_no_server(issued: tuple[x509.Certificate, dict[str, Issued]]) -> None:
    """A role hangs on that name."""
    ca, found = issued
    verified = PolicyBuilder().store(Store([ca])).build_client_verifier().verify(read(found["jobs-host"]), [])
    assert verified.subjects == [x509.DNSName("jobs-host")]
    usage = read(found["jobs-host"]).extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]


def test_another_authority_counts_for_nothing(issued: tuple[x509.Certificate, dict[str, Issued]]) -> None:
    """Though it has the same name."""
    other, _ = issue({}, ("jobs-host",), LIFETIME)
    verifier = PolicyBuilder().store(Store([x509.load_pem_x509_certificate(other)])).build_client_verifier()
    with pytest.raises(VerificationError):
        verifier.verify(read(issued[1]["jobs-host"]), [])


def test_they_end(issued: tuple[x509.Certificate, dict[str, Issued]], tmp_path: Path) -> None:
    """With the authority; and what ssl loads is what was made. Keys are not shown."""
    ca, found = issued
    for certificate in (ca, *(read(pair) for pair in found.values())):
        assert timedelta(0) <= LIFETIME - (certificate.not_valid_after_utc - datetime.now(UTC)) < timedelta(hours=1)
    (tmp_path / "c").write_bytes(found["broker"].certificate)
    (tmp_path / "k").write_bytes(found["broker"].key)
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tmp_path / "c", tmp_path / "k")
    assert "PRIVATE" not in repr(found)
