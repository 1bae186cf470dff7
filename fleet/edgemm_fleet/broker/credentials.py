"""The broker logins of devices: one provider for each kind of broker, behind one Protocol.

The store holds the hash of each device's broker password. A provider says what a device needs to log in, and tells the
broker when devices came or went.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from edgemm.trust.enrolment import BrokerAccess


@dataclass(frozen=True)
class BrokerAddress:
    """Where devices find the broker; `ca` is the PEM certificate to trust, None without TLS or with a public one."""

    host: str
    port: int
    tls: bool = False
    ca: str | None = None


class CredentialProvider(Protocol):
    """What enrolment and removal need of a broker."""

    def access(self, device: str, password: str) -> BrokerAccess:
        """Return what a device with this id and password is told in its `EnrolmentResponse`."""

    def refresh(self) -> None:
        """Let the broker know which devices there are now; called after an enrolment or removal is stored.

        Raises:
            EnvironmentFailure: it could not be told; the next call tells it again.
        """


@dataclass(frozen=True)
class EmbeddedCredentials:
    """The embedded broker asks the store at each login; `drop_removed` ends the connections of who may not log in."""

    address: BrokerAddress
    drop_removed: Callable[[], None]

    def access(self, device: str, password: str) -> BrokerAccess:
        """Return the device's own user name and password."""
        return own_login(self.address, device, password)

    def refresh(self) -> None:
        """Close the connections of devices that were removed."""
        self.drop_removed()


@dataclass(frozen=True)
class StaticCredentials:
    """A broker that is someone else's: all devices use one login, and its operator keeps them apart."""

    address: BrokerAddress
    username: str
    password: str

    def access(self, device: str, password: str) -> BrokerAccess:  # noqa: ARG002 - the Protocol's signature
        """Return the login that all devices share."""
        return own_login(self.address, self.username, self.password)

    def refresh(self) -> None:
        """Do nothing."""


def own_login(address: BrokerAddress, username: str, password: str) -> BrokerAccess:
    """Return the access of one login at an address."""
    return BrokerAccess(
        host=address.host, port=address.port, tls=address.tls, username=username, password=password, ca=address.ca
    )
