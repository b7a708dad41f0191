"""Where the objects of a lake lie on S3, as ``lake.json`` says it. No URL with a secret is one."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from lake.errors import UsageError
from lake.sealed.objects.provision_policies import Place

DEFAULT_REGION = "us-east-1"
"""Of a server with an endpoint of its own: most know no regions, and this is what they expect in a signature."""


@dataclass(frozen=True, slots=True)
class S3Place:
    """A bucket, the prefix of the lake's keys in it, and whose server it is.

    Attributes:
        region: None to take the environment's.
        endpoint: URL of the server; none is AWS's own.
    """

    bucket: str
    prefix: str
    region: str | None
    endpoint: str | None

    @classmethod
    def parse(cls, store: str, endpoint: str = "") -> S3Place:
        """The place of ``s3://bucket/prefix``, perhaps with ``?region=NAME``.

        Raises:
            UsageError: it is no such place, or holds more than one.
        """
        url, _, query = store.partition("?")
        options = dict(parse_qsl(query, keep_blank_values=True))
        region = options.pop("region", None)
        if options or region == "" or (region and not region.replace("-", "").isalnum()):
            raise UsageError("the store's URL takes ?region=NAME and nothing else")
        place = Place.parse(url)
        return cls(place.bucket, place.prefix, region, _checked(endpoint) if endpoint else None)

    @property
    def root(self) -> str:
        """What stands before every key."""
        return f"{self.prefix}/" if self.prefix else ""

    @property
    def url(self) -> str:
        """The bucket and the prefix."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    @property
    def here(self) -> bool:
        """Whether the server is on this machine, which no proxy may come between."""
        host = urlsplit(self.endpoint or "").hostname or ""
        try:
            return host == "localhost" or ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False


def _checked(endpoint: str) -> str:
    try:
        parts = urlsplit(endpoint)
        whole = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        whole = False
    if not whole or parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc:
        raise UsageError(
            "the endpoint is not http://HOST:PORT or https://HOST:PORT",
            hint="credentials are taken from the environment or from files, never from a URL",
        )
    return f"{parts.scheme}://{parts.netloc}"
