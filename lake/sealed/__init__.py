"""Ciphertext and metadata only. Never imports keys, pyarrow or duckdb; signatures and MACs are handed in."""
