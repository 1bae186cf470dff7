"""A real agent that is given corrupt models, one after another, while clients ask it: what becomes of each.

with CorruptUpdates(folder) as updates:
    ended = updates.give("tflite:float32 8 zeros", case)
assert not updates.failures
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Self

from simulators.corrupt_models import Case, make_corrupt_bundle
from simulators.fleet import SimulatedFleet
from simulators.forked_agents import AgentServer, Life, SelfTest
from simulators.models import make_bundle
from simulators.ports import free_port
from simulators.waiting import eventually

_X = [0.1, -0.2, 0.3, -0.4]
_ENDS = {"committed", "failed", "rejected", "rolled_back"}


class CorruptUpdates:
    """One fleet and one device that serves version 1; `failures` are answers that clients should not have got."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.fleet, self._server = SimulatedFleet(), AgentServer()
        self.failures: list[str] = []
        self.answers = 0
        make_bundle(folder / "good", version="1.0.0", seed=0)
        self.fleet.publish(folder / "good")
        self._agent = self._server.start(
            Life(
                url=self.fleet.url, state_dir=str(folder / "device"), port=free_port(), ports=self.fleet.ports,
                token=self.fleet.token(), selftest=SelfTest.CHILD,
            )
        )  # fmt: skip
        eventually(lambda: self.fleet.devices, "it is enrolled")
        self._device = self.fleet.only_device()
        self._end("1.0.0")
        eventually(lambda: self._agent.answer(_X)[0] == 200, "it serves")
        self._over = threading.Event()
        self._client = threading.Thread(target=self._ask)
        self._client.start()
        self._number = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._client.join()
        self._server.__exit__(*exc)
        self.fleet.__exit__(*exc)

    def give(self, name: str, case: Case) -> str:
        """Have the fleet want a version of that file; return how the update ended, and the device's words.

        Raises:
            AssertionError: the agent died, or never told an end.
        """
        self._number += 1
        version = f"2.0.{self._number}"
        path = self._folder / version
        make_corrupt_bundle(path, case, version=version)
        self.fleet.publish(path)
        path.unlink()
        ended = self._end(version)
        if self._agent.over:
            raise AssertionError(f"{name}: expected that the agent lives, it ended with status {self._agent.wait()}")
        return ended

    def stop(self) -> int:
        """End the agent in order; return its status."""
        self._over.set()
        self._client.join()
        return self._agent.stop()

    def _end(self, version: str) -> str:
        self.fleet.desire(self._device, self.fleet.model("tiny", version))
        self.fleet.wait_for(
            lambda: self._agent.over or self.fleet.state(self._device, "tiny", version) in _ENDS, timeout_s=180
        )
        model = self.fleet.reported_model(self._device, "tiny")
        return "" if model is None else f"{model.state.value} {model.reason or ''}: {model.detail or ''}"

    def _ask(self) -> None:
        while not self._over.wait(0.005):
            status, _, _ = self._agent.answer(_X)
            self.answers += 1
            if status != 200:
                self.failures.append(f"status {status} while version 2.0.{self._number} was tried")
