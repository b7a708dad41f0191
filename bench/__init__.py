"""What protection costs, beside the same work without it. Run ``python -m bench`` in the project's root."""
