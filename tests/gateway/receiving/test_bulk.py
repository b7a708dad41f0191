"""Arrow Flight: the same judgement, limits and receipts as over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.flight as fl
import pytest

from keys.signing import NoteVerifier
from lake.gateway.ingest import HashedBatches
from lake.gateway.receiving.receipts import receipt_text
from tests import world as w
from tests.gateway.receiving.site import Sender, Site
from tests.keys.remote.hosts import Authority


@pytest.fixture
def client(site: Site, authority: Authority) -> Iterator[fl.FlightClient]:
    """A Flight client that trusts the server."""
    with fl.FlightClient(site.receiving.bulk[0], tls_root_certs=authority.file.read_bytes()) as opened:
        yield opened


def digest_of(table: pa.Table) -> str:
    """As the header names rows."""
    hashed = HashedBatches(table.schema, table.to_batches())
    for _ in hashed:
        pass
    return f"sha256:{hashed.hexdigest()}"


def put(client: fl.FlightClient, sender: Sender, table: pa.Table, **values: Any) -> Any:
    """Send rows; gives the receipt."""
    header = sender.header(b"", **({"content": digest_of(table)} | values))
    descriptor = fl.FlightDescriptor.for_command(json.dumps(header).encode())
    options = fl.FlightCallOptions(headers=[(b"authorization", f"Bearer {sender.token}".encode())])
    writer, reader = client.do_put(descriptor, table.schema, options)
    with writer:
        for batch in table.to_batches(max_chunksize=2):
            writer.write_batch(batch)
        writer.done_writing()
        return json.loads(reader.read().to_pybytes())


def problem_of(error: fl.FlightError) -> dict[str, Any]:
    """What programs read in an error."""
    found: dict[str, Any] = json.loads(error.extra_info)
    return found


def test_a_batch_lands_once_with_a_signed_receipt(site: Site, client: fl.FlightClient) -> None:
    """As over HTTP."""
    device = site.device()
    table = w.table(device.rows(201, 202, 203))
    found = put(client, device, table, batch="bulk-1")
    again = put(client, device, table, batch="bulk-1")
    assert again == found | {"repeated": True}
    assert not found["repeated"]
    verifier = site.ask("GET", "/v1/verifier", **device.headers).document["verifier"]
    assert NoteVerifier([verifier]).open(receipt_text(found["receipt"]) + "\n" + found["signature"])
    assert [number for number in site.numbers() if 201 <= number <= 203] == [201, 202, 203]
    assert site.entries("ingest.upload")[-1]["door"] == "flight"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"content": "sha256:" + "0" * 64}, "malformed_input"),
        ({"lease": "a.b.c"}, "lease_refused"),
        ({"device": "ben-1"}, "lease_refused"),
        ({"contract": "sha256:" + "0" * 64}, "contract_breach"),
        ({"batch": "a:b"}, "usage"),
    ],
)
def test_what_does_not_fit(site: Site, client: fl.FlightClient, change: dict[str, Any], code: str) -> None:
    """The same problems, as details of Flight's errors, and the same entries."""
    device, before, start = site.device(), site.batches(), site.size()
    with pytest.raises(fl.FlightError) as caught:
        put(client, device, w.table(device.rows(1)), **change)
    assert problem_of(caught.value)["code"] == code
    assert "Traceback" not in str(caught.value)
    assert [one["reason"] for one in site.entries("ingest.refused", start)] == [code]
    assert site.batches() == before


def test_other_content_under_an_id(site: Site, client: fl.FlightClient) -> None:
    """A conflict."""
    device = site.device()
    put(client, device, w.table(device.rows(211)), batch="bulk-2")
    with pytest.raises(fl.FlightError) as caught:
        put(client, device, w.table(device.rows(212)), batch="bulk-2")
    assert problem_of(caught.value)["status"] == 409


@pytest.mark.parametrize(
    "column", [pa.array([["x"]]), pa.array(["x"]).dictionary_encode(), pa.array([b"x"])], ids=["list", "dict", "bytes"]
)
def test_columns_that_are_not_plain(site: Site, client: fl.FlightClient, column: pa.Array) -> None:
    """They are refused before they are decoded to rows."""
    device = site.device()
    table = w.table(device.rows(1)).append_column("x", column)
    with pytest.raises(fl.FlightError) as caught:
        put(client, device, table, content="sha256:" + "0" * 64)
    assert problem_of(caught.value)["code"] == "malformed_input"


@pytest.mark.parametrize("token", ["", "Bearer x.y.z", "Basic YTpi"])
def test_who_calls_must_be_known(site: Site, client: fl.FlightClient, token: str) -> None:
    """Before anything else of a call is looked at."""
    headers = [(b"authorization", token.encode())] if token else []

    def call() -> None:  # it is refused when it begins or when it ends, as the answer comes
        options = fl.FlightCallOptions(headers=headers)
        writer, _ = client.do_put(fl.FlightDescriptor.for_command(b"{}"), w.SCHEMA, options)
        writer.close()

    with pytest.raises(fl.FlightUnauthenticatedError, match="not authenticated"):
        call()


def test_nothing_else_is_offered(site: Site, client: fl.FlightClient) -> None:
    """Neither queries nor actions."""
    options = fl.FlightCallOptions(headers=[(b"authorization", f"Bearer {site.device().token}".encode())])
    calls: Sequence[Any] = (
        lambda: list(client.list_flights(options=options)),
        lambda: client.get_flight_info(fl.FlightDescriptor.for_path("events"), options),
        lambda: client.do_get(fl.Ticket(b"x"), options).read_all(),
        lambda: list(client.do_action(fl.Action("x", b""), options)),
    )
    for call in calls:
        with pytest.raises(fl.FlightError) as caught:
            call()
        assert "Traceback" not in str(caught.value)
