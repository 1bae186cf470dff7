"""The embedded broker: amqtt in a thread of its own, with this fleet's rules.

It is meant for newcomers and small fleets. It keeps nothing over a restart, which is why nothing relies on retained
messages. `FleetBroker` corrects the behaviour of amqtt 0.12 that a fleet cannot live with, and gives each reason.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Collection
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from amqtt.adapters import StreamReaderAdapter, StreamWriterAdapter
from amqtt.broker import Broker
from amqtt.contexts import Action, BaseContext, BrokerConfig, ListenerConfig
from amqtt.errors import AMQTTError, BrokerError, MQTTError, NoDataError
from amqtt.mqtt.connack import NOT_AUTHORIZED, ConnackPacket
from amqtt.mqtt.protocol.broker_handler import BrokerProtocolHandler
from amqtt.plugins.base import BaseAuthPlugin, BaseTopicPlugin
from amqtt.session import Session

from edgemm.errors import EnvironmentFailure
from edgemm_fleet.broker.broker_settings import BrokerSettings
from edgemm_fleet.broker.topic_rights import MANAGER, BrokerRules, TopicRight

_CONNECT_TIMEOUT_S = 10
_START_TIMEOUT_S = 30
_STOP_TIMEOUT_S = 3
_CLOSE_TIMEOUT_S = 5
_MAX_READ_BYTES = 64 * 1024
_log = logging.getLogger(__name__)
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class FleetLogin(BaseAuthPlugin):  # type: ignore[misc]  # amqtt ships no types
    """Lets in whom the rules admit; also refuses a will that speaks for somebody else."""

    @dataclass
    class Config:
        """What amqtt hands to the plugin: `BrokerRules`."""

        rules: Any

    def __init__(self, context: BaseContext) -> None:
        super().__init__(context)
        self._rules: BrokerRules = self.config.rules

    async def authenticate(self, *, session: Session) -> bool:
        """Tell whether a client may connect; amqtt checks no topic of a will itself."""
        if session.will_flag and not self._rules.allows(session.username, TopicRight.PUBLISH, session.will_topic):
            return False
        return self._rules.admits(session.client_id, session.username, session.password)


class FleetTopics(BaseTopicPlugin):  # type: ignore[misc]
    """Keeps every client to its own topics."""

    @dataclass
    class Config:
        """What amqtt hands to the plugin: `BrokerRules`."""

        rules: Any

    def __init__(self, context: BaseContext) -> None:
        super().__init__(context)
        self._rules: BrokerRules = self.config.rules

    async def topic_filtering(self, *, session: Session, topic: str, action: Action) -> bool:
        """Tell whether a client may do this with a topic."""
        return self._rules.allows(session.username, TopicRight(str(action.value)), topic)


class _LimitedReader(StreamReaderAdapter):  # type: ignore[misc]
    """Takes no payload that is larger than any message; amqtt would hold 256 MiB for whoever it has let in."""

    _over = False

    async def read(self, n: int = -1) -> bytes:
        """Read `n` bytes; after a request for too many the connection is as if it had broken off."""
        self._over = self._over or n > _MAX_READ_BYTES
        if self._over:
            raise ConnectionResetError(f"{n} bytes, the limit is {_MAX_READ_BYTES}")
        return bytes(await super().read(n))


class _Snapshots(dict[_Key, _Value]):
    """A dictionary whose items may be walked while others change it."""

    def items(self) -> Any:
        """Return the items as they are now."""
        return list(super().items())


class _Handler(BrokerProtocolHandler):  # type: ignore[misc]
    """Tells of a client's end when all that it said before is passed on; amqtt drops what it has acknowledged."""

    def __init__(self, *settings: Any, **more: Any) -> None:
        super().__init__(*settings, **more)
        self._caught_up = asyncio.Event()

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


class FleetBroker(Broker):  # type: ignore[misc]
    """amqtt's broker without what would hurt a fleet."""

    def __init__(self, config: BrokerConfig, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(config, loop)
        # A message is lost if a client subscribes while amqtt walks the subscriptions to deliver it.
        self._subscriptions = _Snapshots[str, Any]()
        self._writers: set[asyncio.StreamWriter] = set()

    async def stream_connected(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, listener_name: str
    ) -> None:
        """Serve one connection and close it in every case; amqtt leaves some open when it stops."""
        self._writers.add(writer)
        try:
            await self.external_connected(_LimitedReader(reader), StreamWriterAdapter(writer), listener_name)
        finally:
            self._writers.discard(writer)
            writer.close()

    async def shutdown(self) -> None:
        """Stop, and wait until every connection is closed."""
        await super().shutdown()
        open_writers = list(self._writers)
        for writer in open_writers:
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
                handler, session = await _Handler.init_from_connect(reader, writer, self.plugins_manager)
        except (AMQTTError, MQTTError, NoDataError, TimeoutError) as err:
            await writer.close()
            raise AMQTTError(f"{remote_address}:{remote_port}: no valid CONNECT: {err}") from err
        if not session.clean_session or not await self._authenticate(session, self.listeners_config["default"]):
            _log.warning("broker_refused client=%r address=%s", session.client_id, remote_address)
            await ConnackPacket.build(0, NOT_AUTHORIZED).to_stream(writer)
            await writer.close()
            raise AMQTTError(f"{remote_address}:{remote_port}: not authorised")
        await self._take_over(session.client_id)
        session.parent = 0
        return handler, session

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

    async def _publish_retained_messages_for_subscription(
        self, subscription: tuple[str, int], session: Session
    ) -> None:
        """Send retained messages to subscribers only; amqtt sends every new client those of all subscriptions."""
        if any(subscriber is session for subscriber, _ in self._subscriptions.get(subscription[0], ())):
            await super()._publish_retained_messages_for_subscription(subscription, session)


class EmbeddedBroker:
    """Starts and stops the broker; port 0 takes a free one, which `port` then tells."""

    def __init__(self, rules: BrokerRules, settings: BrokerSettings) -> None:
        self._rules, self._files = rules, settings.files
        self.host, self.port = settings.host, settings.number
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._broker: FleetBroker | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start to listen.

        Raises:
            EnvironmentFailure: the port is taken or the address is not this machine's.
        """
        ready: Future[int] = Future()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="edgemm-broker", daemon=True)
        self._thread.start()
        try:
            self.port = ready.result(_START_TIMEOUT_S)
        except (BrokerError, OSError, TimeoutError) as err:
            self._loop = self._stopping = self._thread = None
            raise EnvironmentFailure(
                f"the embedded broker cannot listen on {self.host}:{self.port}: {_cause(err)}; choose another port, "
                "or name a running broker with --broker"
            ) from err

    def stop(self) -> None:
        """Close every connection and stop to listen."""
        if self._loop is not None and self._stopping is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(_START_TIMEOUT_S)
            self._loop = self._stopping = self._thread = self._broker = None

    def usernames(self) -> set[str]:
        """Return who is connected, without the manager."""
        return set() if self._broker is None else self._broker.usernames()

    def close_connections(self, usernames: Collection[str]) -> None:
        """Close the connections of these users: those who were removed since they connected."""
        if self._loop is not None and self._broker is not None and usernames:
            closing = asyncio.run_coroutine_threadsafe(self._broker.close_connections(usernames), self._loop)
            closing.result(_CLOSE_TIMEOUT_S)

    def _run(self, ready: Future[int]) -> None:
        try:
            # amqtt would log a traceback for a port that is taken.
            socket.create_server((self.host, self.port), reuse_port=False).close()
            asyncio.run(self._serve(ready))
        except Exception as err:  # noqa: BLE001 - a thread's boundary: `start` raises what is passed on here
            if ready.done():
                _log.exception("broker_stopped port=%d", self.port)
            else:
                ready.set_exception(err)

    async def _serve(self, ready: Future[int]) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        broker = FleetBroker(self._configuration(), self._loop)
        await broker.start()
        self._broker = broker
        server = broker._servers["default"].instance  # noqa: SLF001 - amqtt does not tell the port otherwise
        ready.set_result(int(server.sockets[0].getsockname()[1]))
        await self._stopping.wait()
        try:
            async with asyncio.timeout(_STOP_TIMEOUT_S):
                await broker.shutdown()
        except TimeoutError:
            # amqtt's reader may swallow the cancellation that its shutdown waits for; the loop's end cancels again.
            server.close()

    def _configuration(self) -> BrokerConfig:
        listener = ListenerConfig(bind=f"{self.host}:{self.port}")
        if self._files is not None:
            listener = ListenerConfig(
                bind=f"{self.host}:{self.port}",
                ssl=True,
                certfile=self._files.certificate,
                keyfile=self._files.private_key,
            )
        here = f"{__name__}."
        plugins = {here + cls.__name__: {"rules": self._rules} for cls in (FleetLogin, FleetTopics)}
        return BrokerConfig(listeners={"default": listener}, plugins=plugins)


def _cause(err: BaseException) -> str:
    while err.__cause__ is not None:
        err = err.__cause__
    return str(err) or type(err).__name__
