"""Whether an event may be recorded where it happened: the lake's own rules, one event at a time, before it is stored.

The lake judges every row again (``lake.clear.landing.context``); what this lets pass by mistake does not land there.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import re2

from lake.rules import contexts
from lake.rules.capture import Level
from lake.rules.contract import Contract, EventType
from lake.rules.denied import INCOGNITO

UNLISTED = "context.unlisted"
_BROWSER = "browser"
_TITLES = {category: re2.compile(pattern) for category, pattern in contexts.TITLES.items()}
_SCREEN = re2.compile(contexts.TITLE_SCREEN)


class Context:
    """The rules of one contract; see docs/filter.md, "Context" and "Kind of field"."""

    def __init__(self, contract: Contract) -> None:
        self._rules = contract.rules

    def refuses(self, event: EventType, fields: Mapping[str, Any]) -> str:
        """Why an event may not be recorded, as the lake counts it; "" if it may."""
        capture = self._rules.capture.get(event.name)
        if capture is not None and capture.level is Level.NONE:
            return "capture.none"
        return self._place(event, fields) or self._kind(event, fields)

    def _carries(self, event: EventType, role: str) -> bool:
        return any(name in event.fields for name in self._rules.roles.get(role, ()))

    def _values(self, role: str, fields: Mapping[str, Any]) -> list[str]:
        found = (fields.get(name) for name in self._rules.roles.get(role, ()))
        return [value for value in found if isinstance(value, str)]

    def _place(self, event: EventType, fields: Mapping[str, Any]) -> str:
        """Private first, then what is never collected, then what is not listed."""
        flags = [fields.get(name) for name in self._rules.roles.get("incognito", ())]
        if True in flags:
            return f"context.denied.{INCOGNITO}"
        apps = [self._app(text) for text in self._values("app", fields)]
        sites = [self._site(text) for text in self._values("url", fields)]
        denied = [
            *(found for found in (*apps, *sites) if found.startswith("context.denied.")),
            *(found for text in self._values("title", fields) if (found := denied_title(text))),
        ]
        if denied:
            return denied[0]
        has_app, has_url = self._carries(event, "app"), self._carries(event, "url")
        app = next((found for found in apps if found != _ABSENT), _ABSENT)
        named = [found for found in sites if found != _ABSENT]
        unlisted = has_app and app in {UNLISTED, _ABSENT}
        unlisted |= has_url and UNLISTED in named
        unlisted |= (app == _BROWSER or (has_url and not has_app)) and not named
        # A browser that does not say whether a window is private may be showing one.
        unlisted |= app == _BROWSER and self._carries(event, "incognito") and None in flags
        return UNLISTED if unlisted else ""

    def _kind(self, event: EventType, fields: Mapping[str, Any]) -> str:
        name = self._rules.one("kind")
        if name is None or not (self._carries(event, "key") or self._carries(event, "text")):
            return ""
        kind = str(fields.get(name) or "").strip().casefold()
        return "" if kind == "text" else f"field.{kind if kind in {'password', 'secure'} else 'unknown'}"

    def _app(self, text: str) -> str:
        name = contexts.app_name(text)
        if not name:
            return _ABSENT
        denied = contexts.denied_app(name)
        if denied is not None:
            return f"context.denied.{denied}"
        if name not in self._rules.apps:
            return UNLISTED
        return _BROWSER if contexts.is_browser(name) or self._rules.apps[name] == "browser" else ""

    def _site(self, text: str) -> str:
        if not text.strip():
            return _ABSENT
        host = contexts.host_name(text)
        denied = contexts.denied_host(host)
        if denied is not None:
            return f"context.denied.{denied}"
        return "" if any(domain in self._rules.sites for domain in contexts.domains(host)) else UNLISTED


_ABSENT = "absent"


@lru_cache(maxsize=4096)
def denied_title(text: str) -> str:
    """Why a window with this title is never recorded; "" if nothing speaks against it."""
    seen = contexts.skeleton(text)
    if not _SCREEN.search(seen):
        return ""
    return next((f"context.denied.{category}" for category, words in _TITLES.items() if words.search(seen)), "")
