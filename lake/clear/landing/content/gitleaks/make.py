"""Makes ``rules.json`` of gitleaks' own configuration: ``python -m lake.clear.landing.content.gitleaks.make TOML``.

Kept of each rule are its id, expression, group, least entropy, keywords and what it allows. Left out is what needs a
file's path: texts have none. Nothing is rewritten, so that the rules can be compared with their source.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SOURCE = "https://github.com/gitleaks/gitleaks/blob/b58d3f10/config/gitleaks.toml"
TO = Path(__file__).with_name("rules.json")


def convert(source: bytes) -> dict[str, Any]:
    """The rules that judge text alone."""
    document = tomllib.loads(source.decode())
    return {
        "source": SOURCE,
        "sha256": hashlib.sha256(source).hexdigest(),
        "licence": "MIT, see LICENSE",
        "allow": _allowed(document["allowlist"]),
        "rules": [_rule(rule) for rule in document["rules"] if "regex" in rule],
    }


def _rule(rule: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: rule[name] for name in ("id", "regex", "secretGroup", "entropy") if name in rule}
    kept["keywords"] = [word.lower() for word in rule["keywords"]]
    # One that is bound to paths allows nothing in a text.
    allows = [_allowed(one) for one in rule.get("allowlists", ()) if "paths" not in one]
    return {**kept, "allow": allows} if allows else kept


def _allowed(allow: Mapping[str, Any]) -> dict[str, Any]:
    return {name: allow[name] for name in ("regexTarget", "regexes", "stopwords") if name in allow}


def main(path: str) -> None:
    """Write ``rules.json``."""
    rules = convert(Path(path).read_bytes())
    TO.write_text(json.dumps(rules, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
