"""The ingest server: batches of collectors over HTTP and Arrow Flight, leases, and signed receipts."""
