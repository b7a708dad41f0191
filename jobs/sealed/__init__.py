"""Jobs that never see a row: they move, count and remove ciphertext."""
