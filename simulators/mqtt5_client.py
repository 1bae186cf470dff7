"""An MQTT 5 client of a broker's owner: publishes requests with their properties, and keeps what is answered."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from simulators import mqtt_clients
from simulators.waiting import eventually

_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Heard:
    """A message that came."""

    topic: str
    payload: bytes
    retain: bool
    correlation: bytes | None
    content_type: str | None


class Mqtt5Client:
    """Connects while the block lasts; `heard` is what came at the topics that it subscribed to."""

    def __init__(self, port: int) -> None:
        self.heard: list[Heard] = []
        self._port, self._subscribed = port, threading.Event()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.on_message = lambda _c, _d, message: self.heard.append(_heard(message))
        self._client.on_subscribe = lambda *_: self._subscribed.set()

    def __enter__(self) -> Self:
        self._client.connect("127.0.0.1", self._port)
        self._client.loop_start()
        eventually(self._client.is_connected, "the client is connected")
        return self

    def __exit__(self, *exc: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()
        mqtt_clients.let_go(self._client)

    def subscribe(self, topic: str) -> None:
        """Subscribe, and wait until the broker says so."""
        self._subscribed.clear()
        self._client.subscribe(topic, qos=1)
        assert self._subscribed.wait(_TIMEOUT_S)

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        retain: bool = False,
        response_topic: str | None = None,
        correlation: bytes | None = None,
        content_type: str | None = None,
        user: Mapping[str, str] | None = None,
    ) -> None:
        """Publish with QoS 1, and wait until the broker has it; `user` are user properties."""
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        given = {"ResponseTopic": response_topic, "CorrelationData": correlation, "ContentType": content_type}
        for name, value in given.items():
            if value is not None:
                setattr(properties, name, value)
        if user:
            properties.UserProperty = list(user.items())
        sent = self._client.publish(topic, payload, qos=1, retain=retain, properties=properties)
        sent.wait_for_publish(_TIMEOUT_S)

    def answers(self, count: int) -> list[Heard]:
        """Wait for so many messages, and return them."""
        eventually(lambda: len(self.heard) >= count, f"{count} messages came")
        return self.heard


def _heard(message: Any) -> Heard:
    properties = message.properties
    return Heard(
        message.topic,
        bytes(message.payload),
        message.retain,
        getattr(properties, "CorrelationData", None),
        getattr(properties, "ContentType", None),
    )
