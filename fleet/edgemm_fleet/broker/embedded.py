"""The embedded broker: amqtt in a thread of its own, with this fleet's rules.

It is meant for newcomers and small fleets. It keeps nothing over a restart, which is why nothing relies on retained
messages. `fleet_broker` corrects the behaviour of amqtt 0.12 that a fleet cannot live with, and gives each reason.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Collection
from concurrent.futures import Future

from amqtt.contexts import BrokerConfig, ListenerConfig
from amqtt.errors import BrokerError

from edgemm.errors import EnvironmentFailure
from edgemm_fleet.broker import broker_plugins
from edgemm_fleet.broker.broker_plugins import FleetLogin, FleetTopics
from edgemm_fleet.broker.broker_settings import BrokerSettings
from edgemm_fleet.broker.fleet_broker import FleetBroker
from edgemm_fleet.broker.topic_rights import BrokerRules
from edgemm_fleet.quiet_log import QuietFilter

_START_TIMEOUT_S = 30
_STOP_TIMEOUT_S = 3
_CLOSE_TIMEOUT_S = 5
_TALKATIVE = ("amqtt.broker", "amqtt.mqtt.protocol.handler", "amqtt.mqtt.protocol.broker_handler")
"""Loggers of amqtt that tell what a client does."""
_log = logging.getLogger(__name__)
_quiet_amqtt = QuietFilter()


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

    def renew_certificate(self) -> None:
        """Show the certificate that lies in the folder now to whoever connects from now on; none that is open ends.

        Raises:
            EnvironmentFailure: it cannot be used, so the one before stays in use.
        """
        if self._loop is None or self._broker is None or self._files is None:
            return
        used: Future[None] = Future()

        def use() -> None:
            try:
                assert self._broker is not None
                assert self._files is not None
                self._broker.use_certificate(self._files)
                used.set_result(None)
            except (OSError, AssertionError) as err:  # an SSLError is an OSError
                used.set_exception(err)

        self._loop.call_soon_threadsafe(use)
        try:
            used.result(_CLOSE_TIMEOUT_S)
        except (OSError, AssertionError, TimeoutError) as err:
            raise EnvironmentFailure(f"the broker cannot use {self._files.certificate}: {_cause(err)}") from err

    def usernames(self) -> set[str]:
        """Return who is connected, without the manager."""
        return set() if self._broker is None else self._broker.usernames()

    def close_connections(self, usernames: Collection[str]) -> None:
        """Close the connections of these users: those who were removed since they connected."""
        if self._loop is not None and self._broker is not None and usernames:
            closing = asyncio.run_coroutine_threadsafe(self._broker.close_connections(usernames), self._loop)
            closing.result(_CLOSE_TIMEOUT_S)

    def _run(self, ready: Future[int]) -> None:
        for name in _TALKATIVE:
            logging.getLogger(name).addFilter(_quiet_amqtt)
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
        here = f"{broker_plugins.__name__}."
        plugins = {here + cls.__name__: {"rules": self._rules} for cls in (FleetLogin, FleetTopics)}
        return BrokerConfig(listeners={"default": listener}, plugins=plugins)


def _cause(err: BaseException) -> str:
    while err.__cause__ is not None:
        err = err.__cause__
    return str(err) or type(err).__name__
