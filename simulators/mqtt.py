"""A plain MQTT client that tells a test what happened to it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from typing import Any, Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from simulators import mqtt_clients

_TIMEOUT_S = 20.0


class MqttProbe:
    """Connects, subscribes and publishes, each time waiting for the broker's answer; a context manager."""

    def __init__(
        self,
        port: int,
        *,
        client_id: str,
        username: str | None = None,
        password: str | None = None,
        clean_session: bool = True,
        will: tuple[str, bytes] | None = None,
        unconfirmed: int = 20,
    ) -> None:
        self.messages: list[tuple[str, bytes, bool]] = []
        self._port = port
        self._answered = {name: threading.Event() for name in ("connect", "subscribe", "disconnect")}
        self.accepted = False
        self.granted: list[bool] = []
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=clean_session,
            reconnect_on_failure=False,
        )
        self._client.max_inflight_messages_set(unconfirmed)
        if username is not None:
            self._client.username_pw_set(username, password)
        if will is not None:
            self._client.will_set(will[0], will[1], qos=1, retain=True)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_disconnect = lambda *_: self._answered["disconnect"].set()
        self._client.on_message = lambda _c, _d, m: self.messages.append((m.topic, bytes(m.payload), m.retain))

    def connect(self) -> bool:
        """Connect; tell whether the broker accepted."""
        self._client.connect("127.0.0.1", self._port)
        self._client.loop_start()
        self._wait("connect")
        return self.accepted

    def subscribe(self, *filters: str) -> Sequence[bool]:
        """Subscribe; tell for each filter whether it was granted."""
        self._client.subscribe([(one, 1) for one in filters])
        self._wait("subscribe")
        return self.granted

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Publish with QoS 1 and wait until the broker has it."""
        self._client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(_TIMEOUT_S)

    def send(self, topic: str, payload: bytes, *, qos: int = 1) -> mqtt.MQTTMessageInfo:
        """Publish without waiting for the broker."""
        return self._client.publish(topic, payload, qos=qos)

    def wait_until_disconnected(self) -> None:
        """Wait until the broker closes the connection."""
        self._wait("disconnect")

    def vanish(self) -> None:
        """Break the connection without a DISCONNECT."""
        sock = self._client.socket()
        assert isinstance(sock, socket.socket)
        sock.shutdown(socket.SHUT_RDWR)
        self._wait("disconnect")

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()
        mqtt_clients.let_go(self._client)

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _on_connect(self, _client: mqtt.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        self.accepted = not reason.is_failure
        self._answered["connect"].set()

    def _on_subscribe(self, _client: mqtt.Client, _data: Any, _mid: int, reasons: Any, _properties: Any) -> None:
        self.granted = [not reason.is_failure for reason in reasons]
        self._answered["subscribe"].set()

    def _wait(self, what: str) -> None:
        assert self._answered[what].wait(_TIMEOUT_S), f"no answer to {what}"
        self._answered[what].clear()
