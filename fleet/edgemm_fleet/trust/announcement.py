"""The announcement of a fleet's addresses to its devices: composes the next `addresses.json`. Pure but for reading.

What is announced first is tried first; what was announced before stays behind it as the fall-back, until it is dropped.
"""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Iterable, Sequence

import msgspec
from msgspec.structs import replace

from edgemm import canonical
from edgemm.errors import InputError
from edgemm.trust.addresses import (
    ADDRESSES_TARGET,
    MAX_ADDRESSES,
    BrokerAddress,
    FleetAddresses,
    ServerAddress,
    read_addresses,
)
from edgemm_fleet.trust.certificate import fingerprint
from edgemm_fleet.trust.fleet_folder import FleetFolder
from edgemm_fleet.trust.version_repository import VersionRepository


def announced(repository: VersionRepository) -> FleetAddresses | None:
    """Return what devices are told now, None where they go by their enrolment alone."""
    target = repository.targets.targets.get(ADDRESSES_TARGET)
    if target is None:
        return None
    return read_addresses(repository.manifest_bytes(target), fleet=repository.folder.read_config().name)


def standing(repository: VersionRepository) -> FleetAddresses:
    """Return what devices are told now, or what enrolments tell where nothing was announced yet.

    Raises:
        InputError: where the broker is was not noted by a manager of this edgemm yet.
    """
    if (found := announced(repository)) is not None:
        return found
    folder, config = repository.folder, repository.folder.read_config()
    pins = (fingerprint(folder.certificate),) if config.public_url.startswith("https:") else ()
    return FleetAddresses(
        fleet=config.name,
        servers=(ServerAddress(url=config.public_url, pins=pins),),
        brokers=(read_broker(folder),),
    )


def read_broker(folder: FleetFolder) -> BrokerAddress:
    """Return where devices find the broker, as the manager noted it at its last start.

    Raises:
        InputError: none did.
    """
    try:
        return msgspec.json.decode(folder.broker_note.read_bytes(), type=BrokerAddress)
    except (OSError, msgspec.DecodeError) as err:
        raise InputError(
            f"{folder.broker_note}: expected where the broker is, which the manager notes when it starts; start it "
            f"once: edgemm fleet serve {folder.root}"
        ) from err


def with_servers(addresses: FleetAddresses, servers: Sequence[ServerAddress]) -> FleetAddresses:
    """Return addresses with these servers first; one with the same URL takes the other's place, with both's pins."""
    known = {server.url: server for server in addresses.servers}
    first = [_with_pins_of(one, known.get(one.url)) for one in servers]
    urls = {one.url for one in first}
    return replace(addresses, servers=(*first, *(one for one in addresses.servers if one.url not in urls)))


def with_brokers(addresses: FleetAddresses, brokers: Sequence[BrokerAddress]) -> FleetAddresses:
    """Return addresses with these brokers first; one at the same place takes the other's."""
    places = {(one.host, one.port) for one in brokers}
    others = (one for one in addresses.brokers if (one.host, one.port) not in places)
    return replace(addresses, brokers=(*brokers, *others))


def pins_beside(addresses: FleetAddresses, own: str) -> tuple[str, ...]:
    """Return the certificates that a server with this one may have by what is announced: so has it another name."""
    return next((one.pins for one in addresses.servers if own in one.pins), (own,))


def with_certificate(addresses: FleetAddresses, *, old: str, new: str) -> FleetAddresses:
    """Return addresses in which a certificate may be another one too; both in PEM."""
    old_pin, new_pin = pin(old), pin(new)
    servers = tuple(
        replace(one, pins=_together((new_pin,), one.pins)) if old_pin in one.pins else one for one in addresses.servers
    )
    brokers = tuple(
        replace(one, ca=f"{one.ca.rstrip()}\n{new}") if one.ca and old.strip() in one.ca and new not in one.ca else one
        for one in addresses.brokers
    )
    return replace(addresses, servers=servers, brokers=brokers)


def without_others(addresses: FleetAddresses, *, certificate: str) -> FleetAddresses:
    """Return addresses in which only this certificate, in PEM, is trusted where it is; the others are revoked."""
    own = pin(certificate)
    gone = [other for one in addresses.servers if own in one.pins for other in one.pins if other != own]
    servers = tuple(replace(one, pins=(own,)) if own in one.pins else one for one in addresses.servers)
    brokers = tuple(
        replace(one, ca=certificate) if one.ca and certificate.strip() in one.ca else one for one in addresses.brokers
    )
    return replace(addresses, servers=servers, brokers=brokers, revoked=_together(gone, addresses.revoked, most=32))


def without(addresses: FleetAddresses, texts: Iterable[str]) -> FleetAddresses:
    """Return addresses without the servers of these URLs and the brokers of these HOST:PORT.

    Raises:
        InputError: one of them is not announced.
    """
    for text in texts:
        servers = tuple(one for one in addresses.servers if one.url != text.rstrip("/"))
        brokers = tuple(one for one in addresses.brokers if f"{one.host}:{one.port}" != text)
        if (servers, brokers) == (addresses.servers, addresses.brokers):
            raise InputError(f"--drop {text!r}: expected a URL or HOST:PORT that `edgemm fleet addresses show` lists")
        addresses = replace(addresses, servers=servers, brokers=brokers)
    return addresses


def document(addresses: FleetAddresses) -> bytes:
    """Return the document that is signed.

    Raises:
        InputError: nobody would be left to be asked, or there are more addresses than a device takes.
    """
    if not addresses.servers or max(len(addresses.servers), len(addresses.brokers)) > MAX_ADDRESSES:
        raise InputError(
            f"addresses: expected 1 to {MAX_ADDRESSES} servers, and as many brokers; leave some out by --drop"
        )
    data = canonical.encode(addresses)
    read_addresses(data, fleet=addresses.fleet)
    return data


def pin(pem: str) -> str:
    """Return the SHA-256 of a certificate's DER form as 64 hex digits.

    Raises:
        InputError: it is none.
    """
    try:
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()
    except ValueError as err:
        raise InputError(f"expected a TLS certificate in PEM: {err}") from err


def _with_pins_of(server: ServerAddress, known: ServerAddress | None) -> ServerAddress:
    if known is None:
        return server
    # The order of before tells which certificate is the newer one.
    return known if set(server.pins) <= set(known.pins) else replace(server, pins=_together(server.pins, known.pins))


def _together(first: Iterable[str], second: Iterable[str], *, most: int = 4) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*first, *second]))[:most]
