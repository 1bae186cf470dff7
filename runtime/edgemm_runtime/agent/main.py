"""The start and stop of a device agent in this process: state folder, HTTP server, identity, agent, signals."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType

from edgemm_runtime.agent.agent import Agent, AgentEnding
from edgemm_runtime.agent.connection.enrolment import check_options, identify
from edgemm_runtime.agent.state.agent_options import AgentOptions
from edgemm_runtime.agent.state.state_folder import StateFolder
from edgemm_runtime.agent.state.time_keeper import Clock
from edgemm_runtime.agent.update.host import RegistryHost
from edgemm_runtime.models.feedback import Feedback
from edgemm_runtime.models.registry import ModelRegistry
from edgemm_runtime.mqtt.over_mqtt import over_mqtt
from edgemm_runtime.service.keeper import keeping
from edgemm_runtime.service.notify import Notifier
from edgemm_runtime.serving.server import ModelServer
from edgemm_runtime.shadow.running import RunningShadows

_log = logging.getLogger(__name__)
_STDERR = 2


def run_agent(options: AgentOptions) -> None:
    """Be a device of a fleet until SIGTERM, which ends it in order; SIGINT does too, and then is Ctrl-C.

    Requests in flight are answered first. A `restart` that the fleet asks for starts the same command anew.

    Raises:
        InputError: no token where one is needed, or options that can never work.
        PermissionDeniedError: the token is unknown, expired or used up.
        EnvironmentFailure: the port or state folder is taken, or the server out of reach at the first start.
        KeyboardInterrupt: SIGINT came.
    """
    check_options(options)
    received: list[int] = []
    stderr = _duplicate(_STDERR)
    with ExitStack() as stack:
        folder = StateFolder(options.state_dir, reserve_bytes=options.limits.state_reserve_bytes)
        stack.callback(folder.close)
        feedback = Feedback.kept_in(options.state_dir)
        stack.callback(feedback.close)
        registry = ModelRegistry(
            RunningShadows(options.shadow), feedback, sequences=options.sequences, monitor=options.monitor
        )
        stack.callback(registry.shadows.close)
        stack.callback(registry.watching.close)
        server = stack.enter_context(
            ModelServer(registry, host=options.listen, port=options.port, limits=options.serving, access=options.access)
        )
        identity = identify(folder, options)
        fleets = (identity.broker.host, identity.broker.port) if options.mqtt is not None else None
        stack.enter_context(over_mqtt(options.mqtt, server, fleets=fleets))
        agent = Agent(folder, identity, RegistryHost(registry), options.limits, clock=Clock())
        stack.callback(agent.close)
        server.date.ask(agent.believed_time_s)
        with _stopping_on_signals(agent, received):  # before anything serves: whoever asks then is answered first
            agent.recover()
            with keeping(
                Notifier.from_environment(os.environ),
                registry,
                agent.source,
                loop=lambda: agent.came_round_s,
                server_turns=lambda: server.healthy,
            ):
                ending = agent.run()
    if signal.SIGINT in received:
        raise KeyboardInterrupt
    if ending is AgentEnding.RESTART:
        _log.info("restarting")
        if stderr is not None:
            # A thread that still loads a model may have led it into memory, where all later logs would end.
            os.dup2(stderr, _STDERR)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - this very command again


def _duplicate(number: int) -> int | None:
    """Return a copy of a file descriptor that this program alone has; None where it is closed."""
    try:
        return os.dup(number)
    except OSError:
        return None


@contextmanager
def _stopping_on_signals(agent: Agent, received: list[int]) -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a handler
        received.append(number)
        agent.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
