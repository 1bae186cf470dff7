"""The reader of one MQTT message of a device: checks the sender, the topic and the signature."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from securesystemslib.signer import Key

from edgemm import topics
from edgemm.errors import MessageError, TrustError
from edgemm.messages import Event, Reported, Status, Telemetry, decode_control, decode_telemetry
from edgemm.topics import Channel
from edgemm.trust.signing import PayloadType, unseal

Message = Reported | Status | Event | Telemetry
address_of = lru_cache(maxsize=10_000)(topics.parse)
"""Read a topic back as `topics.parse` does, which takes several times as long; what it refuses is not kept."""


class Incoming(NamedTuple):
    """A message as it came from the broker."""

    topic: str
    payload: bytes
    retained: bool = False
    """The broker had kept it, and it is sent because the manager subscribed: it may be of long ago."""

    def device(self, fleet: str) -> str:
        """Return whose message it claims to be.

        Raises:
            MessageError: the topic is none that a device of this fleet publishes to.
        """
        address = address_of(self.topic)
        if address.fleet != fleet or address.channel not in topics.FROM_DEVICE:
            raise MessageError(f"topic {self.topic[:120]!r}: expected one of a device of fleet {fleet}")
        return address.device


class Heard(NamedTuple):
    """A message of a device that passed all checks, with the bytes it was decoded from."""

    device: str
    message: Message
    payload: bytes
    live: bool
    """It came as it was published; what the broker had retained is not."""


def read(incoming: Incoming, *, fleet: str, device: str, key: Key) -> Message:
    """Return the message if the device whose topic it came by sent it.

    `telemetry` and `status` are not signed: that only their device publishes to these topics is the broker's part.

    Raises:
        MessageError: it cannot be decoded.
        TrustError: another key signed it, or it speaks for another device or fleet.
    """
    channel = address_of(incoming.topic).channel
    if channel is Channel.TELEMETRY:  # of a hundred messages ninety-nine
        return decode_telemetry(incoming.payload)
    match channel:
        case Channel.STATUS:
            return decode_control(incoming.payload, Status)
        case Channel.REPORTED:
            report = unseal(incoming.payload, PayloadType.REPORTED, Reported, keys=[key])
            return _own(report, fleet=fleet, device=device)
        case Channel.EVENT:
            event = unseal(incoming.payload, PayloadType.EVENT, Event, keys=[key])
            return _own(event, fleet=fleet, device=device)
        case other:
            raise MessageError(f"{other}: not what a device sends")


def _own(message: Reported | Event, *, fleet: str, device: str) -> Reported | Event:
    if (message.fleet, message.device) != (fleet, device):
        raise TrustError(
            f"{type(message).__name__.lower()}: came by the topic of {fleet}/{device}, says that it is of "
            f"{message.fleet}/{message.device}"
        )
    return message
