"""The addresses at which devices find their fleet: the TUF target `addresses.json`, signed by the targets role.

A device tries the entries in their order, then what its enrolment told it. So a new address, or the certificate that a
server is about to have, is announced before it is used, and the old one stays as the fall-back until it is left out.
A certificate whose key was stolen is named in `revoked`: nothing that was told before makes a device trust it.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from edgemm import canonical
from edgemm.bundle.manifest import Digest
from edgemm.errors import MessageError, TrustError
from edgemm.topics import FleetName

ADDRESSES_TARGET = "addresses.json"
MAX_ADDRESSES_BYTES = 256 * 1024
MAX_ADDRESSES = 8
"""Servers, and brokers, that a device tries."""
_Text = Annotated[str, Meta(min_length=1, max_length=300)]
_Pem = Annotated[str, Meta(max_length=20_000)]


class ServerAddress(Struct, frozen=True, kw_only=True):
    """A base URL of the fleet manager, and the SHA-256 of each certificate that it may have; none: a public one."""

    url: _Text
    pins: Annotated[tuple[Digest, ...], Meta(max_length=4)] = ()


class BrokerAddress(Struct, frozen=True, kw_only=True):
    """A broker; `ca` holds the certificates in PEM that it may have, or that signed them; None: a public one."""

    host: _Text
    port: Annotated[int, Meta(ge=1, le=65_535)]
    tls: bool = True
    ca: _Pem | None = None


class FleetAddresses(Struct, frozen=True, kw_only=True):
    """All addresses of a fleet, the first choice first; without brokers those of enrolments stay."""

    v: Literal[1] = 1
    fleet: FleetName
    servers: Annotated[tuple[ServerAddress, ...], Meta(max_length=MAX_ADDRESSES)] = ()
    brokers: Annotated[tuple[BrokerAddress, ...], Meta(max_length=MAX_ADDRESSES)] = ()
    revoked: Annotated[tuple[Digest, ...], Meta(max_length=32)] = ()


def read_addresses(data: bytes, *, fleet: str) -> FleetAddresses:
    """Read the document of a fleet.

    Raises:
        TrustError: it is none, or another fleet's.
    """
    try:
        document = canonical.decode(data, FleetAddresses, name=ADDRESSES_TARGET)
    except MessageError as err:
        raise TrustError(str(err)) from err
    if document.fleet != fleet:
        raise TrustError(f"{ADDRESSES_TARGET}: expected fleet {fleet!r}, found {document.fleet!r}")
    return document


def described(addresses: FleetAddresses) -> list[str]:
    """Return what devices are told, as people read it."""
    lines = []
    for server in addresses.servers:
        pins = " or ".join(f"{one[:12]}…" for one in server.pins) or "a public certificate"
        lines.append(f"server  {server.url}  {pins if server.url.startswith('https:') else 'no TLS'}")
    for broker in addresses.brokers:
        scheme = "mqtts" if broker.tls else "mqtt"
        lines.append(f"broker  {scheme}://{broker.host}:{broker.port}")
    lines += [f"revoked {one[:12]}…" for one in addresses.revoked]
    return lines
