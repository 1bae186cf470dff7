"""The manager's connection to the broker: subscribed to devices' messages, and reconnecting for ever.

Each connection is a new paho client. Messages that an old one still had to send are in the store, and are sent anew
from there.
"""

from __future__ import annotations

import logging
import queue
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from edgemm import topics
from edgemm.trust.tls import pinned_context
from edgemm_fleet.worker import Worker

_KEEPALIVE_S = 30
_MAX_INFLIGHT = 1000
_POLL_S = 1.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.2, 30.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BrokerLogin:
    """Where the manager reaches the broker, and as whom; `ca` is PEM, None for the system's authorities."""

    host: str
    port: int
    username: str | None = None
    password: str | None = None
    tls: bool = False
    ca: str | None = None


class Receipt(NamedTuple):
    """Names one published message: the connection it went by, and its id there."""

    connection: int
    message_id: int


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


class BrokerConnection:
    """Receives what devices publish, and publishes to them."""

    def __init__(
        self, login: BrokerLogin, *, fleet: str, client_id: str, receive: Callable[[str, bytes], None]
    ) -> None:
        self._login, self._fleet, self._client_id, self._receive = login, fleet, client_id, receive
        self._client: mqtt.Client | None = None
        self._connected = threading.Event()
        self._gone = threading.Event()
        self._connection = 0
        self._wait_s = _FIRST_WAIT_S
        self._worker = Worker("edgemm-link", self._connect_once)
        self.on_change: Callable[[], None] = lambda: None
        """Called when the connection comes or goes, and when `delivered` has something new."""
        self.delivered: queue.SimpleQueue[Receipt] = queue.SimpleQueue()
        """What the broker acknowledged."""

    @property
    def connection(self) -> int:
        """Number of the present connection; what an earlier one did not deliver has to be published again."""
        return self._connection

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted the connection and the subscriptions."""
        return self._connected.is_set()

    def start(self) -> None:
        """Begin to connect; returns at once, for the broker may come later."""
        self._worker.start()

    def stop(self) -> None:
        """Disconnect."""
        self._worker.ask_to_stop()
        self._gone.set()
        self._worker.stop()

    def wait_until_connected(self, timeout_s: float) -> bool:
        """Wait for the connection; tell whether it is there."""
        return self._connected.wait(timeout_s)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> Receipt | None:
        """Publish with QoS 1; return what `delivered` will name, None when not connected."""
        client, connection = self._client, self._connection
        if client is None or not self.connected:
            return None
        info = client.publish(topic, payload, qos=1, retain=retain)
        return Receipt(connection, info.mid) if info.rc == mqtt.MQTT_ERR_SUCCESS else None

    def _connect_once(self, stopping: threading.Event) -> None:
        """Hold one connection as long as it lasts, then wait a little longer each time, with jitter."""
        self._gone.clear()
        self._connection += 1
        self._client = client = self._new_client(self._connection)
        try:
            client.connect(self._login.host, self._login.port, keepalive=_KEEPALIVE_S)
            client.loop_start()
            while not stopping.is_set() and not self._gone.wait(_POLL_S):
                pass
        except (OSError, ValueError) as err:
            _log.warning("broker_unreachable host=%s port=%d error=%r", self._login.host, self._login.port, str(err))
        finally:
            client.disconnect()
            client.loop_stop()
            self._lost(stopping=stopping.is_set())
        stopping.wait(self._wait_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret
        self._wait_s = min(self._wait_s * 2, _LONGEST_WAIT_S)

    def _lost(self, *, stopping: bool) -> None:
        if self._connected.is_set():
            self._connected.clear()
            _log.log(
                logging.INFO if stopping else logging.WARNING,
                "broker_lost host=%s port=%d",
                self._login.host,
                self._login.port,
            )
            self.on_change()

    def _new_client(self, connection: int) -> mqtt.Client:
        client = _Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            protocol=mqtt.MQTTv311,
            clean_session=True,
            reconnect_on_failure=False,
        )
        if self._login.username is not None:
            client.username_pw_set(self._login.username, self._login.password)
        if self._login.tls:
            # The certificate's name is that of the public URL, not of the address used here.
            client.tls_set_context(pinned_context(self._login.ca))
        client.max_inflight_messages_set(_MAX_INFLIGHT)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_end = self._gone.set
        client.on_disconnect = lambda *_: self._gone.set()
        client.on_publish = lambda _client, _data, mid, *_: self._on_publish(Receipt(connection, mid))
        return client

    def _on_connect(self, client: mqtt.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            _log.error("broker_refused host=%s reason=%s", self._login.host, reason)
            client.disconnect()
            return
        client.subscribe([(filter_, 1) for filter_ in topics.ingest_filters(self._fleet)])

    def _on_subscribe(self, client: mqtt.Client, _data: Any, _mid: int, reasons: Any, _properties: Any) -> None:
        if any(reason.is_failure for reason in reasons):
            _log.error("broker_subscription_refused host=%s reasons=%s", self._login.host, [str(r) for r in reasons])
            client.disconnect()
            return
        self._wait_s = _FIRST_WAIT_S
        self._connected.set()
        _log.info("broker_connected host=%s port=%d", self._login.host, self._login.port)
        self.on_change()

    def _on_message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        self._receive(message.topic, bytes(message.payload))

    def _on_publish(self, receipt: Receipt) -> None:
        self.delivered.put(receipt)
        self.on_change()
