"""What the filter finds and what it misses, on labelled texts and on typing: ``python -m bench.scorecard``."""
