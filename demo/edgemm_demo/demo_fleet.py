"""The demo's fleet: a manager and three devices as real processes, and queries of what they report."""

from __future__ import annotations

import json
import socket
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgemm import durable
from edgemm.reasons import Reason
from edgemm.states import RolloutState
from edgemm_demo.narration import Narrator
from edgemm_demo.processes import Processes, edgemm, free_port
from edgemm_fleet.client import FleetClient, Profile, read_profile
from edgemm_fleet.records.progress import Rollout

MODEL = "digits"
SETTLED = frozenset({RolloutState.FINISHED, RolloutState.HALTED, RolloutState.ROLLED_BACK, RolloutState.CANCELED})
_READY_S = 60.0
_ROLLOUT_S = 90.0
_TRIAL = ("--probation", "2s")
"""A demo has no hour to wait: each device commits after two seconds without an error."""


@dataclass(frozen=True)
class DemoDevice:
    """One device process and where it answers."""

    name: str
    port: int

    def predict(self, images: np.ndarray[Any, Any]) -> tuple[str, list[int]]:
        """Send images [n, 8, 8, 1] over HTTP; return the version that answered and the digits that it saw."""
        body = json.dumps({"inputs": images.tolist()}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/predict/{MODEL}", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - the URL is made three lines above
            found = json.load(answer)
        (scores,) = found["outputs"].values()
        return found["version"], [int(row) for row in np.argmax(scores, axis=1)]


class DemoFleet:
    """A fleet manager with its embedded broker, and three devices."""

    def __init__(self, folder: Path, *, processes: Processes, narrator: Narrator) -> None:
        self.url = f"https://127.0.0.1:{free_port()}"
        self.devices = tuple(DemoDevice(f"pi-{n}", free_port()) for n in (1, 2, 3))
        self._folder = folder
        self._processes = processes
        self._narrator = narrator
        self._profile: Profile | None = None

    def run(self, *arguments: object) -> Any:
        """Run an `edgemm` command with `--json` and return what it answered."""
        command = edgemm(*arguments)
        self._narrator.command(command)
        return json.loads(self._processes.run([*command, "--json"]))

    def start_manager(self) -> str:
        """Make keys, certificate and admin's token, start the manager, log in; return the admin's token."""
        token: str = self.run("fleet", "init", self._folder / "fleet", "--name", "demo", "--public-url", self.url)[
            "token"
        ]
        listen = self.url.removeprefix("https://")
        command = edgemm(
            "fleet", "serve", self._folder / "fleet", "--listen", listen, "--broker", f"embedded:{free_port()}"
        )
        self._narrator.command(command)
        self._processes.start("manager", command)
        return token

    def client(self) -> FleetClient:
        """Return a client of the API as the admin."""
        return FleetClient(self._profile or read_profile())

    def enrol(self, token_line: str) -> None:
        """Start the devices, each with a state folder of its own and one token for all three."""
        token = self._in_file("device-token", token_line)
        for device in self.devices:
            command = edgemm("run", "--fleet", self.url, "--token-file", token, "--name", device.name)
            self._narrator.command(command)
            state = ["--state-dir", str(self._folder / device.name), "--port", str(device.port)]
            self._processes.start(device.name, [*command, *state])

    def log_in(self, token: str) -> None:
        """Wait until the manager answers, then log in as the admin."""
        self.wait_for("the fleet manager", self._listening)
        self.run("fleet", "login", self.url, "--token-file", self._in_file("admin-token", token))
        self._profile = read_profile(self._folder / "edgemm" / "fleet.json")

    def _in_file(self, name: str, secret: str) -> Path:
        """Keep a secret where no command line shows it to others."""
        path = self._folder / name
        durable.write(path, secret.encode(), mode=0o600)
        return path

    def _listening(self) -> bool:
        host, port = self.url.removeprefix("https://").split(":")
        with socket.socket() as probe:
            return probe.connect_ex((host, int(port))) == 0

    def publish(self, bundle: Path) -> str:
        """Publish a bundle; return its digest."""
        digest: str = self.run("fleet", "publish", bundle)["record"]["digest"]
        return digest

    def roll_out(self, version: str, *, groups: Sequence[str]) -> Rollout:
        """Roll a version out and wait until that is over, one way or the other."""
        stages = [word for group in groups for word in ("--group", group)]
        created = self.run("fleet", "rollout", "create", MODEL, version, *stages, *_TRIAL, "--start")
        rollout_id = created["rollout"]["id"]
        return self._processes.wait_for(
            f"the end of the rollout of {version}", lambda: self._settled(rollout_id), seconds=_ROLLOUT_S
        )

    def _settled(self, rollout: str) -> Rollout | None:
        with self.client() as client:
            found = client.rollout(rollout).rollout
        return found if found.state in SETTLED else None

    def members(self, rollout: str) -> list[str]:
        """Return the devices that a rollout ever took in."""
        with self.client() as client:
            return [member.device for member in client.members(rollout)]

    def touched_by(self, digest: str) -> tuple[list[str], list[str]]:
        """Return the names of devices that ever heard of a bundle, and what those said that refused it."""
        touched, refusals = [], []
        with self.client() as client:
            for summary in client.devices():
                desired = client.desired(summary.device.id)
                heard = [e.event for e in client.events(summary.device.id) if e.event.digest == digest]
                if heard or any(model.digest == digest for model in desired.models):
                    touched.append(summary.device.name)
                refusals += [e.detail for e in heard if e.cause == Reason.SELFTEST_FAILED][:1]
        return touched, refusals

    def wait_for(self, what: str, probe: Callable[[], Any]) -> Any:
        """Wait until a probe answers."""
        return self._processes.wait_for(what, probe, seconds=_READY_S)
