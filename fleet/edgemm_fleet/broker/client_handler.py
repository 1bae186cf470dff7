"""One client's packets in the embedded broker: amqtt's handler without what one client can make of it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from amqtt.mqtt.constants import QOS_1, QOS_2
from amqtt.mqtt.protocol.broker_handler import BrokerProtocolHandler

from edgemm_fleet.broker.client_flow import ClientFlow, PacketReader

_MOST_SUBSCRIBES = 100


class ClientHandler(BrokerProtocolHandler):  # type: ignore[misc]
    """Tells of a client's end when all that it said before is passed on; amqtt drops what it has acknowledged."""

    def __init__(self, *settings: Any, **more: Any) -> None:
        super().__init__(*settings, **more)
        self._caught_up = asyncio.Event()
        self._subscribes = 0

    @property
    def flow(self) -> ClientFlow:
        """What is under way of its client."""
        assert isinstance(self.reader, PacketReader)
        return self.reader.flow

    async def handle_publish(self, publish_packet: Any) -> None:
        """Take a message. One of QoS 2 ends the connection: amqtt would keep it for ever, and no device sends any.

        So does one of QoS 3, which there is not (MQTT-3.3.1-4).
        """
        try:
            if publish_packet.qos > QOS_1:
                await self.handle_connection_closed()
            else:
                self.flow.began(len(publish_packet.data or b""))
                await super().handle_publish(publish_packet)
        finally:
            self.flow.answered()

    async def handle_pingreq(self, pingreq: Any) -> None:
        """Answer."""
        try:
            await super().handle_pingreq(pingreq)
        finally:
            self.flow.answered()

    async def handle_subscribe(self, subscribe: Any) -> None:
        """Note a subscription, unless there have been too many: they wait in a queue without an end.

        One for nothing, or by a QoS that there is not, ends the connection (MQTT-3.8.3-3, MQTT-3.8.3-4).
        """
        asked = [qos for _, qos in subscribe.payload.topics] if subscribe.payload is not None else []
        if not asked or max(asked) > QOS_2:
            await self.handle_connection_closed()
        elif self._takes_subscribes():
            await super().handle_subscribe(subscribe)

    async def handle_unsubscribe(self, unsubscribe: Any) -> None:
        """Note the end of a subscription, as above."""
        if self._takes_subscribes():
            await super().handle_unsubscribe(unsubscribe)

    async def handle_puback(self, puback: Any) -> None:
        """Take an acknowledgement; one of nothing is ignored, where amqtt would log each."""
        with suppress(KeyError):
            if not self._puback_waiters[puback.variable_header.packet_id].done():
                await super().handle_puback(puback)

    async def handle_pubrec(self, _packet: Any) -> None:
        """Ignore it: nothing is sent by QoS 2."""

    handle_pubcomp = handle_pubrel = handle_pubrec

    async def mqtt_deliver_next_message(self) -> Any:
        """Return what the client published next; whoever asks has passed on everything before it."""
        if self.session is None or self.session.delivered_message_queue.empty():
            self._caught_up.set()
        try:
            return await super().mqtt_deliver_next_message()
        finally:
            self._caught_up.clear()

    async def wait_disconnect(self) -> Any:
        """Wait for the client's end."""
        end = await super().wait_disconnect()
        await self._caught_up.wait()
        return end

    def _takes_subscribes(self) -> bool:
        self._subscribes += 1
        return self._subscribes <= _MOST_SUBSCRIBES
