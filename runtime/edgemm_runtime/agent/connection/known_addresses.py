"""The addresses at which a device looks for its fleet, in the order in which it tries them.

First come those that the fleet announced (`addresses.json`, signed by its targets key), then what enrolment told. So a
device follows an announced change as soon as it is made, and a wrong announcement strands none. A certificate that was
revoked is trusted nowhere.
"""

from __future__ import annotations

import hashlib
import logging
import re
import ssl
from collections.abc import Iterator

from edgemm.errors import EnvironmentFailure, InputError, TrustError
from edgemm.transport.address import check_url, is_host, is_loopback
from edgemm.trust.addresses import ADDRESSES_TARGET, FleetAddresses, read_addresses
from edgemm.trust.enrolment import BrokerAccess
from edgemm_runtime.agent.state.documents import IdentityFile
from edgemm_runtime.agent.state.state_folder import StateFolder

_log = logging.getLogger(__name__)
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
Place = tuple[str, str | None]
"""The URL of a fleet manager, and the SHA-256 of the certificate that it must have; None: a public one, or no TLS."""


class KnownAddresses:
    """What a device knows of its fleet's addresses; used by one thread."""

    def __init__(self, folder: StateFolder, identity: IdentityFile) -> None:
        self._folder, self._identity = folder, identity
        kept = folder.read(ADDRESSES_TARGET, FleetAddresses)
        self._announced = kept if kept is not None and kept.fleet == identity.fleet else None

    def take(self, data: bytes | None) -> None:
        """Take what the fleet announces, None where it announces nothing."""
        if data is None:
            return
        try:
            found = read_addresses(data, fleet=self._identity.fleet)
        except TrustError as err:
            _log.warning("announced addresses not used error=%s", err)
            return
        if found == self._announced:
            return
        self._announced = found
        _log.info("addresses announced servers=%d brokers=%d", len(found.servers), len(found.brokers))
        try:
            self._folder.write_bytes(ADDRESSES_TARGET, data)
        except EnvironmentFailure as err:
            _log.warning("announced addresses not kept error=%s", err)

    def servers(self) -> list[Place]:
        """Return where the fleet manager may be."""
        return servers(self._announced, self._identity)

    def brokers(self) -> list[BrokerAccess]:
        """Return where the broker may be."""
        return brokers(self._announced, self._identity)


def servers(announced: FleetAddresses | None, identity: IdentityFile) -> list[Place]:
    """Return where a fleet manager may be, the first choice first. Pure."""
    found: list[Place] = []
    for server in announced.servers if announced else ():
        try:
            url = check_url(server.url)
        except InputError as err:  # of a later kind, or signed by a mistake
            _log.warning("announced server passed over error=%s", err)
            continue
        found += [(url, pin) for pin in server.pins] or [(url, None)]
    found.append((identity.url, identity.tls_fingerprint))
    revoked = set(announced.revoked) if announced else set()
    return [place for place in dict.fromkeys(found) if place[1] not in revoked]


def brokers(announced: FleetAddresses | None, identity: IdentityFile) -> list[BrokerAccess]:
    """Return where the broker may be, the first choice first; the login is the device's at each. Pure."""
    login, revoked = identity.broker, set(announced.revoked) if announced else set()
    found = [
        BrokerAccess(
            host=one.host, port=one.port, tls=one.tls, username=login.username, password=login.password, ca=one.ca
        )
        for one in (announced.brokers if announced else ())
        if is_host(one.host) and (one.tls or is_loopback(one.host))
    ]
    found = [*(one for one in found if one != login), login]
    return [one for one in found if one.ca is None or not revoked & set(_fingerprints(one.ca))]


def _fingerprints(pem: str) -> Iterator[str]:
    for block in _PEM.findall(pem):
        try:
            yield hashlib.sha256(ssl.PEM_cert_to_DER_cert(block)).hexdigest()
        except ValueError:
            continue
