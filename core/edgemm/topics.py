"""MQTT topics: `edgemm/v1/{fleet}/{shard}/{device}/{channel}`.

The shard is the first two hex digits of SHA-256(device id), so that several managers can share the ingest on any
broker. A device publishes and subscribes under its own name only.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, NamedTuple

from msgspec import Meta

from edgemm.errors import MessageError

ROOT = "edgemm/v1"
NAME_PATTERN = r"\A[a-z0-9][a-z0-9_-]{0,62}\Z"
DeviceId = Annotated[str, Meta(pattern=NAME_PATTERN)]
FleetName = Annotated[str, Meta(pattern=NAME_PATTERN)]


class Channel(StrEnum):
    """The last level of a topic."""

    DESIRED = "desired"
    REPORTED = "reported"
    STATUS = "status"
    TELEMETRY = "telemetry"
    EVENT = "event"
    ACK = "ack"
    ACTION = "action"


FROM_FLEET = frozenset({Channel.DESIRED, Channel.ACK, Channel.ACTION})
_CHANNELS = frozenset(Channel)
FROM_DEVICE = _CHANNELS - FROM_FLEET
_LEVELS = 6
RETAINED = frozenset({Channel.DESIRED, Channel.REPORTED, Channel.STATUS})


class Address(NamedTuple):
    """Whose topic it is, and which."""

    fleet: str
    device: str
    channel: Channel


def shard(device: str) -> str:
    """Return the shard of a device: two hex digits."""
    return hashlib.sha256(device.encode()).hexdigest()[:2]


def topic(fleet: str, device: str, channel: Channel) -> str:
    """Return the topic of one channel of one device."""
    return f"{ROOT}/{fleet}/{shard(device)}/{device}/{channel}"


def parse(text: str) -> Address:
    """Read a topic back.

    Raises:
        MessageError: it is none of ours, or its shard is not the device's.
    """
    match text.split("/"):
        case ["edgemm", "v1", fleet, found, device, channel] if (
            re.search(NAME_PATTERN, fleet) and re.search(NAME_PATTERN, device) and channel in _CHANNELS
        ):
            if found == shard(device):
                return Address(fleet, device, Channel(channel))
    raise MessageError(f"topic {text[:120]!r}: expected {ROOT}/FLEET/SHARD/DEVICE/CHANNEL")


def claimed(text: str) -> str:
    """Return whose topic it is, at whichever shard: that is what a broker's access rules look at; "" for nobody's."""
    levels = text.split("/", 5)
    return levels[4] if len(levels) == _LEVELS and re.search(NAME_PATTERN, levels[4]) else ""


def ingest_filters(fleet: str, channels: Iterable[Channel] = tuple(FROM_DEVICE)) -> list[str]:
    """Return the filters under which a manager hears all devices of a fleet."""
    return sorted(f"{ROOT}/{fleet}/+/+/{channel}" for channel in channels)
