"""What operators do with keys: rotate, suspend, shred, back up, verify. Each survives being killed at any step."""
