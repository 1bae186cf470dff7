"""A fleet that is attacked: a manager, a real Mosquitto and two device agents, with liars on all their ways.

    manager ◄── HTTP ──── LyingRepository ◄── devices
    manager ◄── MQTT ──── LyingBroker ◄────── devices        (Mosquitto is behind it)

Both liars are honest until a test says otherwise, and clients ask the devices for predictions all the while.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import urllib3

from edgemm import topics
from edgemm.topics import Channel
from edgemm.trust import signing
from edgemm_fleet.broker.broker_settings import BrokerSettings, MosquittoFolder, Provider
from edgemm_fleet.broker.mosquitto import MosquittoFiles
from simulators.lying_broker import LyingBroker, published
from simulators.lying_repository import LyingRepository
from simulators.mosquitto import free_port
from simulators.waiting import eventually
from tests.e2e.fleets import Device, Fleet
from tests.e2e.load import Load
from tests.e2e.processes import Program
from tests.programs import ROOT

LIMITS = {"slow_s": 2.0, "document_s": 5.0, "read_timeout_s": 5.0, "resend_after_s": 1.0}
"""What lasts minutes on a device lasts seconds here."""
SERVED = "1.0.0"
"""What the devices serve while they are attacked."""
ENDED = ("committed", "failed", "rejected", "canceled", "rolled_back")
MANAGER_ID = "edgemm-manager-"
"""How the client id of a manager begins."""
_PAUSE_S = 0.05


class Victim(Device):
    """A device agent in a process of its own, with shorter waits."""

    def start(
        self, *, token: str | None = None, url: str | None = None, labels: tuple[str, ...] = (),
        options: tuple[str, ...] = (),
    ) -> Self:  # fmt: skip
        """Start it; without a token it has to know who it is."""
        assert not labels, "a simulated agent has none"
        assert not options, "a simulated agent has none"
        self._port = getattr(self, "_port", None) or free_port()
        path = os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", "")))
        self.program = self._fleet.programs.start(
            self.name, f"PYTHONPATH={path}", sys.executable, "-m", "simulators.agent_process",
            url or self._fleet.device_url, self.state, str(self._port), token or "-",
            json.dumps({"kill": "-", "limits": LIMITS, "name": self.name}), program=Path("/usr/bin/env"),
        )  # fmt: skip
        return self

    @property
    def address(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self._port}"

    def ready(self) -> bool:
        """Tell whether it says that it is ready; not while it starts."""
        try:
            return super().ready()
        except urllib3.exceptions.HTTPError:
            return False

    @property
    def key(self) -> Any:
        """Its private key, as somebody who stole its card has it."""
        return signing.load_key(self.state / "device.key")

    @property
    def identity(self) -> Any:
        """What it learned when it enrolled, likewise."""
        return json.loads((self.state / "identity.json").read_text())

    def peak_bytes(self) -> int:
        """Return the most memory that it ever had."""
        return peak_bytes(self.program)

    def kept_bytes(self) -> int:
        """Return how much its state folder holds."""
        return sum(path.stat().st_size for path in self.state.rglob("*") if path.is_file())

    def topic(self, channel: Channel) -> str:
        """Return the topic of one of its channels."""
        return topics.topic(self._fleet.name, self.id, channel)

    def refusals(self) -> list[str]:
        """Return the causes of its events, oldest first."""
        return [event["cause"] for event in self.events()]


class AttackedFleet(Fleet):
    """Two devices that serve `SERVED`; a context manager."""

    def __init__(self, folder: Path, *, scheme: str = "http") -> None:
        super().__init__(folder, scheme=scheme)
        self.victims: list[Victim] = []
        self._published = 0

    def up_with_liars(self, mosquitto: Path) -> Self:
        """Make and serve it, with Mosquitto and its liars, and roll the first version out."""
        behind = free_port()
        self.liar = LyingBroker(behind)
        self.liar.__enter__()
        self.broker = f"mqtt://127.0.0.1:{self.liar.port}"
        self.start_mosquitto(mosquitto, port=behind)
        self.init().serve(*self.mosquitto_options(), "-v")
        self.login()
        self.repository = LyingRepository(self.url)
        self.repository.__enter__()
        self.device_url = self.repository.url
        return self.joined()

    def start_mosquitto(self, program: Path, *, port: int, more: str = "") -> None:
        """Start Mosquitto with what the manager will write, but for the port, and with more lines."""
        files = self.place.folder / "broker"
        place = MosquittoFolder(files, pid_file=files / "mosquitto.pid")
        settings = BrokerSettings(Provider.MOSQUITTO, port=port, mosquitto=place).with_login()
        MosquittoFiles(settings, self.name).write([])
        own = (files / "mosquitto.conf").rename(files / "behind.conf")
        own.write_text(own.read_text() + more)
        self.mosquitto = self.programs.start("mosquitto", "-v", "-c", own, program=program)
        self.mosquitto.wait_for("(mosquitto version .* running|Opening ipv4 listen socket)")
        (files / "mosquitto.pid").write_text(str(self.mosquitto.pid))

    def mosquitto_options(self) -> tuple[str, ...]:
        """Return how the manager is told of its files."""
        files = self.place.folder / "broker"
        return ("--mosquitto", str(files), "--mosquitto-pid", str(files / "mosquitto.pid"))

    def joined(self) -> Self:
        """Have two devices join, and roll the first version out."""
        self.victims = [self.victim("one"), self.victim("two")]
        self.publish(SERVED)
        self.rollout(SERVED, "--group", "100%")
        return self

    def victim(self, name: str) -> Victim:
        """Have another device join, and wait until the fleet sees it."""
        joined = Victim(self, name).start(token=self.token())
        eventually(joined.online, f"{name} is online and has reported")
        return joined

    def __exit__(self, *exc: object) -> None:
        super().__exit__(*exc)
        if hasattr(self, "repository"):
            self.repository.__exit__()
        if hasattr(self, "liar"):
            self.liar.__exit__()

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Ask both devices for predictions while the block lasts; each of them has to be answered."""
        with Load(list(self.victims), pause_s=_PAUSE_S) as load:
            yield
            before = {name: found.total() for name, found in load.answers.items()}
            eventually(
                lambda: all(load.answers[name].total() > number for name, number in before.items()),
                "both devices go on answering",
            )
        assert not load.failures, load.failures[:5]

    def publish_next(self, *options: str, **made: Any) -> str:
        """Publish another version, above all that were published; return it."""
        self._published += 1
        version = f"2.0.{self._published}"
        self.publish(version, *options, seed=100 + self._published, **made)  # other blobs than any before
        return version

    def digest_of(self, version: str, model: str = "tiny") -> str:
        """Return the digest of a published version."""
        records = [record for found in self.json("models") for record in found["versions"]]
        return str(next(r["digest"] for r in records if (r["model"], r["version"]) == (model, version)))

    def begin(self, version: str, *devices: Victim) -> str:
        """Start a rollout of a version to some devices; return its id."""
        asked = {
            "model": "tiny",
            "version": version,
            "selector": {"devices": [device.id for device in devices]},
            "groups": [{"percent": 100}],
            "config": {"probation": {"min_duration_s": 0}},
        }
        made = self.api("/rollouts", "POST", json=asked)["id"]
        self.api(f"/rollouts/{made}/start", "POST")
        return str(made)

    def give(self, version: str, device: Victim) -> tuple[str, str | None]:
        """Roll a version out to one device; return how that ended, and why."""
        self.begin(version, device)
        return device.wait_for_state(version, *ENDED)

    def holds(self, device: Victim, version: str, *reasons: str) -> None:
        """Assert that a version is refused under attack, for one of some reasons, and that what served serves."""
        before = device.version()
        state, reason = self.give(version, device)
        assert state in {"failed", "rejected"}, (state, reason)
        assert reason in reasons
        assert device.version() == before

    def heals(self, device: Victim) -> str:
        """Assert that after the attack the next version arrives without anybody at the device; return it."""
        self.repository.be_honest()
        self.liar.be_honest()
        version = self.publish_next()
        assert self.give(version, device) == ("committed", None)
        assert device.version() == version
        return version

    def forge(self, device: Victim, channel: Channel, payload: bytes, *, retain: bool = False) -> None:
        """Say something in the name of a device to the manager, or of the manager to a device, as the broker can."""
        to = device.id if channel in topics.FROM_FLEET else MANAGER_ID
        self.liar.say(to, published(device.topic(channel), payload, retain=retain))

    def heard_bytes(self) -> int:
        """Return the most memory that the manager ever had."""
        return peak_bytes(self.server)

    def metric(self, name: str) -> float:
        """Return one number of the manager's `/metrics`."""
        headers = {"Authorization": f"Bearer {self.made['token']}"}
        text = urllib3.request("GET", f"{self.url}/metrics", headers=headers).data.decode()
        found = re.search(rf"(?m)^{re.escape(name)} (\S+)$", text)
        return float(found.group(1)) if found else 0.0


def peak_bytes(program: Program) -> int:
    """Return the most memory that a program ever had."""
    status = Path(f"/proc/{program.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found.group(1)) * 1024
