"""The embedded broker's rules: amqtt 0.12 without what would hurt a fleet; each correction has its reason.

One client cannot take more than its share: what it publishes is read as quickly as it is passed on, so that its own
socket holds what is beyond (`client_flow`). It is let in once at a time, and waits where it comes back too quickly.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import OrderedDict
from collections.abc import Collection
from contextlib import suppress
from typing import Any, TypeVar

from amqtt.broker import Broker
from amqtt.contexts import Action, BrokerConfig, ListenerConfig
from amqtt.errors import AMQTTError, MQTTError, NoDataError
from amqtt.mqtt.connack import NOT_AUTHORIZED, ConnackPacket
from amqtt.mqtt.protocol.broker_handler import BrokerProtocolHandler
from amqtt.session import Session

from edgemm import topics
from edgemm_fleet.broker.broker_settings import TlsFiles
from edgemm_fleet.broker.client_flow import ClientFlow, ClientWriter, PacketReader, WholeFlow
from edgemm_fleet.broker.client_handler import ClientHandler
from edgemm_fleet.broker.topic_rights import MANAGER
from edgemm_fleet.quiet_log import QuietLog

_CONNECT_TIMEOUT_S = 10
_CLOSE_TIMEOUT_S = 5
_SOON_S = 1.0
"""A client is let in once in this time."""
_REFUSAL_S = 0.2
_MOST_REFUSED = 64
_LARGEST_CROWD = 256
_MOST_REMEMBERED = 10_000
_MOST_NAME = 80
_HIGHEST_QOS = 1
"""By which a message is sent: nobody here waits for what confirms one of QoS 2."""
_WILL_QOS = {0, 1, 2}
_log = logging.getLogger(__name__)
_quiet = QuietLog(_log)
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class _Snapshots(dict[_Key, _Value]):
    """A dictionary whose items may be walked while others change it."""

    def items(self) -> Any:
        """Return the items as they are now."""
        return list(super().items())


class FleetBroker(Broker):  # type: ignore[misc]
    """amqtt's broker without what would hurt a fleet."""

    def __init__(self, config: BrokerConfig, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(config, loop)
        # A message is lost if a client subscribes while amqtt walks the subscriptions to deliver it.
        self._subscriptions = _Snapshots[str, Any]()
        self._context: ssl.SSLContext | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._flow = WholeFlow()
        self._let_in: OrderedDict[str, float] = OrderedDict()
        """When a client was let in last, by the loop's clock."""
        self._waiting: dict[str, asyncio.Event] = {}
        self._door, self._crowd, self._refused = asyncio.Semaphore(), 0, 0

    async def stream_connected(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, listener_name: str
    ) -> None:
        """Serve one connection and close it in every case; amqtt leaves some open when it stops."""
        self._writers.add(writer)
        flow = ClientFlow(self._flow)
        try:
            await self.external_connected(PacketReader(reader, flow), ClientWriter(writer), listener_name)
        except OSError as err:  # it was reset while it was answered
            _quiet.warning("", "broker_client_gone error=%s", str(err)[:200])
        except asyncio.CancelledError:
            pass  # the loop ends in the middle of a refusal: asyncio would log a traceback for each
        finally:
            flow.close()
            self._writers.discard(writer)
            writer.close()

    def _create_ssl_context(self, listener: ListenerConfig) -> ssl.SSLContext:
        """Keep the context, to give it another certificate."""
        context: ssl.SSLContext = super()._create_ssl_context(listener)
        self._context = context
        return context

    def use_certificate(self, files: TlsFiles) -> None:
        """Show another certificate to whoever connects from now on; called in the loop's thread, as are handshakes."""
        if self._context is not None:
            self._context.load_cert_chain(files.certificate, files.private_key)

    async def shutdown(self) -> None:
        """Stop, and wait until every connection is closed."""
        await super().shutdown()
        for writer in (open_writers := list(self._writers)):
            writer.close()
        closing = asyncio.gather(*(writer.wait_closed() for writer in open_writers), return_exceptions=True)
        await asyncio.wait_for(closing, _CLOSE_TIMEOUT_S)

    async def _initialize_client_session(
        self, reader: Any, writer: Any, remote_address: str, remote_port: int
    ) -> tuple[BrokerProtocolHandler, Session]:
        """Authenticate before anything else: amqtt ends the session of whatever client id is claimed, unproven.

        Sessions are clean ones, for a kept session would queue without limit; a silent connection is closed.
        """
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                await reader.prefetch()
                handler, session, welcome = await self._at_the_door(reader, writer)
        except (AMQTTError, MQTTError, NoDataError, OSError, EOFError) as err:  # a TimeoutError is an OSError
            await writer.close()
            raise AMQTTError(f"{remote_address}:{remote_port}: no valid CONNECT: {err}") from err
        if not welcome:
            await self._refuse(session, writer, remote_address)
            raise AMQTTError(f"{remote_address}:{remote_port}: not authorised")
        if session.username == MANAGER:
            reader.flow.unlimited()
        else:
            await self._wait_its_turn(str(session.username), reader, writer)
        await self._take_over(session.client_id)
        session.parent = 0
        return handler, session

    async def _at_the_door(self, reader: PacketReader, writer: Any) -> tuple[BrokerProtocolHandler, Session, bool]:
        """Look at one client after another: a crowd that wants in does not hold up those who are in."""
        if self._crowd >= _LARGEST_CROWD:
            raise AMQTTError("too many clients want in at one time")
        self._crowd += 1
        try:
            async with self._door:
                handler, session = await ClientHandler.init_from_connect(reader, writer, self.plugins_manager)
                _check_will(session)
                welcome = session.clean_session and await self._authenticate(session, self.listeners_config["default"])
                await asyncio.sleep(0)  # those who are in have their turn
                return handler, session, welcome
        finally:
            self._crowd -= 1

    async def _refuse(self, session: Session, writer: Any, address: str) -> None:
        """Tell a client that it may not come in; not at once, so that who tries again and again takes longer."""
        who = str(session.client_id)[:_MOST_NAME]
        _quiet.warning(who, "broker_refused client=%r address=%s", who, address)
        if self._refused < _MOST_REFUSED:
            self._refused += 1
            try:
                await asyncio.sleep(_REFUSAL_S)
            finally:
                self._refused -= 1
        with suppress(OSError):  # it went without waiting for the answer
            await ConnackPacket.build(0, NOT_AUTHORIZED).to_stream(writer)
        await writer.close()

    async def _wait_its_turn(self, name: str, reader: PacketReader, writer: Any) -> None:
        """Hold up whoever comes again at once: two devices with one identity would throw each other out for ever.

        Of those who wait under one name, the latest alone is let in.
        """
        if (other := self._waiting.pop(name, None)) is not None:
            other.set()
        wait_s = self._let_in.get(name, -_SOON_S) + _SOON_S - self._loop.time()
        if wait_s > 0:
            gone = self._waiting[name] = asyncio.Event()
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await gone.wait()
            if not gone.is_set():
                del self._waiting[name]
            if gone.is_set() or reader.is_at_end:
                await writer.close()
                raise AMQTTError(f"{name}: it went, or another connection of it came meanwhile")
        self._let_in.pop(name, None)
        self._let_in[name] = self._loop.time()
        if len(self._let_in) > _MOST_REMEMBERED:
            self._let_in.popitem(last=False)

    def usernames(self) -> set[str]:
        """Return who is connected, without the manager."""
        return {session.username for session, _ in list(self._sessions.values())} - {MANAGER}

    async def close_connections(self, usernames: Collection[str]) -> None:
        """Close the connections of these users."""
        for client_id, (session, _) in list(self._sessions.items()):
            if session.username in usernames:
                await self._take_over(client_id)

    async def _take_over(self, client_id: str) -> None:
        """Close an older connection of this client, without its will: the client is not gone."""
        old, handler = self._sessions.get(client_id, (None, None))
        if old is not None and handler is not None:
            old.will_flag = False
            await handler.handle_connection_closed()
        await self._delete_session(client_id)

    async def _handle_message_delivery(
        self, client_session: Session, handler: BrokerProtocolHandler, wait_deliver: asyncio.Future[Any]
    ) -> bool:
        """Pass a message on at once; amqtt's own queue between has no end, and does not tell when it is through."""
        message = wait_deliver.result()
        if message is None:
            return True
        tasks = []
        if await self._topic_filtering(client_session, topic=message.topic, action=Action.PUBLISH):
            tasks = await self._send_all(message.topic, message.data)
            if message.publish_packet is not None and message.publish_packet.retain_flag:
                await self._retain(client_session, message)
        handler.flow.passed_on(len(message.data), tasks)
        return True

    async def _broadcast_loop(self) -> None:
        """Wait for the end: nothing is queued, and amqtt's own would log a traceback where it is cut off."""
        await self._broadcast_shutdown_waiter

    async def _broadcast_message(
        self, session: Session | None, topic: str | None, data: Any, force_qos: int | None = None
    ) -> None:
        """Send a last will."""
        del session
        await self._send_all(str(topic), data, qos=force_qos)

    async def _send_all(self, topic: str, data: Any, qos: int | None = None) -> list[asyncio.Future[Any]]:
        """Begin to send a message to all that may hear it; what is sent to one client stays in order."""
        tasks = []
        for filter_, subscribers in self._subscriptions.items():
            if not self._matches(topic, filter_):
                continue
            for session, granted in list(subscribers):
                handler = self._get_handler(session)
                if session.transitions.state != "connected" or handler is None:
                    continue
                if await self._topic_filtering(session, topic=topic, action=Action.RECEIVE):
                    sending = handler.mqtt_publish(
                        topic, data, min(_HIGHEST_QOS, granted if qos is None else qos), retain=False
                    )
                    tasks.append(asyncio.ensure_future(sending))
                    tasks[-1].add_done_callback(_note_failure)
        return tasks

    async def _retain(self, session: Session, message: Any) -> None:
        """Keep a message of a channel that is retained: no device can have more of them kept."""
        if topics.parse(message.topic).channel in topics.RETAINED:
            await self.retain_message(session, message.topic, message.data, message.qos)

    async def _publish_retained_messages_for_subscription(
        self, subscription: tuple[str, int], session: Session
    ) -> None:
        """Send retained messages to subscribers only; amqtt sends every new client those of all subscriptions."""
        if any(subscriber is session for subscriber, _ in self._subscriptions.get(subscription[0], ())):
            await super()._publish_retained_messages_for_subscription(subscription, session)


def _check_will(session: Session) -> None:
    """Refuse a will of a QoS that there is not, and the marks of one where there is none (MQTT 3.1.1, section 3.1.2).

    Raises:
        MQTTError: the connection is to be closed.
    """
    if session.will_qos not in _WILL_QOS or (not session.will_flag and (session.will_qos or session.will_retain)):
        raise MQTTError("[MQTT-3.1.2-13 to 15] a will that cannot be")


def _note_failure(task: asyncio.Future[Any]) -> None:
    """Take note that a message did not arrive: its subscriber is gone, or did not acknowledge it in time."""
    if not task.cancelled() and (err := task.exception()) is not None:
        _quiet.warning("", "broker_not_delivered error=%s", str(err)[:200])
