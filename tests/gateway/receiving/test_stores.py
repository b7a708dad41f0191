"""The ingest server with its objects on S3, and with its catalog in PostgreSQL under the grants of an ingest host."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lake.errors import UnavailableError
from lake.gateway.collection.service import Collection
from lake.gateway.collection.status import Statuses
from lake.gateway.doctor import DAMAGE, Doctor
from lake.gateway.flight.door import Address
from lake.gateway.home import Home
from lake.gateway.receiving.process import Receiving
from lake.rules.halt import Order, Scope, ScopeKind
from tests import world as w
from tests.gateway import pglakes, s3lakes
from tests.gateway.receiving.site import DEVICES, Site, ndjson, pack, trusting
from tests.keys.remote.hosts import Authority, Identity
from tests.servers.buckets import ENVIRONMENT
from tests.world import World

EVERYBODY = Order(Scope(ScopeKind.GLOBAL), "works council, ticket 4711")


@dataclass
class Stored(Site):
    """The lake as its operator has it open, and as the server has; ``apart`` if the server's host has fewer rights."""

    host: Home = field(kw_only=True)
    apart: bool = False


@contextmanager
def s3(folder: Path, _: pytest.FixtureRequest) -> Iterator[tuple[World, str]]:
    """A lake with its objects in a bucket."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        yield s3lakes.make(folder, "seaweedfs"), ""


@contextmanager
def postgresql(folder: Path, request: pytest.FixtureRequest) -> Iterator[tuple[World, str]]:
    """A lake with its catalog in a database, and the catalog's address for an ingest host."""
    server = request.getfixturevalue("postgres")
    world, names = pglakes.make(folder, server)
    yield world, pglakes.as_role(server, names[0], "lake_ingest")
    for name in names:
        server.drop(name)


@pytest.fixture(scope="module", params=[s3, postgresql], ids=lambda kind: kind.__name__)
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, authority: Authority, identity: Identity
) -> Iterator[Stored]:
    """A server with the rights of its host, over TLS."""
    with ExitStack() as stack:
        world, address = stack.enter_context(request.param(tmp_path_factory.mktemp("stored"), request))
        lake = stack.enter_context(world.open(settings=w.small_settings()))
        if address:
            pglakes.place(world, catalog_url=address)
        served = stack.enter_context(world.open(settings=w.small_settings()))
        if address:
            pglakes.place(world, catalog_url=lake.home.config.catalog_url)
        collection = Collection(lake.home, lake.contracts)
        for name, employee in DEVICES.items():
            collection.devices.enrol(lake.actor, name, employee=employee, region="eu", team="sales")
        listening = Address("127.0.0.1", 0, identity.certificate, identity.key)
        receiving = Receiving(served.home, "ingest-host", [listening])
        stack.callback(receiving.close)
        yield Stored(world, lake, receiving, collection, trusting(authority), host=served.home, apart=bool(address))


def keys(site: Stored) -> set[str]:
    """Of every object there is."""
    return {stored.key for stored in site.lake.home.objects.list()}


def test_batches_land_once_and_are_read(site: Stored) -> None:
    """Sent twice they have one receipt; another content under the id is a conflict; a second device's is its own."""
    device = site.device()
    body = ndjson([*device.rows(1, 2), *(row | {"said": "words"} for row in device.rows(3, kind="say"))])
    header = pack(device.header(body, batch="stored"))
    first, again = (device.send(body, raw=header) for _ in range(2))
    assert first.status == 200, first.content
    assert first.document["receipt"]["levels"] == {"1": {"rows": 2, "files": 1}, "3": {"rows": 1, "files": 1}}
    assert again.document == first.document | {"repeated": True}
    assert device.send(ndjson(device.rows(4)), batch="stored").status == 409
    other = site.device("ben-1")
    assert other.send(ndjson(other.rows(5)), batch="stored").status == 200
    assert site.numbers() == [1, 2, 3, 5]


def test_what_is_refused_leaves_nothing(site: Stored) -> None:
    """Another's lease, a broken body, another contract, a value that does not fit: nothing lands, each is an entry."""
    device, before, start = site.device(), site.batches(), site.size()
    objects = keys(site)
    body = ndjson(device.rows(11))
    assert device.send(body, device="ben-1").document["code"] == "lease_refused"
    assert device.send(body, content="sha256:" + "0" * 64).document["code"] == "malformed_input"
    assert device.send(body, contract="sha256:" + "0" * 64).document["code"] == "contract_breach"
    line = json.dumps({**json.loads(body), "n": "many"}).encode()
    assert device.send(line).document["code"] == "malformed_input"
    reasons = [one["reason"] for one in site.entries("ingest.refused", start)]
    assert reasons == ["lease_refused", "malformed_input", "contract_breach", "malformed_input"]
    assert site.batches() == before
    assert keys(site) == objects


def test_a_pause_stops_it_and_a_resumption_lets_it_go_on(site: Stored) -> None:
    """No lease, nothing under the old one, both counted for the operator; the device's word; then again."""
    device = site.device()
    device.renew()
    kept = device.lease
    halt = site.collection.halts.order("olga", EVERYBODY)
    refused, asked = device.send(ndjson(device.rows(21))), device.renew()
    assert [(one.status, one.document["code"]) for one in (refused, asked)] == [(403, "paused")] * 2
    told = json.dumps({"mark": refused.document["mark"]}).encode()
    assert site.ask("POST", "/v1/acknowledgements", told, **device.headers).status == 204
    (status,) = Statuses(site.lake.home, site.collection.halts, site.collection.devices).all()
    found = {one.device.name: (one.refused, one.state(status.now)) for one in status.devices}
    assert found["ada-1"] == (1, "acknowledged")
    for person in ("olga", "stu"):
        site.collection.halts.resume(person, halt.id, "agreed with the works council")
    assert device.renew().status == 200
    assert device.send(ndjson(device.rows(22)), lease=kept).document["code"] == "paused"
    assert 21 not in site.numbers()


def test_the_host_cannot_end_a_pause_nor_change_a_contract(site: Stored) -> None:
    """In PostgreSQL its role may not; on a file whoever can write may, and is found by the chain."""
    if not site.apart:
        pytest.skip("one file, one right to write")
    halts = Collection(site.host, site.lake.contracts).halts
    for forbidden in (
        lambda: halts.order("olga", EVERYBODY),
        lambda: site.host.catalog.add_contract("events", 9, "sha256:" + "0" * 64, "dataset: events"),
    ):
        with pytest.raises(UnavailableError, match="does not let"):
            forbidden()


def test_the_lake_is_sound_afterwards(site: Stored) -> None:
    """Every object, row and commit."""
    assert [finding.message for finding in Doctor(site.lake.home).examine_lake() if finding.state == DAMAGE] == []
