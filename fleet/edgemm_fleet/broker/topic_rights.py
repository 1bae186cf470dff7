"""The access rules of the broker: who may log in, and which topics each client may use.

A device logs in with its id as client id and user name. It publishes only under its own name, and only on the channels
of devices. It hears only what the fleet sends to it. The manager's user may do everything under its fleet. Wildcards
are the manager's alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from edgemm import topics
from edgemm.errors import MessageError

MANAGER = "@manager"
"""The manager's user name; no device id can be like it."""


class TopicRight(StrEnum):
    """What a client wants to do with a topic."""

    PUBLISH = "publish"
    SUBSCRIBE = "subscribe"
    RECEIVE = "receive"


@dataclass(frozen=True)
class BrokerRules:
    """The rules of one fleet; `verify` tells whether a user name and password belong together."""

    fleet: str
    verify: Callable[[str, str], bool]

    def admits(self, client_id: str | None, username: str | None, password: str | None) -> bool:
        """Tell whether a client may connect."""
        if not username or not password:
            return False
        if username not in {MANAGER, client_id}:
            return False
        return self.verify(username, password)

    def allows(self, username: str | None, access: TopicRight, topic: str) -> bool:
        """Tell whether a connected client may use a topic, or a filter when it subscribes."""
        if username == MANAGER:
            return topic.startswith(f"{topics.ROOT}/{self.fleet}/")
        try:
            address = topics.parse(topic)
        except MessageError:
            return False
        allowed = topics.FROM_DEVICE if access is TopicRight.PUBLISH else topics.FROM_FLEET
        return address.fleet == self.fleet and address.device == username and address.channel in allowed
