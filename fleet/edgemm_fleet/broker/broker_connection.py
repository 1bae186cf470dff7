"""The manager's connection to the broker: subscribed to what devices say, and told what was delivered.

What a connection still had to send when it ended is in the store, and is sent anew from there. How a connection is
kept is `edgemm.transport.broker_line`.
"""

from __future__ import annotations

import logging
import math
import queue
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from paho.mqtt.client import Client, MQTTMessage

from edgemm import topics
from edgemm.topics import Channel
from edgemm.transport.backoff import Backoff
from edgemm.transport.broker_line import QOS, BrokerClient, BrokerLine, LinePatience
from edgemm.transport.whole_packets import Taken
from edgemm.trust.enrolment import BrokerAccess
from edgemm_fleet.broker.login_probe import answers_plain

_MOST_UNCONFIRMED = 20_000
"""Acknowledgements and `desired` that the broker is still to confirm; MQTT has numbers for three times as many.

It is the only bound. With one on those in flight paho looks through all of them whenever one is confirmed."""
_SENT_UNTIL_STORED = (Channel.EVENT, Channel.TELEMETRY)
"""What devices send again until the fleet acknowledges it: nothing is gained by telling the broker that it came.
Mosquitto reads one packet of each connection in turn: beside hundreds of devices it would hear that too late, take the
manager for slow, and drop what it is still to pass on."""
_LARGEST_PACKET_BYTES = 2**28
"""Of MQTT. A broker that passes on what one device sends must not have the manager hang up on all."""
_MAX_KEPT_BYTES = 128 * 1024
"""Of one packet: more than any message, and than the longest topic that MQTT has."""
_LOOK_EVERY_S = 60.0
_LOOK_TIMEOUT_S = 2.0
_PATIENCE = LinePatience(connect_timeout_s=10.0, keepalive_s=30, backoff=Backoff(first_s=0.2, max_s=5.0))
_log = logging.getLogger(__name__)


class Receipt(NamedTuple):
    """Names one published message: the connection it went by, and its id there."""

    connection: int
    message_id: int


class BrokerConnection(BrokerLine):
    """Receives what devices publish, and publishes to them.

    Raises:
        InputError: the broker is on another machine and without TLS.
    """

    most_unconfirmed = _MOST_UNCONFIRMED

    def __init__(
        self, access: BrokerAccess, *, fleet: str, client_id: str, receive: Callable[[Sequence[Taken]], None]
    ) -> None:
        super().__init__(access, client_id=client_id, patience=_PATIENCE)
        self._fleet, self._receive = fleet, receive
        self.on_change: Callable[[], None] = lambda: None
        """Called when the connection comes or goes, and when `delivered` has something new."""
        self.delivered: queue.SimpleQueue[Receipt] = queue.SimpleQueue()
        """What the broker acknowledged while `awaits_delivery`."""
        self.awaits_delivery = False
        """Whether anybody wants to know what the broker acknowledged; of most messages, such as acks, nobody does."""
        self.refusals = 0
        """How often a broker was reached that did not let the manager in."""
        self._looked_s = -math.inf
        self._gone_since_s: float | None = time.monotonic()
        self._refusals_before = 0

    def gone_s(self) -> float | None:
        """Return for how long there has been no connection; None where there is one."""
        if self.connected:
            return None
        since_s = self._gone_since_s
        return 0.0 if since_s is None else time.monotonic() - since_s

    @property
    def turned_away(self) -> bool:
        """Whether a broker was reached since the connection went, which did not let the manager in."""
        return self.refusals > self._refusals_before

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> Receipt | None:
        """Publish with QoS 1; return what `delivered` will name, None when not connected."""
        connection = self.connection
        sent = self.send(topic, payload, retain=retain)
        return None if sent is None else Receipt(connection, sent.mid)

    def prepare(self, client: Client) -> None:
        """Have subscriptions and deliveries told."""
        connection = self.connection
        assert isinstance(client, BrokerClient)
        client.joins, client.on_taken = True, self._receive
        client.max_inflight_messages_set(0)
        client.most_packet_bytes, client.most_kept_bytes = _LARGEST_PACKET_BYTES, _MAX_KEPT_BYTES
        client.on_subscribe = self._subscribed
        client.on_publish = lambda _client, _data, mid, *_: self._delivered(Receipt(connection, mid))

    def accepted(self, client: Client) -> None:
        """Subscribe; the connection is open once the broker has granted that."""
        once = topics.ingest_filters(self._fleet, _SENT_UNTIL_STORED)
        asked = [(filter_, 0 if filter_ in once else QOS) for filter_ in topics.ingest_filters(self._fleet)]
        client.subscribe(asked)

    def came(self, message: MQTTMessage) -> None:
        """Pass on what a device says, and whether the broker had retained it."""
        self._receive([(message.topic, bytes(message.payload), message.retain)])

    def received(self, topic: str, payload: bytes) -> None:
        """Pass on what a device says now."""
        self._receive([(topic, payload, False)])

    def clear(self, topic: str) -> None:
        """Have the broker forget what it retains at a topic."""
        self.publish(topic, b"", retain=True)

    def hear_again(self, filter_: str) -> None:
        """Have the broker send what it retains under a filter."""
        if (client := self._client) is not None and self.connected:
            client.subscribe(filter_, QOS)
            client.unsubscribe(filter_)

    def lost(self) -> None:
        """Tell that the connection is gone."""
        self._gone_since_s, self._refusals_before = time.monotonic(), self.refusals
        self.on_change()

    def missed(self) -> None:
        """Tell, once a minute, where the broker speaks no TLS: what a failed handshake says of that is no help."""
        if self._access.tls and time.monotonic() >= self._looked_s + _LOOK_EVERY_S:
            self._looked_s = time.monotonic()
            if answers_plain(self._access, timeout_s=_LOOK_TIMEOUT_S):
                _log.error(
                    "broker_without_tls host=%s port=%d: it answers plain MQTT, expected mqtts://: give its listener "
                    "certfile and keyfile, and restart it",
                    self._access.host,
                    self._access.port,
                )

    def refused(self) -> None:
        """Count it."""
        self.refusals += 1

    def _subscribed(self, client: Client, _data: Any, _mid: int, reasons: Any, _properties: Any) -> None:
        if any(reason.is_failure for reason in reasons):
            _log.error("broker_subscription_refused reasons=%s", [str(reason) for reason in reasons])
            client.disconnect()
            return
        if self.connected:
            return
        self._gone_since_s = None
        self.opened()
        _log.info("broker_connected connection=%d", self.connection)
        self.on_change()

    def _delivered(self, receipt: Receipt) -> None:
        if self.awaits_delivery:
            self.delivered.put(receipt)
            self.on_change()
