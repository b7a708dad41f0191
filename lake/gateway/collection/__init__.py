"""Collection: which devices may record, under which leases, and how that is paused."""
