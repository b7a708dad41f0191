"""TLS: tokens at one address, certificates at another, and neither where the other counts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.flight as fl
import pytest

from keys.errors import SecretFileError
from lake.errors import UsageError
from lake.gateway.flight.door import Address
from lake.gateway.identity.rules import IdentityRules, ServiceRules
from lake.gateway.service import GatewayService
from lake.wire import flight_sql as wire
from tests.gateway.flight.asking import COUNT, ask, query, refusal
from tests.gateway.flight.doors import Opened, opened
from tests.keys.remote.hosts import Authority, Identity

SERVICE = "nightly.lake.example"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The CA of server and services."""
    return Authority(tmp_path_factory.mktemp("ca"), "flight-ca")


@pytest.fixture
def server(authority: Authority) -> Identity:
    """The gateway's certificate."""
    return authority.issue("localhost", server=True)


@pytest.fixture
def secure(service: GatewayService, authority: Authority, server: Identity) -> Iterator[Opened]:
    """A door with both addresses."""
    addresses = [
        Address("127.0.0.1", 0, server.certificate, server.key),
        Address("127.0.0.1", 0, server.certificate, server.key, authority.file),
    ]
    rules = IdentityRules((), {SERVICE: ServiceRules("stu", ("study", "incident"))}, local_tokens=True)
    with opened(service, rules=rules, addresses=addresses) as found:
        yield found


def connect(url: str, authority: Authority, own: Identity | None = None) -> fl.FlightClient:
    """A client that trusts the CA, with a certificate of its own or without."""
    shown: dict[str, Any] = {}
    if own is not None:
        shown = {"cert_chain": own.certificate.read_bytes(), "private_key": own.key.read_bytes()}
    return fl.FlightClient(url, tls_root_certs=authority.file.read_bytes(), **shown)


def test_tokens_over_tls(secure: Opened, authority: Authority) -> None:
    """As without."""
    with connect(secure.door.addresses[0], authority) as client:
        assert ask(client, secure.options(), wire.CommandStatementQuery(query=COUNT)).to_pylist() == [{"n": 144}]
        assert refusal(lambda: list(client.list_actions()))[0] is fl.FlightUnauthenticatedError


def test_a_certificate_says_who_is_there(secure: Opened, authority: Authority) -> None:
    """And the header what for."""
    with connect(secure.door.addresses[1], authority, authority.issue(SERVICE)) as client:
        options = fl.FlightCallOptions(headers=[(b"x-lake-purpose", b"study")])
        assert ask(client, options, wire.CommandStatementQuery(query=COUNT)).to_pylist() == [{"n": 66}]
        kind, _ = refusal(lambda: client.get_flight_info(query(COUNT)))
        assert kind is fl.FlightUnauthenticatedError


def test_a_certificate_that_is_not_named_lets_nobody_in(secure: Opened, authority: Authority) -> None:
    """Whoever signed it, and whatever token is shown with it."""
    with connect(secure.door.addresses[1], authority, authority.issue("other.lake.example")) as client:
        calls = (
            lambda: client.get_flight_info(query(COUNT), secure.options()),
            lambda: list(client.list_actions(secure.options())),
            lambda: client.do_get(fl.Ticket(b"x"), secure.options()).read_all(),
            lambda: list(client.do_action(fl.Action("CloseSession", b""), secure.options())),
        )
        for call in calls:
            assert refusal(call)[0] is fl.FlightUnauthenticatedError
    assert secure.metric('lake_gateway_unauthenticated_total{reason="certificate"}') == len(calls)


def test_the_address_for_certificates_takes_no_tokens(secure: Opened, authority: Authority) -> None:
    """A token is not looked at there: the certificate says who it is."""
    with connect(secure.door.addresses[1], authority, authority.issue(SERVICE)) as client:
        options = secure.options(x_lake_purpose="study")
        assert ask(client, options, wire.CommandStatementQuery(query=COUNT)).to_pylist() == [{"n": 66}]
        with pytest.raises(NotImplementedError):
            client.authenticate_basic_token("any", secure.token())


@pytest.mark.parametrize("whose", ["none", "another CA's", "expired"])
def test_without_a_good_certificate_there_is_no_connection(
    secure: Opened, authority: Authority, whose: str, tmp_path: Path
) -> None:
    """TLS itself refuses."""
    own = {
        "none": lambda: None,
        "another CA's": lambda: Authority(tmp_path, "other-ca").issue(SERVICE),
        "expired": lambda: authority.issue(SERVICE, age=timedelta(days=800)),
    }[whose]()
    with connect(secure.door.addresses[1], authority, own) as client, pytest.raises(fl.FlightUnavailableError):
        list(client.list_actions(fl.FlightCallOptions(timeout=10)))


def test_a_ticket_is_not_carried_to_the_other_address_by_another(secure: Opened, authority: Authority) -> None:
    """Both addresses share their tickets, and owners are who they are: the service and its user are the same."""
    by_token, by_certificate = secure.door.addresses
    with (
        connect(by_token, authority) as client,
        connect(by_certificate, authority, authority.issue(SERVICE)) as service,
    ):
        info = client.get_flight_info(query(COUNT), secure.options())
        options = fl.FlightCallOptions(headers=[(b"x-lake-purpose", b"incident")])
        refusal(lambda: service.do_get(info.endpoints[0].ticket, options).read_all())


def test_files_for_tls_are_checked(service: GatewayService, server: Identity, tmp_path: Path) -> None:
    """A key that others can read, a file that is none, a pair that is none."""
    other = tmp_path / "open.key"
    other.write_bytes(server.key.read_bytes())
    other.chmod(0o644)
    rubbish = tmp_path / "rubbish"
    rubbish.write_text("no key")
    rubbish.chmod(0o600)
    for address, error in (
        (Address("127.0.0.1", 0, server.certificate, other), SecretFileError),
        (Address("127.0.0.1", 0, tmp_path / "none.pem", server.key), UsageError),
        (Address("127.0.0.1", 0, server.certificate, rubbish), UsageError),
    ):
        with pytest.raises(error), opened(service, addresses=[address]):
            pass
