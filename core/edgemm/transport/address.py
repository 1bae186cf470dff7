"""Addresses of servers: those that only this machine reaches, and the URL of a fleet manager. Pure.

Plain http and plain MQTT are for loopback only, everywhere: this is the one test for it.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import SplitResult, urlsplit

from edgemm.errors import InputError


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address is reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def split_url(url: str, *, what: str = "fleet URL") -> SplitResult:
    """Return the parts of a fleet manager's URL, which has a host; `what` names it in errors.

    Raises:
        InputError: it is not `https://HOST[:PORT]`, nor `http://` with a loopback host.
    """
    try:
        parts = urlsplit(url)
        host, port_ok = parts.hostname or "", parts.port is None or parts.port > 0
    except ValueError as err:
        raise InputError(f"{what} {url!r}: {err}; expected https://HOST[:PORT]") from err
    if parts.scheme not in {"http", "https"} or not host or parts.query or parts.fragment:
        raise InputError(
            f"{what} {url!r}: expected https://HOST[:PORT], as `edgemm fleet init` and `edgemm fleet token create` "
            "print it"
        )
    if not port_ok:
        raise InputError(f"{what} {url!r}: expected a port from 1 to 65535")
    if parts.scheme == "http" and not is_loopback(host):
        raise InputError(f"{what} {url!r}: plain http:// is for loopback only; use the https:// URL")
    return parts


def check_url(url: str) -> str:
    """Return the base URL of a fleet manager without a slash at its end.

    Raises:
        InputError: as `split_url`.
    """
    split_url(url)
    return url.rstrip("/")
