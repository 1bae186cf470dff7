"""The access settings of a device's HTTP server: API key, TLS, Unix socket, and the web pages that may ask."""

from __future__ import annotations

import ssl
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Access:
    """All of it is optional: by default whoever reaches the address may ask, in plain HTTP, but for web pages."""

    api_key: str | None = field(default=None, repr=False)
    """What clients must show, in `Authorization: Bearer KEY` or `X-API-Key`; health is answered without."""

    tls: ssl.SSLContext | None = None
    """TLS on the port; a Unix socket stays plain."""

    unix_socket: Path | None = None
    """A path at which is served as well."""

    origins: Collection[str] = frozenset()
    """The origins of web pages that may ask from a browser, as `web_origins.canonical` spells them."""
