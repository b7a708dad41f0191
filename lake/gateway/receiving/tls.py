"""TLS of the ingest server: 1.3 only, and at the address for certificates nobody gets in without one."""

from __future__ import annotations

import ssl

from keys.secretfiles import read_secret_file
from lake.errors import UsageError
from lake.gateway.flight.door import Address


def server_context(address: Address) -> ssl.SSLContext | None:
    """The context of an address; None if it has no TLS.

    Raises:
        UsageError: a file is not what it should be.
        SecretFileError: the key's is open to others.
    """
    if address.certificate is None or address.key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # No resumption: every connection shows its certificate.
    context.num_tickets = 0
    context.set_alpn_protocols(["http/1.1"])
    read_secret_file(address.key)
    try:
        context.load_cert_chain(address.certificate, address.key, password=lambda: b"")
        if address.client_ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(address.client_ca)
    except (OSError, ValueError):  # an SSLError is an OSError
        raise UsageError(
            "certificate, key and the clients' CA do not make a TLS identity",
            hint="PEM files: a certificate chain, its key without a passphrase, and the CA of devices",
        ) from None
    return context
