"""A whole manager and a device that never stops: how many messages the manager is drawn into.

Counted over seconds of real time. The bounds are upper ones: a slow machine sends fewer.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from edgemm import topics
from edgemm.messages import Action
from edgemm.topics import Channel
from edgemm_fleet.broker.broker_settings import BrokerSettings
from edgemm_fleet.records.rollout_plan import Group
from edgemm_fleet.server.services import ManagerSettings
from edgemm_fleet.store import rollouts
from simulators.broker import FLEET
from simulators.device import MqttDevice, Outgoing, SimulatedDevice
from simulators.managed import ManagedFleet

pytestmark = pytest.mark.slow
WATCHED_S = 2.5
PAUSE_S = 0.01
LEAST = 20
"""So many messages, however slow the machine is."""
EVERYBODY = Group(percent=100)


class Counting:
    """Counts what a device hears, and has it say something anew all the time."""

    def __init__(self, carried: MqttDevice) -> None:
        self.carried, self.device, self.counts = carried, carried.device, Counter[Channel]()
        self._receive = self.device.receive
        self.device.receive = self._counted  # type: ignore[method-assign]
        self._stop = threading.Event()

    def _counted(self, topic: str, payload: bytes) -> list[Outgoing]:
        self.counts[topics.parse(topic).channel] += 1
        return self._receive(topic, payload)

    def insist(self, say: Callable[[SimulatedDevice, int], list[Outgoing]]) -> None:
        end, number = time.monotonic() + WATCHED_S, 0
        while time.monotonic() < end or number <= LEAST:
            self.carried.publish(say(self.device, number))
            number += 1
            time.sleep(PAUSE_S)


def nothing_known(device: SimulatedDevice, _number: int) -> list[Outgoing]:
    device.generation, device._desired = 0, None
    return [device.report()]


def ever_higher(device: SimulatedDevice, _number: int) -> list[Outgoing]:
    device.generation += 1024
    return [device.report()]


def the_highest(device: SimulatedDevice, _number: int) -> list[Outgoing]:
    device.generation = 2**53 - 1
    return [device.report()]


def other_content(device: SimulatedDevice, number: int) -> list[Outgoing]:
    if device._desired is not None:
        device._desired = replace(device._desired, actions=(Action(id=str(number), kind="prune"),))
    return [device.report()]


def conflicts(device: SimulatedDevice, _number: int) -> list[Outgoing]:
    device.old = True
    return [device._event("desired_conflict"), device.report()]


def connects(device: SimulatedDevice, number: int) -> list[Outgoing]:
    nothing_known(device, number)
    return device.connect()[:2]


def restarts(device: SimulatedDevice, number: int) -> list[Outgoing]:
    device.restart()
    return connects(device, number)


@pytest.mark.parametrize("say", [nothing_known, ever_higher, the_highest, other_content, conflicts, connects, restarts])
def test_what_never_stops_is_answered_a_few_times(
    tmp_path: Path, say: Callable[[SimulatedDevice, int], list[Outgoing]]
) -> None:
    with ManagedFleet(tmp_path, ManagerSettings(FLEET, BrokerSettings(port=0), tick_s=0.05)) as fleet:
        fleet.add("cam-1")
        rollout = fleet.start("1.0.0", EVERYBODY)
        fleet.wait(lambda: fleet.rollout(rollout).state == "finished", "version 1 is there")
        counting = Counting(fleet.devices["cam-1"])
        counting.insist(say)
        assert counting.counts[Channel.DESIRED] <= 8, counting.counts


def test_a_device_that_refuses_and_insists_is_told_once_and_shown(tmp_path: Path) -> None:
    with ManagedFleet(tmp_path, ManagerSettings(FLEET, BrokerSettings(port=0), tick_s=0.05)) as fleet:
        fleet.add("cam-1")
        device = fleet.devices["cam-1"].device
        device.refuses, device.insistent = "desired_expired", True
        counting = Counting(fleet.devices["cam-1"])
        rollout = fleet.start("1.0.0", EVERYBODY)

        def member() -> tuple[str, str | None]:
            with fleet.store.read() as tx:
                (found,) = rollouts.members_of(tx, rollout)
            return found.state.value, found.reason

        fleet.wait(lambda: member() == ("refused", "desired_expired"), "the refusal is a state of the member")
        time.sleep(WATCHED_S)
        fleet.manager.stop()
        fleet.start_again()  # and no restart begins the loop anew
        fleet.wait(lambda: device.connection > 1, "the device is back")
        time.sleep(WATCHED_S)
        assert counting.counts[Channel.DESIRED] <= 4, counting.counts
