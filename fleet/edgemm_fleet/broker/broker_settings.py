"""The facts about a fleet's broker, as one value from the command line to whoever listens, connects or lets in."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from edgemm.trust.enrolment import BrokerAccess
from edgemm_fleet.broker.topic_rights import MANAGER

Login = tuple[str, str]
"""A user name and a password."""
_TLS_PORT, _PLAIN_PORT = 8883, 1883
_LOCAL = "127.0.0.1"


class Provider(StrEnum):
    """Whose broker it is, and how devices get their login."""

    EMBEDDED = "embedded"
    MOSQUITTO = "mosquitto"
    STATIC = "static"


@dataclass(frozen=True)
class TlsFiles:
    """The server's certificate and private key, PEM."""

    certificate: Path
    private_key: Path


@dataclass(frozen=True)
class MosquittoFolder:
    """Where Mosquitto's files are generated, and how a running one is told of changes.

    `reload_command`, or else a signal to the process whose id is in `pid_file`, makes it read the files again.
    """

    folder: Path
    pid_file: Path | None = None
    reload_command: tuple[str, ...] | None = None
    files: TlsFiles | None = None
    """What it shows in place of the fleet's own certificate."""


@dataclass(frozen=True)
class BrokerSettings:
    """A fleet's broker: whose it is, where it is, and who may log in.

    `host` and `port` are where this process reaches the broker, or where the embedded one listens (port None: the
    usual one; 0: any free one); `device_host` is what devices are told, the same unless given.
    """

    provider: Provider = Provider.EMBEDDED
    host: str = _LOCAL
    port: int | None = None
    device_host: str | None = None
    tls: bool = False
    files: TlsFiles | None = None
    """The fleet's own certificate and key, which the embedded broker or Mosquitto shows; without `ca`, devices trust
    exactly this certificate."""
    ca: str | None = None
    """PEM to trust at another broker; None for the one in `files`, or else for the system's authorities."""
    login: Login | None = field(default=None, repr=False)
    """The manager's own; None to make one up, which holds for this process."""
    device_login: Login | None = field(default=None, repr=False)
    """That of all devices, with the static provider."""
    mosquitto: MosquittoFolder | None = None

    @property
    def encrypted(self) -> bool:
        """Whether the broker speaks TLS."""
        return self.tls or self.files is not None

    @property
    def shown_files(self) -> TlsFiles | None:
        """The certificate and key that a broker shows which is embedded or configured here; None: plain MQTT."""
        own = self.mosquitto.files if self.mosquitto is not None else None
        return (own or self.files) if self.encrypted else None

    @property
    def number(self) -> int:
        """The port."""
        if self.port is not None:
            return self.port
        return _TLS_PORT if self.encrypted else _PLAIN_PORT

    @property
    def public_host(self) -> str:
        """Where devices find the broker."""
        return self.device_host or self.host

    @property
    def url(self) -> str:
        """Where devices find the broker, as people write it."""
        return f"{'mqtts' if self.encrypted else 'mqtt'}://{self.public_host}:{self.number}"

    def with_login(self) -> BrokerSettings:
        """Return the same with a login of the manager, made up where none was given."""
        return self if self.login is not None else replace(self, login=(MANAGER, secrets.token_urlsafe(24)))

    def manager_access(self) -> BrokerAccess:
        """Return how the manager logs in; an own certificate is read from its file."""
        assert self.login is not None, "a broker is used with the manager's login"
        everywhere = self.provider is Provider.EMBEDDED and self.host in {"", "0.0.0.0", "::"}  # noqa: S104 - compared, not bound
        return self._access(_LOCAL if everywhere else self.host, self.login)

    def device_access(self, username: str, password: str) -> BrokerAccess:
        """Return what a device with this login is told."""
        return self._access(self.public_host, (username, password))

    def _access(self, host: str, login: Login) -> BrokerAccess:
        ca = self.files.certificate.read_text() if self.files is not None and self.ca is None else self.ca
        return BrokerAccess(
            host=host, port=self.number, tls=self.encrypted, username=login[0], password=login[1], ca=ca
        )
