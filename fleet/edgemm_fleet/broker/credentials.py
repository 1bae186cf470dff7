"""The broker logins of devices: one provider for each kind of broker, behind one Protocol.

The store holds the hash of each device's broker password. A provider says what a device needs to log in, and tells the
broker when devices came or went. Mosquitto's is in `mosquitto.py`; `server/services.py` takes the one of the settings.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from edgemm.trust.enrolment import BrokerAccess
from edgemm_fleet.broker.broker_settings import BrokerSettings
from edgemm_fleet.broker.gathered_write import Told


class CredentialProvider(Protocol):
    """What enrolment and removal need of a broker."""

    def access(self, device: str, password: str) -> BrokerAccess:
        """Return what a device with this id and password is told in its `EnrolmentResponse`."""

    def refresh(self) -> None:
        """Let the broker know which devices there are now; called after a removal is stored.

        Raises:
            EnvironmentFailure: it could not be told; the next call tells it again.
        """

    def admit(self, told: Told) -> None:
        """Let the broker know of devices that enrolled; `told` is called once it lets them in, maybe in a thread.

        It returns at once: many devices may wait for one reading of the broker's files.
        """

    def shut_out(self, told: Told) -> None:
        """Do as `refresh`, and return at once; `told` is called once it is done, maybe in a thread."""


@dataclass(frozen=True)
class EmbeddedCredentials:
    """The embedded broker asks the store at each login; `drop_removed` ends the connections of who may not log in."""

    broker: BrokerSettings
    drop_removed: Callable[[], None]

    def access(self, device: str, password: str) -> BrokerAccess:
        """Return the device's own user name and password."""
        return self.broker.device_access(device, password)

    def refresh(self) -> None:
        """Close the connections of devices that were removed."""
        self.drop_removed()

    def admit(self, told: Told) -> None:
        """Do nothing: whoever is in the store is let in."""
        told(None)

    def shut_out(self, told: Told) -> None:
        """Close the connections of devices that were removed."""
        self.refresh()
        told(None)


@dataclass(frozen=True)
class StaticCredentials:
    """A broker that is someone else's: all devices use one login, and its operator keeps them apart."""

    broker: BrokerSettings

    def access(self, device: str, password: str) -> BrokerAccess:  # noqa: ARG002 - the Protocol's signature
        """Return the login that all devices share."""
        assert self.broker.device_login is not None, "the static provider needs the devices' login"
        return self.broker.device_access(*self.broker.device_login)

    def refresh(self) -> None:
        """Do nothing."""

    def admit(self, told: Told) -> None:
        """Do nothing."""
        told(None)

    def shut_out(self, told: Told) -> None:
        """Do nothing."""
        told(None)
