"""The broker of the device's owner, and the limits of predictions over it. Pure.

    split_broker_url("mqtts://broker.home:8883")    # ("broker.home", 8883, True)

User and password are never in the URL, which others see in the list of processes and in logs: no error here repeats a
URL that may hold one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from edgemm.errors import InputError
from edgemm.transport.address import OWN_BROKER, is_loopback, split_address

DEFAULT_PREFIX = "edgemm"
_PORTS = {"mqtt": 1883, "mqtts": 8883}
_LONGEST_PREFIX = 200
MIB = 1024 * 1024


@dataclass(frozen=True)
class MqttLimits:
    """Limits and intervals of predictions over MQTT."""

    max_payload_bytes: int = 8 * MIB
    """Largest request; the broker of MQTT 5 is told and sends none that is larger."""

    max_in_flight: int = 64
    """Requests that are computed or wait for it; beyond it they are refused and counted.

    A broker of MQTT 5 is told, and sends no more before the device has confirmed these.
    """

    max_in_flight_bytes: int = 16 * MIB
    """What these may hold together."""

    max_unsent: int = 1024
    """Answers that the broker has not taken; requests are refused from half of it on."""

    max_unsent_bytes: int = 8 * MIB
    """What these may hold together."""

    connect_timeout_s: float = 10.0
    """Time to connect to the broker."""

    keepalive_s: int = 30
    """MQTT keep-alive."""

    backoff_first_s: float = 1.0
    """Upper end of the first pause after a failed connection; it doubles from there."""

    backoff_max_s: float = 60.0
    """The longest such pause."""


@dataclass(frozen=True, kw_only=True)
class OwnerBroker:
    """Where the owner's broker is, and who the device is there; `ca` is PEM, None for the system's authorities."""

    host: str
    port: int
    tls: bool
    username: str = ""
    password: str = field(default="", repr=False)
    ca: str | None = None
    prefix: str = DEFAULT_PREFIX
    retain: bool = False
    """Whether the last answer of each model stays at the broker."""

    limits: MqttLimits = MqttLimits()

    def is_at(self, host: str, port: int) -> bool:
        """Tell by its name whether a broker is this one; what names lead to is another matter."""
        names = [_plain(self.host), _plain(host)]
        return self.port == port and (names[0] == names[1] or all(map(is_loopback, names)))


def split_broker_url(url: str) -> tuple[str, int, bool]:
    """Return host, port and whether TLS is used.

    Raises:
        InputError: it is not `mqtt://HOST[:PORT]` or `mqtts://HOST[:PORT]`.
    """
    if "@" in url:
        raise InputError(
            "--mqtt: expected mqtt[s]://HOST[:PORT], found a user or password in it: give them by --mqtt-login-file, "
            "or in EDGEMM_MQTT_USER and EDGEMM_MQTT_PASSWORD"
        )
    parts = split_address(url, OWN_BROKER, what="--mqtt")
    return parts.hostname or "", parts.port or _PORTS[parts.scheme], parts.scheme == "mqtts"


def check_prefix(prefix: str) -> str:
    """Return a prefix of topics as it is.

    Raises:
        InputError: no topics can begin with it.
    """
    levels = prefix.split("/")
    if not all(levels) or len(prefix.encode()) > _LONGEST_PREFIX or prefix.startswith("$") or not prefix.isprintable():
        raise InputError(
            f"--mqtt-topic {prefix[:80]!r}: expected words with / between, of at most {_LONGEST_PREFIX} bytes, "
            "such as home/kitchen"
        )
    if "+" in prefix or "#" in prefix:
        raise InputError(f"--mqtt-topic {prefix!r}: expected the topic of one device, without + and #")
    return prefix


def refuse_the_fleets(broker: OwnerBroker, fleets: tuple[str, int] | None) -> None:
    """Let nothing be served over the broker that a device is enrolled at.

    Raises:
        InputError: it is that broker.
    """
    if fleets is not None and broker.is_at(*fleets):
        raise InputError(
            f"--mqtt: {broker.host}:{broker.port} is the broker of this device's fleet, which carries no predictions: "
            "give a broker of your own"
        )


def _plain(host: str) -> str:
    return host.strip("[]").rstrip(".").lower()
