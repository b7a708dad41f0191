"""Plaintext rows in memory, never on disk. The only importer of pyarrow; only its sandbox imports duckdb."""
