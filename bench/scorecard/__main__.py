"""Take the score and compare it with the last one: ``python -m bench.scorecard [--check]``."""

from __future__ import annotations

import argparse
import json
import sys

from bench.measure import ROOT, say
from bench.scorecard import report, score, sets

JSON, PAGE = ROOT / "scorecard.json", ROOT / "docs" / "scorecard.md"


def main() -> int:
    """0 if nothing got worse, 1 if something did; writes the card unless it did or was only to be checked."""
    parser = argparse.ArgumentParser(prog="python -m bench.scorecard", description="Score the content filter.")
    parser.add_argument("--check", action="store_true", help="write nothing")
    parser.add_argument("--accept", action="store_true", help="write the card although something got worse")
    options = parser.parse_args()
    card = score.measure()
    if not card["typed"]:
        say(f"no labelled sets at {sets.DATA} (LAKE_SHARED_DATA): scored on what is made here; nothing is written")
    worse = report.worse(json.loads(JSON.read_text("utf-8")), card) if JSON.exists() else []
    for line in worse:
        say(f"worse: {line}")
    if card["typed"] and not options.check and (options.accept or not worse):
        JSON.write_text(json.dumps(card, indent=1) + "\n", "utf-8")
        PAGE.write_text(report.page(card), "utf-8")
    say(report.page(card))
    return 1 if worse and not options.accept else 0


if __name__ == "__main__":
    sys.exit(main())
