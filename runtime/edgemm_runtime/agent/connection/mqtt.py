"""The device's connection to the broker: `status` on every connection, `desired` and `ack` heard, the rest sent.

Each connection has its own last will, `status` offline with its number. Once the broker lets it in, the device
subscribes, says that it is online, and lets the agent report. A broker that is down costs growing pauses, and nothing
else: unsent messages wait in the spool. How a connection is kept is `edgemm.transport.broker_line`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from paho.mqtt.client import Client, MQTTMessageInfo

from edgemm.messages import MAX_CONTROL_BYTES, Status, encode_control
from edgemm.topics import FROM_FLEET, RETAINED, Channel, topic
from edgemm.transport.backoff import Backoff
from edgemm.transport.broker_line import QOS, BrokerLine, LinePatience
from edgemm.trust.enrolment import BrokerAccess
from edgemm_runtime.agent.state.agent_options import AgentLimits
from edgemm_runtime.agent.state.speaker import Speaker

_log = logging.getLogger(__name__)


class MqttConnection(BrokerLine):
    """One device's line; `on_connected` and `on_message` are called in its threads.

    Raises:
        InputError: the broker is on another machine and without TLS.
    """

    most_unconfirmed = 256

    def __init__(
        self,
        access: BrokerAccess,
        who: Speaker,
        limits: AgentLimits,
        *,
        on_connected: Callable[[], None],
        on_message: Callable[[Channel, bytes], None],
    ) -> None:
        backoff = Backoff(limits.backoff_first_s, limits.backoff_max_s)
        patience = LinePatience(limits.connect_timeout_s, limits.keepalive_s, backoff)
        super().__init__(access, client_id=who.device, patience=patience)
        self._who, self._on_connected, self._on_message = who, on_connected, on_message
        self._brokers = [access]
        self._heard = {self._topic(channel): channel for channel in FROM_FLEET}

    def use(self, brokers: Sequence[BrokerAccess]) -> None:
        """Try these from now on, in their order, each with this device's login; none changes nothing.

        A connection to one that is not the first choice ends, for the first may be there again.
        """
        if brokers:
            self._brokers = list(brokers)
            first, present = self._brokers[0], self._access
            if first != present:
                elsewhere = (first.host, first.port) != (present.host, present.port)
                self.go_to(first, now=elsewhere and self.connected)

    def missed(self) -> None:
        """Try the next broker."""
        brokers = self._brokers
        at = brokers.index(self._access) if self._access in brokers else -1
        self.go_to(brokers[(at + 1) % len(brokers)], now=False)

    def stop(self, timeout_s: float = 30.0) -> None:
        """Say that the device goes offline, and disconnect, in no more than this time."""
        until_s = time.monotonic() + timeout_s
        said = self.send(self._topic(Channel.STATUS), self._status(online=False), retain=True)
        if said is not None:
            _wait(said, timeout_s)
        super().stop(max(0.0, until_s - time.monotonic()))

    def publish(self, channel: Channel, payload: bytes) -> bool:
        """Hand a message to the broker; tells whether it was taken."""
        return self.send(self._topic(channel), payload, retain=channel in RETAINED) is not None

    def prepare(self, client: Client) -> None:
        """Leave the last will: whoever hears it knows by its number whether the device came back meanwhile."""
        client.will_set(self._topic(Channel.STATUS), self._status(online=False), qos=QOS, retain=True)

    def accepted(self, client: Client) -> None:
        """Subscribe, say that the device is online, and let the agent report."""
        client.subscribe([(topic, QOS) for topic in sorted(self._heard)])
        client.publish(self._topic(Channel.STATUS), self._status(online=True), qos=QOS, retain=True)
        self.opened()
        _log.info("connected device=%s connection=%d", self._who.device, self.connection)
        self._on_connected()

    def received(self, topic: str, payload: bytes) -> None:
        """Pass on what the fleet says; of what is too large to be read, no more than shows that."""
        if (channel := self._heard.get(topic)) is not None:
            self._on_message(channel, payload[: MAX_CONTROL_BYTES + 1])

    def _topic(self, channel: Channel) -> str:
        return topic(self._who.fleet, self._who.device, channel)

    def _status(self, *, online: bool) -> bytes:
        return encode_control(
            Status(
                online=online,
                boot=self._who.boot,
                boot_count=self._who.boot_count,
                connection=max(1, self.connection),
            )
        )


def _wait(said: MQTTMessageInfo, timeout_s: float) -> None:
    try:
        said.wait_for_publish(timeout_s)
    except (RuntimeError, ValueError) as err:
        _log.info("offline not said error=%s", err)
