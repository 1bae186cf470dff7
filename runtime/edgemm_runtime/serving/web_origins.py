"""Origins of web pages, `https://panel.example`: their spelling, and which of them are this very server's. Pure.

A page in a browser reaches whatever its machine reaches, and the browser tells where the page is from in `Origin`. A
page that a stranger serves can make its own name lead to this machine (DNS rebinding): then its origin and `Host` are
the same. So the two being the same shows a page of ours only where the name cannot be a stranger's: an address, or a
name that no public DNS knows.

Sources: RFC 6454; the Fetch standard; RFC 6761, 6762, 8375 and 9476 for names of local networks.
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

_LOCAL_ENDINGS = (".localhost", ".local", ".internal", ".home.arpa", ".lan")
_NAME = re.compile(r"[a-z0-9_]([a-z0-9._-]{0,252}[a-z0-9_])?")
_PORTS = {"http": 80, "https": 443}
LONGEST = 300


def canonical(text: str) -> str | None:
    """Return an origin as browsers spell it, in lower case and without the scheme's own port; None where it is none.

    A lone slash at the end is forgiven.
    """
    parts = _split(text.removesuffix("/"))
    if parts is None:
        return None
    scheme, host, port = parts
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}" + ("" if port == _PORTS[scheme] else f":{port}")


def is_own(origin: str, host: str, *, proven: bool) -> bool:
    """Tell whether a page is one of this server's, whose request names `host`.

    `proven` tells that a stranger's page could not have come so far, because of a certificate or a key.
    """
    page = _split(origin)
    here = None if page is None else _split(f"{page[0]}://{host}")
    return page is not None and page == here and (proven or is_local(page[1]))


def is_local(host: str) -> bool:
    """Tell whether a host is an address, or a name that no public DNS leads anywhere."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return "." not in host or host.endswith(_LOCAL_ENDINGS)
    return True


def _split(origin: str) -> tuple[str, str, int] | None:
    """Return scheme, host and port; None where there is anything else, or not all of it."""
    if len(origin) > LONGEST:
        return None
    try:
        parts = urlsplit(origin.lower())
        host, port = parts.hostname or "", parts.port
        if ":" in host:
            ipaddress.IPv6Address(host)
    except ValueError:
        return None
    if parts.scheme not in _PORTS or not host or f"{parts.scheme}://{parts.netloc}" != origin.lower():
        return None
    if "@" in parts.netloc or parts.netloc.endswith(":") or not (":" in host or _NAME.fullmatch(host)):
        return None
    return parts.scheme, host, _PORTS[parts.scheme] if port is None else port
