"""The audit log: a signed RFC 6962 Merkle log in static tlog-tiles files. Knows nothing of what its entries mean."""
