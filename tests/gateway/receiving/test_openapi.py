"""The description of the server: every route is in it, and every real answer fits it."""

from __future__ import annotations

import json
from typing import Any

import fastjsonschema
import pytest
from starlette.routing import Route

from lake.gateway.receiving.openapi import description
from tests.gateway.receiving.site import Answer, Site, ndjson

DRAFT = "http://json-schema.org/draft-07/schema#"


def validator(name: str) -> Any:
    """Of one schema. The few words of 2020-12 that are used here mean the same in draft 7."""
    schemas = description()["components"]["schemas"]
    document = {"$schema": DRAFT, "components": {"schemas": schemas}, **schemas[name]}
    return fastjsonschema.compile(document)


def test_every_route_is_described_and_nothing_else(site: Site) -> None:
    """Paths and methods."""
    described = {(path, method.upper()) for path, methods in description()["paths"].items() for method in methods}
    served = set()
    for route in site.receiving._application.asgi.routes:
        assert isinstance(route, Route)
        served |= {(route.path, method) for method in route.methods or () if method != "HEAD"}
    assert described == served


def test_every_reference_leads_somewhere() -> None:
    """To a schema that is there."""
    text = json.dumps(description())
    schemas = description()["components"]["schemas"]
    for name in schemas:
        validator(name)
    named = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert named <= set(schemas)


def test_real_answers_fit_what_is_described(site: Site) -> None:
    """Of each route, good and bad."""
    device = site.device()
    good = {
        "SignedLease": device.renew(),
        "SignedReceipt": device.send(ndjson(device.rows(301)), batch="described"),
        "Contract": site.ask("GET", "/v1/contracts/events", **device.headers),
        "Verifier": site.ask("GET", "/v1/verifier", **device.headers),
        "Alive": site.ask("GET", "/healthz"),
        "Ready": site.ask("GET", "/readyz"),
    }
    for name, answer in good.items():
        assert (answer.status, answer.headers["content-type"]) == (200, "application/json"), name
        validator(name)(answer.document)
    again = device.send(ndjson(device.rows(301)), batch="described")
    validator("SignedReceipt")(again.document)
    assert again.document["repeated"]
    bad: list[Answer] = [
        site.ask("GET", "/nowhere"),
        site.ask("POST", "/v1/leases", b"{}"),
        site.ask("POST", "/v1/leases", b"{}", **device.headers),
        device.send(b"{", lease="a.b.c"),
        device.send(b"{"),
        device.send(b'{"employee": 1}\n'),
        device.send(b"", "text/plain"),
    ]
    for answer in bad:
        validator("Problem")(answer.document)
        assert answer.document["status"] == answer.status
    assert site.ask("GET", "/openapi.json").document == description()


def test_the_header_that_tests_send_is_the_one_described(site: Site) -> None:
    """With and without its optional key."""
    device = site.device()
    check = validator("BatchHeader")
    check(device.header(b""))
    check(device.header(b"", types=["focus"], seq=[1, 2]))
    with pytest.raises(fastjsonschema.JsonSchemaException):
        check(device.header(b"", more=1))


def test_metrics_count_and_name_nobody(site: Site) -> None:
    """By kind and outcome."""
    device = site.device()
    before = site.metric('lake_ingest_requests_total{code="ok",kind="batch"}')
    device.send(ndjson(device.rows(311)))
    device.send(b"{", lease="a.b.c")
    assert site.metric('lake_ingest_requests_total{code="ok",kind="batch"}') == before + 1
    assert site.metric('lake_ingest_requests_total{code="lease_refused",kind="batch"}') >= 1
    text = site.receiving.metrics.text().decode()
    assert "lake_ingest_buffered_bytes 0.0" in text
    for name in (device.name, device.employee, "events", "hmac:"):
        assert name not in text
