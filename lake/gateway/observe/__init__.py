"""What a gateway shows of itself: metrics, health and traces. Counts and codes; never users, tables, SQL or values."""
