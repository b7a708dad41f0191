"""Connections that break, dawdle, come in numbers, or come with certificates."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from tests import world as w
from tests.gateway.receiving.site import SMALL, Site, asking, heard, ndjson, read, site_of, trusting, wait_for
from tests.keys.remote.hosts import Authority, Identity
from tests.world import ADA, World


@pytest.fixture
def quick(world: World, authority: Authority, identity: Identity) -> Iterator[Site]:
    """A server that is soon impatient."""
    with site_of(world, authority, identity, connections=8, **SMALL) as opened:
        yield opened


def ended(connection: socket.socket) -> bytes:
    """What comes until the server ends the connection."""
    received = b""
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while piece := connection.recv(65_536):
            received += piece
    return received


def test_a_cut_at_any_byte_lands_nothing(own: Site) -> None:
    """Wherever the connection ends before its last byte; then the whole batch lands, once."""
    device = own.device()
    device.renew()
    body = ndjson(device.rows(1, 2, 3))
    request = device.raw(body, batch="cut")
    head = request.index(b"\r\n\r\n")
    cuts = [0, 1, 30, head // 2, head, head + 2, head + 3, head + 4, head + 5, len(request) - 100, len(request) - 1]
    for cut in cuts:
        with own.socket() as connection:
            connection.sendall(request[:cut])
    wait_for(lambda: own.receiving.budget.uploads == 0)
    assert own.batches() == 1  # the one that was there before
    assert own.receiving.budget.buffered == 0
    assert own.entries("ingest.refused") == []
    for repeated in (False, True):
        answer = device.send(body, batch="cut")
        assert (answer.status, answer.document["repeated"]) == (200, repeated)
    assert own.numbers() == [1, 2, 3]


def test_a_client_that_goes_before_its_answer_has_sent_all(own: Site) -> None:
    """The batch lands, and sending it again says so."""
    device = own.device()
    device.renew()
    body = ndjson(device.rows(7))
    with own.socket() as connection:
        connection.sendall(device.raw(body, batch="unheard"))
        wait_for(lambda: own.batches() == 2)
    wait_for(lambda: own.receiving.budget.uploads == 0)
    assert device.send(body, batch="unheard").document["repeated"]
    assert own.numbers() == [7]


def test_headers_that_do_not_come(quick: Site) -> None:
    """A connection that says nothing, or one byte now and then, is ended."""
    with quick.socket() as silent, quick.socket() as slow:
        slow.sendall(b"POST /v1/batches HTTP/1.1\r\nHost: lake\r\nX: ")
        dripping = threading.Event()

        def drip() -> None:
            with contextlib.suppress(OSError):
                while not dripping.wait(0.2):
                    slow.sendall(b"x")

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            assert ended(silent) == b""
            wait_for(lambda: not quick.receiving._http.connections)
        finally:
            dripping.set()
            thread.join()
    assert quick.device().renew().status == 200


def test_a_handshake_that_does_not_come(quick: Site) -> None:
    """It is given up, and holds nothing."""
    with socket.create_connection(quick.place, timeout=60) as plain:
        assert plain.recv(1) == b""
    assert quick.device().renew().status == 200


@pytest.mark.parametrize("way", ["stops", "drips"])
def test_bodies_that_do_not_come(quick: Site, way: str) -> None:
    """They are answered with 408 after some seconds, and give their room back."""
    device = quick.device()
    device.renew()
    request = device.raw(ndjson(device.rows(*range(200))))
    begun = request.index(b"\r\n\r\n") + 9
    stop = threading.Event()
    with quick.socket() as connection:
        connection.sendall(request[:begun])

        def drip() -> None:
            with contextlib.suppress(OSError):
                for start in range(begun, len(request)):
                    if stop.wait(0.1):
                        return
                    connection.sendall(request[start : start + 1])

        thread = threading.Thread(target=drip if way == "drips" else stop.wait)
        thread.start()
        try:
            received = ended(connection)
        finally:
            stop.set()
            thread.join()
    assert received.startswith(b"HTTP/1.1 408 "), received
    assert b'"code":"too_slow"' in received
    assert (quick.receiving.budget.uploads, quick.receiving.budget.buffered) == (0, 0)
    assert quick.batches() == 1


def test_headers_that_are_too_long(quick: Site) -> None:
    """They are refused before they are whole."""
    with quick.socket() as connection:
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            connection.sendall(b"GET / HTTP/1.1\r\nX: " + b"x" * 200_000)
        received = ended(connection)
    assert received == b"" or received.startswith(b"HTTP/1.1 400 ")
    assert quick.device().renew().status == 200


def test_requests_that_could_be_read_in_two_ways(quick: Site) -> None:
    """Two lengths, or a length and chunks."""
    device = quick.device()
    device.renew()
    request = device.raw(ndjson(device.rows(1)))
    head, _, body = request.partition(b"\r\n\r\n")
    for line in (b"Content-Length: 1", b"Content-Length: -1", b"Transfer-Encoding: gzip"):
        with quick.socket() as connection:
            connection.sendall(head + b"\r\n" + line + b"\r\n\r\n" + body)
            assert ended(connection).split(b" ", 2)[1] in {b"400", b"501"}
    assert quick.batches() == 1


def test_too_many_connections(quick: Site) -> None:
    """One more than the limit is ended at once; the others are served."""
    with contextlib.ExitStack() as opened:
        kept = [quick.socket() for _ in range(8)]
        for connection in kept:
            opened.enter_context(connection)
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: lake\r\n\r\n")
            assert heard(connection).status == 200
        with contextlib.suppress(ConnectionError, ssl.SSLError), quick.socket() as more:
            more.sendall(b"GET /healthz HTTP/1.1\r\nHost: lake\r\n\r\n")
            assert ended(more) == b""
        kept[0].sendall(b"GET /healthz HTTP/1.1\r\nHost: lake\r\n\r\n")
        assert heard(kept[0]).status == 200


def test_a_connection_is_kept_between_requests(site: Site) -> None:
    """Also after a refusal whose body was read."""
    device = site.device()
    device.renew()
    connection = site.connection()
    try:
        for number, good in enumerate([True, False, True]):
            body = ndjson(device.rows(number))
            headers = device.request(body, **({} if good else {"lease": "a.b.c"}))
            connection.request("POST", "/v1/batches", body, headers)
            assert read(connection).status == (200 if good else 403)
    finally:
        connection.close()


def test_a_certificate_says_which_device_it_is(own: Site, authority: Authority) -> None:
    """At its address a token is not looked at; a certificate that nobody is enrolled with lets nobody in."""
    known, stranger = authority.issue("laptop-7.example"), authority.issue("stranger.example")
    der = x509.load_pem_x509_certificate(known.certificate.read_bytes()).fingerprint(hashes.SHA256()).hex()
    own.collection.devices.enrol(own.lake.actor, "laptop-7", employee=ADA, region="eu", team="sales", certificate=der)
    body = asking("focus")
    token = own.device("ben-1").headers
    for identity, headers in ((known, {}), (known, token), (stranger, {}), (stranger, token)):
        connection = own.connection(trusting(authority, identity), index=1)
        connection.request("POST", "/v1/leases", body, headers)
        assert read(connection).status == (200 if identity is known else 401)
        connection.close()
    entry = own.entries("lease.grant")[-1]
    assert entry["actor"]["p"] == own.collection.devices.tag("laptop-7")
    bare = own.connection(index=1)
    heard_nothing = False
    try:
        bare.request("POST", "/v1/leases", body)
        read(bare)
    except (ssl.SSLError, ConnectionError):
        heard_nothing = True
    finally:
        bare.close()
    assert heard_nothing


def test_only_tls_1_3(own: Site, authority: Authority) -> None:
    """And nothing in the clear."""
    old = trusting(authority)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError), socket.create_connection(own.place) as plain:
        old.wrap_socket(plain, server_hostname="127.0.0.1")
    with socket.create_connection(own.place) as plain:
        plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: lake\r\n\r\n")
        assert b"200" not in ended(plain)


def test_without_tls(template: World, tmp_path: Path) -> None:
    """For tests and proxies on the same machine."""
    with site_of(w.copy(template, tmp_path), None, None) as plain:
        assert plain.receiving.addresses[0].startswith("http://")
        device = plain.device()
        assert device.send(ndjson(device.rows(5))).status == 200
        assert plain.numbers() == [5]
