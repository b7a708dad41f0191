"""Purges, as far as no row is needed: what is due, what was destroyed, and the proof of it."""
