"""Jobs that see rows for a moment: they decrypt, and encrypt again, and show nobody what they saw."""
