"""The way to an MQTT broker, for devices and the fleet manager: one connection after another, in one thread, for ever.

    class Link(BrokerLine):
        def accepted(self, client):     # CONNACK came: subscribe, and `self.opened()` once messages may be sent
        def received(self, topic, payload):

Each connection is a new client of paho-mqtt with a number of its own, so that nothing of an old one is sent by a new
one: what it still had to send is kept elsewhere. Whatever ends a connection, another one follows after a pause; pauses
grow while none gets in, or none lasts. Plain MQTT goes to loopback only, and a certificate that is given is pinned; a
line to somebody's own broker may do otherwise (`plain_anywhere`, `tls_context`), and speak MQTT 5 (`protocol`).
Needs paho-mqtt (the runtime or the fleet extra).
"""

from __future__ import annotations

import logging
import random
import ssl
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edgemm.errors import InputError
from edgemm.transport.address import is_loopback
from edgemm.transport.backoff import Backoff, Connections
from edgemm.transport.joining_client import JoiningClient
from edgemm.trust.enrolment import BrokerAccess
from edgemm.trust.tls import pinned_context

_log = logging.getLogger(__name__)
MOST_PACKET_BYTES = 1024 * 1024
"""Far more than any message of a fleet. Who hears a message that is too long, and no longer than this, passes it over
and goes on: one that was left as retained on a fair broker must not end each connection."""
QOS = 1
"""Of every message: it comes at least once, and who hears it drops doubles."""


@dataclass(frozen=True)
class LinePatience:
    """How long a line waits for the broker, how often it shows that it lives, and its pauses between connections."""

    connect_timeout_s: float
    keepalive_s: int
    backoff: Backoff


class BrokerClient(JoiningClient):
    """A client that tells the end of its network thread, whatever ended it: a malformed packet makes paho raise."""

    on_end: Callable[[], None]
    on_turn: Callable[[], None] | None = None
    """Called in the network thread after each look at the connection, while nothing of the client is locked."""
    most_packet_bytes: int = MOST_PACKET_BYTES
    """A packet that is longer ends the connection before it is read."""
    most_kept_bytes: int | None = None
    """What of a longer packet is beyond this is thrown away as it comes: who sent it must not end the connection."""

    def _sock_recv(self, bufsize: int) -> bytes:
        # paho asks for what is missing of a packet at once, and has no limit of its own.
        if bufsize > self.most_packet_bytes:
            raise ConnectionError(
                f"the broker sent a packet of {bufsize:,} bytes: expected at most {self.most_packet_bytes:,}"
            )
        if self.most_kept_bytes is not None:
            del self._in_packet["packet"][self.most_kept_bytes :]
            bufsize = min(bufsize, self.most_kept_bytes)
        return super()._sock_recv(bufsize)

    def loop_misc(self) -> MQTTErrorCode:
        """Do what is due now and then."""
        if self.on_turn is not None:
            self.on_turn()
        return super().loop_misc()

    def loop_forever(self, timeout: float = 1.0, retry_first_connection: bool = False) -> MQTTErrorCode:  # noqa: FBT001, FBT002 - paho's signature
        """Run until the connection is over."""
        try:
            return super().loop_forever(timeout, retry_first_connection)
        except Exception:  # noqa: BLE001 - a thread's boundary: nobody else would notice, and nothing be heard any more
            _log.exception("broker_connection_failed")
            return MQTTErrorCode.MQTT_ERR_UNKNOWN
        finally:
            self.on_end()


class BrokerLine(ABC):
    """Keeps one connection after another; the methods to override are called in threads of the line.

    Raises:
        InputError: the broker is on another machine and without TLS.
    """

    plain_anywhere = False
    most_unconfirmed = 0
    """How many messages may await the broker's confirmation; beyond it the connection ends. 0: who sends sees to it."""
    protocol: MQTTProtocolVersion = MQTTProtocolVersion.MQTTv311

    def __init__(self, access: BrokerAccess, *, client_id: str, patience: LinePatience) -> None:
        if not access.tls and not is_loopback(access.host) and not self.plain_anywhere:
            raise InputError(f"broker {access.host}: plain MQTT is for loopback only; give the fleet a broker with TLS")
        self._access, self._client_id, self._patience = access, client_id, patience
        self._backoff = patience.backoff
        self._connection = 0
        self._client: mqtt.Client | None = None
        self._stop, self._up = threading.Event(), threading.Event()
        self._settled, self._over = threading.Event(), threading.Event()
        self._let_in = False
        """Whether the broker accepted this connection, which may be over by the time that somebody asks."""
        self._thread = threading.Thread(target=self._run, name="edgemm-link", daemon=True)

    def prepare(self, client: mqtt.Client) -> None:  # noqa: B027 - a line may have nothing to set up
        """Set up a new client before it connects."""

    @abstractmethod
    def accepted(self, client: mqtt.Client) -> None:
        """Go on after the broker let the client in."""

    @abstractmethod
    def received(self, topic: str, payload: bytes) -> None:
        """Take a message."""

    def came(self, message: mqtt.MQTTMessage) -> None:
        """Take a message with what MQTT says of it."""
        self.received(message.topic, bytes(message.payload))

    def tls_context(self) -> ssl.SSLContext:
        """Return how the broker is known."""
        return pinned_context(self._access.ca)

    def connect_properties(self) -> Properties | None:
        """Return what MQTT 5 says of the connection."""
        return None

    def missed(self) -> None:  # noqa: B027 - a line may have nothing to change
        """Note that an attempt did not get in, whatever kept it; the next one may go elsewhere."""

    def refused(self) -> None:  # noqa: B027 - a line may have nothing to change
        """Note that a broker was reached and did not let the client in."""

    def lost(self) -> None:  # noqa: B027 - a line may have nothing to note
        """Note that a connection by which messages could be sent is over."""

    @property
    def connection(self) -> int:
        """Number of the present connection; what an earlier one did not deliver has to be published again."""
        return self._connection

    @property
    def connected(self) -> bool:
        """Whether messages can be sent now."""
        return self._up.is_set()

    def start(self) -> None:
        """Begin to connect; returns at once, for the broker may come later."""
        self._thread.start()

    def stop(self, timeout_s: float = 30.0) -> None:
        """Disconnect, and wait for the thread."""
        self._stop.set()
        self._settled.set()
        self._over.set()
        if (client := self._client) is not None:
            client.disconnect()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout_s)

    def wait_until_connected(self, timeout_s: float) -> bool:
        """Wait for the connection; tell whether it is there."""
        return self._up.wait(timeout_s)

    def opened(self) -> None:
        """Note that messages can be sent from now on."""
        self._let_in = True
        self._up.set()
        self._settled.set()

    def go_to(self, access: BrokerAccess, *, now: bool) -> None:
        """Connect to this broker next time; `now` ends the present connection for it."""
        self._access = access
        if now and (client := self._client) is not None:
            client.disconnect()

    def send(self, topic: str, payload: bytes, *, retain: bool) -> mqtt.MQTTMessageInfo | None:
        """Hand a message to the broker; None where it cannot be sent now."""
        client = self._client
        if client is None or not self.connected:
            return None
        sent = client.publish(topic, payload, qos=QOS, retain=retain)
        self._look_at(client, sent.rc)
        return sent if sent.rc == mqtt.MQTT_ERR_SUCCESS else None

    def send_together(self, messages: Sequence[tuple[str, bytes]]) -> None:
        """Hand messages (topic, payload) to the broker together, if they can be sent now."""
        client = self._client
        if isinstance(client, JoiningClient) and self.connected:
            self._look_at(client, client.publish_together(messages))

    def _look_at(self, client: mqtt.Client, sent: MQTTErrorCode) -> None:
        if sent == MQTTErrorCode.MQTT_ERR_QUEUE_SIZE:
            # Else what is said again and again, to a broker that takes all and confirms nothing, would fill the memory.
            _log.warning("broker_confirms_nothing host=%s client=%s connection=%d", *self._facts())
            client.disconnect()

    def _run(self) -> None:
        connections = Connections()
        while not self._stop.is_set():
            begun_s = time.monotonic()
            if self._guarded():
                held_s = time.monotonic() - begun_s
                connections = connections.ended(held_s, lasting_s=self._patience.keepalive_s)
            else:
                connections = connections.failed()
                self.missed()
            pause = self._backoff.delay_s(connections.failures, draw=random.random())  # noqa: S311 - spreads load only
            self._stop.wait(pause)

    def _guarded(self) -> bool:
        try:
            return self._hold_one()
        except Exception:  # noqa: BLE001 - a thread's boundary: without it, nothing would be sent or heard for ever
            _log.exception("broker_connection_failed")
            return False

    def _hold_one(self) -> bool:
        """Hold one connection until it is over; tells whether the broker let the client in."""
        self._connection += 1
        self._let_in = False
        self._settled.clear()
        self._over.clear()
        if self._stop.is_set():  # asked for since: what was cleared may have been its sign
            return False
        try:
            client = self._client = self._make_client()
            client.connect(
                self._access.host,
                self._access.port,
                keepalive=self._patience.keepalive_s,
                properties=self.connect_properties(),
            )
        except (OSError, ValueError) as err:
            _log.warning("broker_unreachable host=%s port=%d error=%r", self._access.host, self._access.port, str(err))
            return False
        client.loop_start()
        try:
            self._settled.wait(self._patience.connect_timeout_s)
            reached = self._let_in
            if reached:
                self._over.wait()
        finally:
            self._up.clear()
            client.disconnect()
            client.loop_stop()
            self._client = None  # goes with this call, and closes what it has
        if reached:
            level = logging.INFO if self._stop.is_set() else logging.WARNING
            _log.log(level, "broker_lost host=%s client=%s connection=%d", *self._facts())
            self.lost()
        else:
            self.refused()
        return reached

    def _make_client(self) -> mqtt.Client:
        client = BrokerClient(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            clean_session=None if self.protocol is MQTTProtocolVersion.MQTTv5 else True,
            protocol=self.protocol,
            reconnect_on_failure=False,
        )
        client.connect_timeout = self._patience.connect_timeout_s
        client.max_queued_messages_set(self.most_unconfirmed)
        if self._access.username:
            client.username_pw_set(self._access.username, self._access.password)
        if self._access.tls:
            client.tls_set_context(self.tls_context())
        client.on_end = self._ended
        client.on_connect = lambda *args: self._answered(args[0], args[3])
        client.on_disconnect = lambda *_: self._ended()
        client.on_message = lambda *args: self.came(args[2])
        self.prepare(client)
        return client

    def _answered(self, client: mqtt.Client, answer: ReasonCode) -> None:
        if answer.is_failure:
            _log.error("broker_refused host=%s client=%s connection=%d answer=%s", *self._facts(), answer)
            self._settled.set()
            return
        self.accepted(client)

    def _ended(self) -> None:
        self._up.clear()
        self._over.set()
        self._settled.set()

    def _facts(self) -> tuple[Any, ...]:
        return self._access.host, self._client_id, self._connection
