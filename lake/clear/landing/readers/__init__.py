"""Readers: files and streams of telemetry as Arrow record batches. They parse and convert; they decide nothing."""
