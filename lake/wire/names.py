"""Names of our own on the wire: what a client may say in headers, and where a result says its receipt."""

from __future__ import annotations

PURPOSE = "x-lake-purpose"
"""Header: what the call is for, one of the purposes of the credential."""

ROLE = "x-lake-role"
"""Header: the one of the caller's roles that is to count."""

ENDPOINTS = "x-lake-endpoints"
"""Header of GetFlightInfo: in how many parts a result is wanted; it may come in fewer."""

RECEIPT = b"lake.receipt"
"""Key of the metadata of a result's schema: index of the query's entry in the audit log, in decimal."""

CATALOG = "lake"
"""The one catalog."""

SCHEMA = "main"
"""The one schema in it."""

TABLE_TYPE = "TABLE"
"""The one type of table."""

DESCRIPTION = b"lake.description"
"""Key of the metadata of a table's schema: what its contract says of it."""
