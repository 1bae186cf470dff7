"""A whole device agent in this process, over a simulated fleet: real engines, real HTTP serving, real MQTT.

with AgentInThread(fleet, tmp_path) as agent:
    fleet.desire(agent.device, fleet.model("tiny", "1.0.0"))
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Self

from edgemm_runtime.agent.agent import Agent, AgentEnding
from edgemm_runtime.agent.connection.enrolment import identify
from edgemm_runtime.agent.state.agent_options import AgentLimits, AgentOptions
from edgemm_runtime.agent.state.state_folder import StateFolder
from edgemm_runtime.agent.state.time_keeper import Clock
from edgemm_runtime.agent.update.host import RegistryHost
from edgemm_runtime.models.registry import ModelRegistry
from edgemm_runtime.serving.server import ModelServer
from simulators.fleet import SimulatedFleet

QUICK_LIMITS = AgentLimits(
    backoff_first_s=0.02, backoff_max_s=0.2, telemetry_interval_s=0.2, resend_after_s=0.5, reserve_bytes=0,
    connect_timeout_s=30, read_timeout_s=30, hang_timeout_s=60, stop_timeout_s=30,
)  # fmt: skip


class AgentInThread:
    """One life of an agent; a second one over the same folder is a restart."""

    def __init__(
        self, fleet: SimulatedFleet, path: Path, *, limits: AgentLimits = QUICK_LIMITS, clock: Clock | None = None
    ) -> None:
        self.folder = StateFolder(path)
        self.registry = ModelRegistry()
        self.server = ModelServer(self.registry)
        token = None if (path / "identity.json").exists() else fleet.token()
        options = AgentOptions(fleet_url=fleet.url, state_dir=path, token=token, name="pi", limits=limits)
        identity = identify(self.folder, options)
        self.device = identity.device
        self.host = RegistryHost(self.registry)
        self.agent = Agent(self.folder, identity, self.host, limits, clock=clock or Clock())
        self.ending: AgentEnding | None = None
        self.agent.recover()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    @property
    def version(self) -> str | None:
        """The version that answers a request now."""
        return self.registry.get("tiny").manifest.version if "tiny" in self.registry.names() else None

    def stop(self) -> None:
        self.agent.stop()
        self.join()
        self.agent.close()
        self.server.stop()
        self.folder.close()

    def join(self) -> AgentEnding | None:
        """Wait until the agent's loop ended by itself."""
        self._thread.join(60)
        assert not self._thread.is_alive()
        return self.ending

    def _run(self) -> None:
        self.ending = self.agent.run()
