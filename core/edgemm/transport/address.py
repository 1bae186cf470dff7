"""Addresses of servers and brokers: whether they can be one at all, and those that only this machine reaches. Pure.

Plain http and plain MQTT are for loopback only, everywhere: this is the one test for it. What is signed and announced
to devices goes through the same check as what a person types, for an address that cannot be helps nobody.

A host is an IP address, or a name of labels of letters, digits and inner hyphens (RFC 1123, section 2.1), of at most 63
characters each and 253 together (RFC 1035, section 2.3.4). Underscores are taken too, which names in container networks
have. A name that ends in a number is none: resolvers take it for an old way to write an IPv4 address.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, replace
from urllib.parse import SplitResult, urlsplit

from edgemm.errors import InputError

_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
_ZONE = re.compile(r"[A-Za-z0-9._~-]{1,64}")
_LONGEST_NAME = 253
_SHOWN = 200
"""Characters of a wrong address that an error repeats."""
_BROADCAST = ipaddress.IPv4Address("255.255.255.255")


@dataclass(frozen=True)
class AddressKind:
    """What an address may begin with, and how people are told to write it."""

    tls: str
    plain: str
    expected: str
    secure: str
    """What to use in place of a plain one."""

    plain_anywhere: bool = False

    @property
    def has_path(self) -> bool:
        """Whether a path may follow, which is the caller's matter."""
        return self.tls == "https"


FLEET = AddressKind("https", "http", "https://HOST[:PORT]", "the https:// URL")
BROKER = AddressKind("mqtts", "mqtt", "mqtt(s)://HOST[:PORT]", "mqtts://")
OWN_BROKER = replace(BROKER, expected="mqtt[s]://HOST[:PORT], and topics by --mqtt-topic", plain_anywhere=True)
"""That of a device's owner, who may know the network in between."""


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address is reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_host(host: str, *, listens: bool = False) -> bool:
    """Tell whether something can be the name or IP address of one machine, without brackets.

    With `listens`, also an address that stands for all of a machine's own, at which a server may listen.
    """
    bare, mark, zone = host.partition("%")
    if mark and (":" not in bare or _ZONE.fullmatch(zone) is None):
        return False
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        return _is_name(host)
    if address.is_unspecified:
        return listens
    return not (address.is_multicast or address == _BROADCAST)


def split_address(text: str, kind: AddressKind, *, what: str) -> SplitResult:
    """Return the parts of a server's address, which has a host and no login; `what` names it in errors.

    Raises:
        InputError: it has another scheme, a host that can be none, a login, a space, a query, or a port that is none;
            or it is plain and not for loopback. A login is not repeated.
    """
    expected = f"expected {kind.expected}"
    if "@" in text:
        raise InputError(f"{what}: {expected}, found a user or password where none may be")
    shown = f"{what} {text[:_SHOWN]!r}"
    # `urlsplit` drops tabs and ends of lines, and what goes on with the text would not.
    if " " in text or not text.isprintable():
        raise InputError(f"{shown}: {expected}, found a space or an unprintable character")
    try:
        parts = urlsplit(text)
        host, port_ok = parts.hostname or "", parts.port is None or parts.port > 0
    except ValueError as err:
        raise InputError(f"{shown}: {err}; {expected}") from err
    path_ok = kind.has_path or not parts.path.strip("/")
    if parts.scheme not in {kind.tls, kind.plain} or not host or not path_ok or parts.query or parts.fragment:
        raise InputError(f"{shown}: {expected}")
    if not is_host(host) or ("[" in parts.netloc) != (":" in host):
        hint = "" if host.isascii() else ", a name of other letters as xn--…"
        raise InputError(f"{shown}: {host[:_SHOWN]!r} is no name or IP address of a server; {expected}{hint}")
    if not port_ok:
        raise InputError(f"{shown}: expected a port from 1 to 65535")
    if parts.scheme == kind.plain and not kind.plain_anywhere and not is_loopback(host):
        raise InputError(f"{shown}: plain {kind.plain}:// is for loopback only; use {kind.secure}")
    return parts


def check_url(url: str, *, what: str = "fleet URL") -> str:
    """Return the base URL of a fleet manager without a slash at its end.

    Raises:
        InputError: as `split_address`.
    """
    split_address(url, FLEET, what=what)
    return url.rstrip("/")


def _is_name(host: str) -> bool:
    name = host.removesuffix(".")
    labels = name.split(".")
    if len(name) > _LONGEST_NAME or _NUMBER.fullmatch(labels[-1]) is not None:
        return False
    return all(_LABEL.fullmatch(label) is not None for label in labels)
