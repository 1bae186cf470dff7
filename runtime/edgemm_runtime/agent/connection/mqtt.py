"""The device's connection to the broker: MQTT 3.1.1 by paho-mqtt, in one thread, reconnecting for ever.

Each connection has its own number and its own last will, `status` offline with that number. After CONNACK the device
subscribes, says that it is online, and lets the agent report. A broker that is down costs growing pauses, and nothing
else: unsent messages wait in the spool.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode

from edgemm.errors import InputError
from edgemm.messages import MAX_CONTROL_BYTES, Status, encode_control
from edgemm.topics import FROM_FLEET, RETAINED, Channel, topic
from edgemm.trust.enrolment import BrokerAccess
from edgemm.trust.tls import pinned_context
from edgemm_runtime.agent.connection.fleet_connection import is_loopback
from edgemm_runtime.agent.state.agent_options import AgentLimits
from edgemm_runtime.agent.state.speaker import Speaker
from edgemm_runtime.backoff import Backoff, Connections

_log = logging.getLogger(__name__)
_QOS = 1


class _Client(mqtt.Client):
    """A client that tells the end of its network thread, whatever ended it: a malformed packet makes paho raise."""

    on_end: Callable[[], None]

    def loop_forever(self, timeout: float = 1.0, retry_first_connection: bool = False) -> MQTTErrorCode:  # noqa: FBT001, FBT002 - paho's signature
        """Run until the connection is over."""
        try:
            return super().loop_forever(timeout, retry_first_connection)
        except Exception:  # noqa: BLE001 - a thread's boundary: nobody else would notice, and nothing be heard any more
            _log.exception("broker_connection_failed")
            return MQTTErrorCode.MQTT_ERR_UNKNOWN
        finally:
            self.on_end()


class MqttConnection:
    """Keeps one connection after another; `connected` and `received` are called in its thread.

    Raises:
        InputError: the broker is on another machine and without TLS.
    """

    def __init__(
        self,
        access: BrokerAccess,
        who: Speaker,
        limits: AgentLimits,
        *,
        on_connected: Callable[[], None],
        on_message: Callable[[Channel, bytes], None],
    ) -> None:
        if not access.tls and not is_loopback(access.host):
            raise InputError(f"broker {access.host}: plain MQTT is for loopback only; give the fleet a broker with TLS")
        self._access, self._who, self._limits = access, who, limits
        self._on_connected, self._on_message = on_connected, on_message
        self._backoff = Backoff(limits.backoff_first_s, limits.backoff_max_s)
        self._connection = 0
        self._client: mqtt.Client | None = None
        self._stop, self._up = threading.Event(), threading.Event()
        self._settled, self._over = threading.Event(), threading.Event()
        self._let_in = False
        """Whether the broker accepted this connection, which may be over by the time that somebody asks."""
        self._thread = threading.Thread(target=self._run, name="edgemm-link", daemon=True)

    def start(self) -> None:
        """Begin to connect."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Say that the device goes offline, and disconnect."""
        client = self._client
        if client is not None and self.connected:
            said = client.publish(self._topic(Channel.STATUS), self._status(online=False), qos=_QOS, retain=True)
            _wait(said, timeout_s)
        self._stop.set()
        self._settled.set()
        self._over.set()
        if client is not None:
            client.disconnect()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    @property
    def connected(self) -> bool:
        """Whether messages can be sent now."""
        return self._up.is_set()

    def publish(self, channel: Channel, payload: bytes) -> bool:
        """Hand a message to the broker; tells whether it was taken."""
        client = self._client
        if client is None or not self.connected:
            return False
        sent = client.publish(self._topic(channel), payload, qos=_QOS, retain=channel in RETAINED)
        return sent.rc == mqtt.MQTT_ERR_SUCCESS

    def _run(self) -> None:
        connections = Connections()
        while not self._stop.is_set():
            begun_s = time.monotonic()
            if self._connect_once():
                held_s = time.monotonic() - begun_s
                connections = connections.ended(held_s, lasting_s=self._limits.keepalive_s)
            else:
                connections = connections.failed()
            pause = self._backoff.delay_s(connections.failures, draw=random.random())  # noqa: S311 - spreads load only
            self._stop.wait(pause)

    def _connect_once(self) -> bool:
        """Hold one connection until it is over; tells whether the broker let the device in."""
        self._connection += 1
        self._let_in = False
        self._settled.clear()
        self._over.clear()
        try:
            client = self._make_client()
            self._client = client
            client.connect(self._access.host, self._access.port, keepalive=self._limits.keepalive_s)
        except (OSError, ValueError) as err:
            _log.warning("broker out of reach host=%s port=%d error=%s", self._access.host, self._access.port, err)
            return False
        client.loop_start()
        try:
            self._settled.wait(self._limits.connect_timeout_s)
            reached = self._let_in
            if reached:
                self._over.wait()
        finally:
            self._up.clear()
            client.disconnect()
            client.loop_stop()
        return reached

    def _make_client(self) -> mqtt.Client:
        client = _Client(
            CallbackAPIVersion.VERSION2, client_id=self._who.device, clean_session=True, reconnect_on_failure=False
        )
        client.connect_timeout = self._limits.connect_timeout_s
        client.username_pw_set(self._access.username, self._access.password)
        if self._access.tls:
            client.tls_set_context(pinned_context(self._access.ca))
        client.will_set(self._topic(Channel.STATUS), self._status(online=False), qos=_QOS, retain=True)
        client.on_end = self._ended
        client.on_connect = lambda *args: self._connected(args[0], args[3])
        client.on_disconnect = lambda *args: self._disconnected(args[3])
        client.on_message = lambda *args: self._received(args[2])
        return client

    def _connected(self, client: mqtt.Client, answer: ReasonCode) -> None:
        if answer.is_failure:
            _log.warning("broker refuses device=%s answer=%s", self._who.device, answer)
            self._settled.set()
            return
        client.subscribe([(self._topic(channel), _QOS) for channel in sorted(FROM_FLEET)])
        client.publish(self._topic(Channel.STATUS), self._status(online=True), qos=_QOS, retain=True)
        self._let_in = True
        self._up.set()
        self._settled.set()
        _log.info("connected device=%s connection=%d", self._who.device, self._connection)
        self._on_connected()

    def _disconnected(self, answer: ReasonCode) -> None:
        self._ended()
        _log.info("disconnected device=%s connection=%d answer=%s", self._who.device, self._connection, answer)

    def _ended(self) -> None:
        self._up.clear()
        self._over.set()
        self._settled.set()

    def _received(self, message: Any) -> None:
        if len(message.payload) > MAX_CONTROL_BYTES:
            _log.warning("message ignored topic=%s bytes=%d", message.topic, len(message.payload))
            return
        for channel in FROM_FLEET:
            if message.topic == self._topic(channel):
                self._on_message(channel, bytes(message.payload))

    def _topic(self, channel: Channel) -> str:
        return topic(self._who.fleet, self._who.device, channel)

    def _status(self, *, online: bool) -> bytes:
        return encode_control(
            Status(
                online=online,
                boot=self._who.boot,
                boot_count=self._who.boot_count,
                connection=max(1, self._connection),
            )
        )


def _wait(said: mqtt.MQTTMessageInfo, timeout_s: float) -> None:
    try:
        said.wait_for_publish(timeout_s)
    except (RuntimeError, ValueError) as err:
        _log.info("offline not said error=%s", err)
