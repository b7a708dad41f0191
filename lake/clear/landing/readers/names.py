"""Names of the importers, apart from their code so that the command line can list them without loading it."""

from __future__ import annotations

IMPORTERS = ("balabit", "activitywatch", "keylog", "ndjson", "parquet", "arrow", "csv")
