"""Permitted files as one plain Parquet file in memory, which an engine reads by itself."""
