"""What becomes of ActivityWatch's events: types of buckets to event types, keys of ``data`` to fields of a contract.

Of a visited page only the host is taken; path, query and private tabs go no further.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Kind:
    """One type of bucket: the event type that it becomes and the fields that its data becomes."""

    type: str
    fields: dict[str, str]


WEB = "web.tab.current"
KINDS = {
    "currentwindow": Kind("window_focus", {"app": "app", "title": "window_title"}),
    "afkstatus": Kind("afk", {"status": "status"}),
    WEB: Kind("url_visit", {}),
    "os.hid.input": Kind(
        "input_counts",
        {
            "presses": "presses",
            "clicks": "clicks",
            "deltaX": "delta_x",
            "deltaY": "delta_y",
            "scrollX": "scroll_x",
            "scrollY": "scroll_y",
        },
    ),
}


def fields_of(bucket: str, data: Mapping[str, Any]) -> tuple[str, dict[str, Any], tuple[str, ...]]:
    """Why an event of a bucket's type is left out, or ""; its fields; and the keys of ``data`` that are known to none.

    Args:
        bucket: a key of ``KINDS``.
    """
    left, fields = dict(data), dict[str, Any]()
    if bucket == WEB:
        reason, fields["url_host"] = _host(left.pop("url", None), left.pop("incognito", None))
        if reason:
            return reason, {}, ()
    for key, field in KINDS[bucket].fields.items():
        fields[field] = left.pop(key, None)
    return "", fields, tuple(key for key, value in left.items() if value is not None)


def milliseconds(seconds: Any) -> int | None:
    """A duration; None without one.

    Raises:
        ValueError: it is no length of time.
    """
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < 1e9:
        raise ValueError("a duration in seconds is expected")
    return round(seconds * 1000)


def _host(url: Any, incognito: Any) -> tuple[str, str | None]:
    """Why a visit is left out, or "", and the host. A tab that does not say that it is not private is private."""
    if incognito is not False:
        return "incognito", None
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
        host = parts.hostname if parts and parts.scheme in {"http", "https"} else None
    except ValueError:
        host = None
    return ("", host) if host else ("not_web", None)
