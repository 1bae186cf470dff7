"""The system clock leaps a day ahead, back, and years away, while windows are spooled and updates come."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from msgspec import UNSET
from securesystemslib.signer import CryptoSigner

from edgemm import times
from edgemm.messages import Action, Stream, Telemetry
from edgemm_runtime.agent.spool.spool import Spool
from edgemm_runtime.agent.state.time_keeper import Clock
from simulators.agent import AgentInThread
from simulators.fleet import SimulatedFleet
from simulators.models import make_bundle
from simulators.waiting import eventually

pytestmark = pytest.mark.slow
HOUR = 3600.0
DAY = 24 * HOUR


@dataclass
class WallClock:
    """The system clock of a device, which may be set; its monotonic clock goes on as ever."""

    ahead_s: float = 0.0

    def now(self) -> float:
        """Return the time that it shows."""
        return time.time() + self.ahead_s


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[SimulatedFleet]:
    """A fleet with two versions."""
    with SimulatedFleet() as fleet:
        for seed, version in enumerate(("1.0.0", "2.0.0")):
            make_bundle(tmp_path / version, version=version, seed=seed, variants=("tflite:float32",))
            fleet.publish(tmp_path / version)
        yield fleet
        assert not fleet.problems


@pytest.fixture
def wall() -> WallClock:
    """The device's system clock."""
    return WallClock()


@pytest.fixture
def device(fleet: SimulatedFleet, wall: WallClock, tmp_path: Path) -> Iterator[AgentInThread]:
    """A device that runs version 1."""
    with AgentInThread(fleet, tmp_path / "device", clock=Clock(wall=wall.now)) as agent:
        fleet.desire(agent.device, fleet.model("tiny", "1.0.0"))
        fleet.wait_for(lambda: fleet.state(agent.device, "tiny", "1.0.0") == "committed")
        yield agent


def test_leaps_of_the_clock_lose_no_window_and_no_number(
    fleet: SimulatedFleet, device: AgentInThread, wall: WallClock
) -> None:
    spool = device.agent._spool
    fleet.stop_broker()
    for wall.ahead_s in (DAY, 0.0, -50 * 365 * DAY, 30 * 365 * DAY, 0.0):
        enough = spool.gauges().waiting + 3
        eventually(partial(_has, spool, enough), "windows come all the same")
    last = spool.next_sequence(Stream.TELEMETRY) - 1
    fleet.start_broker()
    fleet.wait_for(lambda: _windows(fleet)[-1].sequence > last)
    windows = _windows(fleet)
    assert [window.sequence for window in windows] == list(range(1, len(windows) + 1))
    assert {window.spool.dropped for window in windows} == {0}
    for field in ("time_s", "uptime_s"):
        told = [getattr(window, field) for window in windows]
        assert told == sorted(told), f"{field} only rises"
    now = time.time()
    assert now + DAY - HOUR < windows[-1].time_s < now + DAY + HOUR, (
        "what was plausible is believed, what was not is not"
    )
    assert device.version == "1.0.0"


def _has(spool: Spool, messages: int) -> bool:
    return spool.gauges().waiting >= messages


@dataclass(frozen=True)
class _Wish:
    """How far ahead the clock was, one after the other; from when to when a wish is valid; the cause of its refusal."""

    shown: tuple[float, ...]
    valid_s: tuple[float, float]
    refusal: str | None = None


@pytest.mark.parametrize(
    "wish",
    [
        pytest.param(_Wish((HOUR,), (0, 7 * DAY)), id="an hour ahead"),
        pytest.param(_Wish((HOUR, 0), (0, 7 * DAY)), id="an hour ahead and back"),
        pytest.param(_Wish((DAY,), (0, DAY / 2), "desired_expired"), id="a day ahead, expired by it"),
        pytest.param(
            _Wish((DAY, 0), (0, DAY / 2), "desired_expired"), id="and back, expired by a time that only rises"
        ),
        pytest.param(_Wish((0,), (2 * DAY, 7 * DAY), "desired_too_early"), id="right, and not valid yet"),
        pytest.param(_Wish((HOUR, 0), (2 * DAY, 7 * DAY)), id="back, so it cannot say what is too early"),
    ],
)
def test_what_is_wanted_is_judged_by_trusted_time(
    fleet: SimulatedFleet, device: AgentInThread, wall: WallClock, wish: _Wish
) -> None:
    _show(fleet, wall, *wish.shown)
    begin, end = (times.to_text(time.time() + seconds) for seconds in wish.valid_s)
    fleet.desire(device.device, fleet.model("tiny", "2.0.0"), not_before=begin, expires=end)
    if wish.refusal is None:
        fleet.wait_for(lambda: fleet.state(device.device, "tiny", "2.0.0") == "committed")
        assert fleet.reported[device.device].clock_synced is (wish.shown == (HOUR,))
    else:
        fleet.wait_for(lambda: wish.refusal in {event.cause for event in fleet.events.values()})
        assert fleet.reported[device.device].generation == 1
    assert device.version == ("2.0.0" if wish.refusal is None else "1.0.0")


@pytest.mark.parametrize("shown", [pytest.param([DAY], id="a day ahead"), pytest.param([DAY, 0.0], id="and back")])
def test_what_the_repository_signed_for_a_day_is_waited_for_until_it_is_signed_anew(
    fleet: SimulatedFleet, device: AgentInThread, wall: WallClock, shown: list[float]
) -> None:
    _show(fleet, wall, *shown)
    fleet.desire(device.device, fleet.model("tiny", "2.0.0"))
    fleet.wait_for(lambda: fleet.state(device.device, "tiny", "2.0.0") == "accepted")
    before = len(fleet.telemetry)
    fleet.wait_for(lambda: len(fleet.telemetry) > before + 2)
    assert fleet.state(device.device, "tiny", "2.0.0") == "accepted", "it waits, and does not fail"
    assert device.version == "1.0.0"
    fleet.tuf.renew(datetime.now(UTC) + timedelta(days=1))
    fleet.wait_for(lambda: fleet.state(device.device, "tiny", "2.0.0") == "committed")
    assert device.version == "2.0.0"


def _show(fleet: SimulatedFleet, wall: WallClock, *shown: float) -> None:
    """Have the clock be so far ahead, one after the other, and let the device look at it each time."""
    for wall.ahead_s in shown:
        _wait_for_a_window(fleet)


def _wait_for_a_window(fleet: SimulatedFleet) -> None:
    """Wait until the device has looked at its clock."""
    last = _windows(fleet)[-1].sequence if fleet.telemetry else 0
    fleet.wait_for(lambda: len(fleet.telemetry) > 0 and _windows(fleet)[-1].sequence > last + 1)


def _windows(fleet: SimulatedFleet) -> list[Telemetry]:
    """Return what was heard of the one device, in order."""
    return sorted(fleet.telemetry.values(), key=lambda window: window.sequence)


@pytest.mark.parametrize("shown", [pytest.param([5 * 365 * DAY], id="ahead"), pytest.param([DAY * 30, 0.0], id="back")])
def test_a_device_that_is_told_the_time_takes_what_it_refused(
    fleet: SimulatedFleet, device: AgentInThread, wall: WallClock, shown: list[float]
) -> None:
    _show(fleet, wall, *shown)
    fleet.desire(device.device, fleet.model("tiny", "2.0.0"))
    fleet.wait_for(lambda: "desired_expired" in {event.cause for event in fleet.events.values()})
    assert device.version == "1.0.0"
    fleet.state_time()
    # Nothing is sent again: what was refused is judged anew.
    fleet.wait_for(lambda: fleet.state(device.device, "tiny", "2.0.0") == "committed")
    assert "time_lowered" in {event.cause for event in fleet.events.values()}
    now = time.time()
    fleet.wait_for(lambda: abs(_windows(fleet)[-1].time_s - now) < HOUR)


def test_an_order_is_obeyed_by_a_device_that_refuses_all_else(
    fleet: SimulatedFleet, device: AgentInThread, wall: WallClock
) -> None:
    """And once; one by another key, for another start, or of another kind is not."""
    _show(fleet, wall, 5 * 365 * DAY)
    before = fleet.reported[device.device].actions
    director, fleet.director = fleet.director, CryptoSigner.generate_ed25519()
    fleet.order(device.device, Action(id="forged", kind="sync-time"))
    fleet.director = director
    fleet.order(device.device, Action(id="replayed", kind="sync-time"), boot="0" * 16)
    fleet.order(device.device, Action(id="restart", kind="restart"))
    fleet.state_time()
    for _ in range(3):
        fleet.order(device.device, Action(id="real", kind="sync-time"))
    fleet.wait_for(lambda: fleet.reported[device.device].actions != before)
    (result,) = fleet.reported[device.device].actions
    assert (result.id, result.ok) == ("real", True)
    assert "1825 d ahead of the fleet's" in result.detail
    told = fleet.reported[device.device].clock
    assert told is not UNSET
    assert told.reason == "clock_ahead"
