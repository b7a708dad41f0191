"""The OpenAPI 3.1 description of the ingest server; tests hold its routes and answers against it."""

from __future__ import annotations

from typing import Any

from lake.gateway.receiving.bodies import ARROW, NDJSON

_JSON = "application/json"
_DIGEST = {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"}
_NAME = {"type": "string", "pattern": "^[a-z][a-z0-9_]{0,62}$"}
_TIME = {"type": "string", "format": "date-time"}
_WHOLE = {"type": "integer", "minimum": 0}
_COUNTS = {"type": "object", "additionalProperties": _WHOLE}
_TYPES = {"type": "array", "items": _NAME, "minItems": 1}


def description() -> dict[str, Any]:
    """The document that is served at ``/openapi.json``."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Telemetry lake: ingest",
            "version": "1",
            "summary": "Leases for collectors, and batches of what they recorded. docs/formats.md has the formats.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"device": []}, {"certificate": []}],
        "paths": _paths(),
        "components": {
            "securitySchemes": {
                "device": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "certificate": {"type": "mutualTLS"},
            },
            "schemas": _schemas(),
        },
    }


def _paths() -> dict[str, Any]:
    return {
        "/v1/leases": {"post": _operation("Ask for a lease, or renew it", "SignedLease", request="LeaseRequest")},
        "/v1/acknowledgements": {"post": _operation("Say that recording has stopped", None, request="Acknowledgement")},
        "/v1/batches": {"post": _batches()},
        "/v1/contracts/{dataset}": {"get": _contracts()},
        "/v1/verifier": {"get": _operation("The key with which receipts and leases are checked", "Verifier")},
        "/healthz": {"get": _open("Whether the process lives", "Alive", {"200": "It does"})},
        "/readyz": {
            "get": _open("Whether a batch would be taken now", "Ready", {"200": "It would", "503": "It would not"})
        },
        "/openapi.json": {"get": _open("This document", None, {"200": "OpenAPI 3.1"})},
    }


def _operation(summary: str, answer: str | None, *, request: str | None = None) -> dict[str, Any]:
    done = {"200": _content("Done", answer)} if answer else {"204": {"description": "Done"}}
    found: dict[str, Any] = {"summary": summary, "responses": done | {"default": _problem()}}
    if request:
        found["requestBody"] = {"required": True, "content": {_JSON: {"schema": _ref(request)}}}
    return found


def _batches() -> dict[str, Any]:
    body = {"schema": {"type": "string", "format": "binary"}}
    return _operation("Send a batch", "SignedReceipt") | {
        "parameters": [
            _parameter("Lake-Batch", "header", {"type": "string", "pattern": "^[A-Za-z0-9_-]+$"}, required=True),
            _parameter("Content-Encoding", "header", {"enum": ["gzip", "zstd", "identity"]}),
        ],
        "requestBody": {"required": True, "content": {NDJSON: body, ARROW: body}},
    }


def _contracts() -> dict[str, Any]:
    return _operation("A contract in force", "Contract") | {
        "parameters": [
            _parameter("dataset", "path", _NAME, required=True),
            _parameter("version", "query", {"type": "integer", "minimum": 1}),
        ]
    }


def _open(summary: str, schema: str | None, answers: dict[str, str]) -> dict[str, Any]:
    content = {status: _content(text, schema) for status, text in answers.items()}
    return {"summary": summary, "security": [], "responses": content}


def _content(text: str, schema: str | None) -> dict[str, Any]:
    return {"description": text, "content": {_JSON: {"schema": _ref(schema) if schema else {"type": "object"}}}}


def _problem() -> dict[str, Any]:
    return {"description": "A problem", "content": {"application/problem+json": {"schema": _ref("Problem")}}}


def _parameter(name: str, place: str, schema: dict[str, Any], *, required: bool = False) -> dict[str, Any]:
    return {"name": name, "in": place, "required": required, "schema": schema}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _record(properties: dict[str, Any], *optional: str) -> dict[str, Any]:
    required = sorted(set(properties) - set(optional))
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


def _schemas() -> dict[str, Any]:
    text, flag = {"type": "string"}, {"type": "boolean"}
    nonce = {"type": "string", "pattern": "^[0-9a-f]{32}$"}
    contract = {"dataset": _NAME, "version": {"type": "integer", "minimum": 1}, "contract": _DIGEST}
    level = _record({"rows": _WHOLE, "files": _WHOLE})
    return {
        "LeaseRequest": _record(
            {"dataset": _NAME, "types": _TYPES, "version": _or_null(_WHOLE), "nonce": nonce}, "version"
        ),
        "SignedLease": _record({"lease": _ref("Lease"), "signature": text}),
        "Lease": _record(
            contract
            | {"v": {"const": 1}, "nonce": nonce, "token": text, "id": text, "device": text, "employee": text}
            | {"types": _TYPES, "epochs": {"type": "array", "items": _WHOLE}}
            | {"issued": _TIME, "expires": _TIME, "now": _TIME, "mark": _WHOLE, "renewed": flag}
        ),
        "Acknowledgement": _record({"mark": _WHOLE}),
        "Contract": _record(contract | {"text": text}),
        "Verifier": _record({"verifier": text}),
        "BatchHeader": _record(
            contract
            | {"batch": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"}}
            | {"device": text, "employee": text, "lease": text, "content": _DIGEST, "collector": text}
            | {"captured": _or_null(_pair(_TIME)), "seq": _or_null(_pair(_WHOLE)), "types": _TYPES}
            | {"filter": _record({"rules": text, "dropped": _COUNTS})},
            "types",
        ),
        "SignedReceipt": _record({"receipt": _ref("Receipt"), "signature": text, "repeated": flag}),
        "Receipt": _record(
            contract
            | {"v": {"const": 1}, "at": _TIME, "batch": text, "device": text, "content": _DIGEST}
            | {"status": {"const": "landed"}, "rows": _WHOLE, "dropped": _COUNTS, "entry": _or_null(_WHOLE)}
            | {"lease": _or_null(text), "files": _or_null(_WHOLE), "masked": _or_null(_COUNTS), "rules": _or_null(text)}
            | {"levels": _or_null({"type": "object", "additionalProperties": level})}
        ),
        "Problem": _record(
            {"type": {"const": "about:blank"}, "title": text, "status": {"type": "integer"}, "detail": text}
            | {"code": text, "hint": text, "id": text, "retryable": flag, "reason": text, "field": text}
            | {"mark": _WHOLE, "line": _WHOLE, "row": _WHOLE},
            *("reason", "field", "mark", "line", "row"),
        ),
        "Alive": _record({"alive": {"const": True}}),
        "Ready": _record({"ready": flag, "code": text}, "code"),
    }


def _pair(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": schema, "minItems": 2, "maxItems": 2}
