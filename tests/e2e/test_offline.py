"""A day without a broker, and a broker that is killed while the day is caught up with: real processes throughout.

The device is a whole agent whose windows come every few milliseconds, so that a day of one-minute windows takes
seconds; the fleet manager is `edgemm fleet serve` with its store, the broker Mosquitto.
"""

from __future__ import annotations

import json
import signal
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Self

import pytest

from edgemm_runtime.agent.state.agent_options import AgentLimits
from simulators.agent_process import AgentProcess
from simulators.mosquitto import MosquittoProcess, free_port
from simulators.spooled import waiting
from simulators.waiting import eventually
from tests.e2e.fleets import Fleet

pytestmark = [pytest.mark.runtime, pytest.mark.slow, pytest.mark.service]
DAY = 24 * 60
IN_FLIGHT = 16
FEW = 100
QUICK: Mapping[str, float] = {
    "telemetry_interval_s": 0.002, "resend_after_s": 1.0, "backoff_max_s": 0.2, "spool_hold_s": 0.0,
    "sd_write_bytes_per_day": 2**50,
}  # fmt: skip


class Offline:
    """A fleet whose broker and manager come and go, and the story of one device of it at a time."""

    def __init__(self, fleet: Fleet, mosquitto: Path) -> None:
        self.fleet = fleet
        port = free_port()
        fleet.broker = f"mqtt://127.0.0.1:{port}"
        files = fleet.place.folder / "broker"
        files.mkdir()
        self._pid = files / "mosquitto.pid"
        fleet.init()
        fleet.serve("--mosquitto", str(files), "--mosquitto-pid", str(self._pid))
        self.broker = MosquittoProcess(mosquitto, files, port=port)
        self.start_broker()
        eventually(lambda: self._subscriptions() > 0, "the manager hears")
        fleet.login()
        self.token = fleet.token("--uses", "3")

    def logs(self) -> str:
        """What its processes printed."""
        return self.fleet.logs() + self.broker.log.read_text()[-2000:]

    def start_broker(self) -> None:
        """Start Mosquitto with what the manager wrote for it."""
        self.broker.__enter__()
        self._pid.write_text(str(self.broker.pid))

    def break_off(self) -> None:
        """Kill broker and manager: nobody hears the device any more."""
        self.broker.kill()
        self.fleet.server.kill()

    def come_back(self) -> None:
        """Start both; return when the manager hears what devices say."""
        before = self._subscriptions()
        self.start_broker()
        self.fleet.serve()
        eventually(lambda: self._subscriptions() > before, "the manager hears")

    def _subscriptions(self) -> int:
        return self.broker.log.read_text().count("Sending SUBACK to @manager")


class Device:
    """A device that is known to the fleet; its windows come as fast as they can be made."""

    def __init__(self, offline: Offline, name: str, **limits: float) -> None:
        self._offline = offline
        self.state = offline.fleet.place.folder / name
        self._limits = {**QUICK, **limits}
        self.start()
        eventually((self.state / "identity.json").exists, "it is enrolled")
        self.id = json.loads((self.state / "identity.json").read_bytes())["device"]
        eventually(self.stored, "its first windows are stored")
        self.boot = self.stored()[0]["boot"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.lose_power()

    def start(self, **limits: float) -> None:
        """Start it, with other limits if need be; it enrols the first time."""
        offline, limits = self._offline, {**self._limits, **limits}
        self.process = AgentProcess(offline.fleet.url, self.state, port=0, token=offline.token, limits=limits)

    def lose_power(self) -> None:
        """End it by SIGKILL."""
        self.process.send(signal.SIGKILL)
        self.process.wait()

    def stored(self) -> list[dict[str, Any]]:
        """Return the windows that the fleet keeps of it, in the order in which they came."""
        items: list[dict[str, Any]] = []
        after = ""
        while True:
            page = self._offline.fleet.api(f"/devices/{self.id}/telemetry?limit=1000{after}")
            items += page["items"]
            if page["next"] is None:
                return items[::-1]
            after = f"&after={page['next']}"

    def heard(self) -> tuple[int, int]:
        """Return up to which window all came to the fleet, and the last that did, as the fleet acknowledges them."""
        query = "SELECT contiguous, highest FROM positions WHERE device = ? AND boot = ? AND stream = 'telemetry'"
        database = self._offline.fleet.folder / "fleet.db"
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as opened:
            contiguous, highest = opened.execute(query, (self.id, self.boot)).fetchone()
        return int(contiguous), int(highest)

    def spooled(self) -> list[int]:
        """Return the numbers of the windows that wait on its disk."""
        return waiting(self.state / "spool.sqlite", self.boot)

    def newest(self) -> Any:
        """Return the window that was stored last."""
        return self._offline.fleet.api(f"/devices/{self.id}/telemetry?limit=1")["items"][0]

    def catch_up(self, last: int) -> None:
        """Wait until a window is stored that came after a number, and that tells that hardly anything waits."""

        def caught_up() -> bool:
            window = self.newest()
            return bool(window["sequence"] > last and window["spool_waiting"] < FEW)

        eventually(caught_up, "it has caught up")

    def numbers(self) -> list[int]:
        """Return the numbers of the windows that the fleet keeps of its first start."""
        return [window["sequence"] for window in self.stored() if window["boot"] == self.boot]


def kept(came: Sequence[int]) -> list[int]:
    """Return which of these windows of a start a fleet keeps: one in ten, and the newest."""
    return [number for number in came if number % 10 == 1 or number == came[-1]]


@pytest.fixture(scope="module")
def offline(memory: Path, mosquitto: Path) -> Iterator[Offline]:
    """A fleet over Mosquitto."""
    with Fleet(memory) as fleet:
        found = Offline(fleet, mosquitto)
        try:
            yield found
        finally:
            found.broker.__exit__()


def test_a_day_without_a_broker_is_stored_whole_once_and_in_order(offline: Offline) -> None:
    with Device(offline, "day") as device:
        offline.break_off()
        eventually(lambda: len(device.spooled()) >= DAY, "the day is over", timeout_s=120)
        device.process.send(signal.SIGSTOP)  # until the manager hears: what it sends first is not said into the void
        day = device.spooled()
        offline.come_back()
        device.process.send(signal.SIGCONT)
        device.catch_up(day[-1])
        assert device.process.stop() == 0
    contiguous, highest = device.heard()
    assert contiguous == highest >= day[-1], "nothing is missing"
    unheard = [number for number in device.spooled() if number > highest]
    assert unheard == list(range(highest + 1, highest + 1 + len(unheard))), "nor of what waits"
    assert device.numbers() == kept(range(1, highest + 1)), "each once, in order"
    assert {window["spool_dropped"] for window in device.stored()} == {0}


def test_of_a_day_that_is_too_long_for_the_cap_the_oldest_are_missing_and_counted(offline: Offline) -> None:
    with Device(offline, "small", spool_bytes=48 * 1024, in_flight_messages=IN_FLIGHT) as device:
        known = device.newest()["sequence"]
        offline.break_off()
        eventually(lambda: device.spooled()[0] > known + DAY / 4, "many had to go", timeout_s=120)
        device.lose_power()
        left = device.spooled()
        offline.come_back()
        before, last = device.heard()
        assert before == last == device.numbers()[-1], "nothing is missing of what came before"
        device.start(telemetry_interval_s=3600.0, spool_bytes=AgentLimits().spool_bytes)
        eventually(lambda: device.heard()[1] >= left[-1] and not device.spooled(), "what is left is acknowledged")
        stored = [window for window in device.stored() if window["boot"] == device.boot]
    came = [*range(1, before + 1), *left]
    assert [window["sequence"] for window in stored] == kept(came), "what is left is stored once, in order"
    assert left == list(range(left[0], left[-1] + 1)), "the oldest went first, in one piece"
    missing = left[0] - 1 - before
    assert missing > DAY / 8
    # A window tells what went before it was spooled itself, which costs one or two more. Of what had to go, what was
    # stored all the same was on its way when the connection broke off: sent, and its acknowledgement not heard.
    assert missing - 2 <= stored[-1]["spool_dropped"] <= missing + IN_FLIGHT


def _has_stored(device: Device, sequence: int) -> bool:
    return bool(device.newest()["sequence"] >= sequence)


def test_a_broker_that_is_killed_while_a_day_is_caught_up_with_costs_nothing(offline: Offline) -> None:
    with Device(offline, "killed", in_flight_messages=IN_FLIGHT) as device:
        offline.break_off()
        eventually(lambda: len(device.spooled()) >= DAY / 3, "hundreds wait", timeout_s=120)
        device.lose_power()
        day = device.spooled()
        offline.come_back()
        device.start(telemetry_interval_s=3600.0)
        for share in (0.2, 0.6):
            some = day[int(share * len(day))]
            eventually(partial(_has_stored, device, some), "some is stored")
            offline.broker.kill()
            assert device.newest()["sequence"] < day[-1], "in the middle of it"
            offline.start_broker()
        eventually(lambda: device.heard() == (day[-1], day[-1]), "all came, what was lost on the way as well")
        assert device.process.stop() == 0
    assert sorted(device.numbers()) == kept(range(1, day[-1] + 1)), "each once, and nothing is missing"
