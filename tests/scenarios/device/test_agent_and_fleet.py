"""One whole agent and a simulated fleet manager, over real MQTT, HTTP, TUF and engines."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import urllib3
from msgspec import UNSET
from msgspec.structs import replace
from securesystemslib.signer import CryptoSigner

from edgemm import times
from edgemm.errors import EngineError
from edgemm.messages import Action, Desired, Probation
from edgemm.topics import Channel
from edgemm.trust.signing import PayloadType, seal
from edgemm_runtime.agent.agent import AgentEnding
from edgemm_runtime.agent.state.time_keeper import Clock
from edgemm_runtime.engines.signature_model import SignatureModel
from simulators.agent import QUICK_LIMITS, AgentInThread
from simulators.fleet import QUICK, SimulatedFleet
from simulators.models import make_bundle
from simulators.waiting import eventually

pytestmark = pytest.mark.slow
FULL = ["accepted", "downloading", "verified", "staged", "activating", "probation", "committed"]
ENDLESS = Probation(min_duration_s=3600, selftest_interval_s=0.02)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Versions 1 and 2 work; 3's weights were scrambled after its golden samples were recorded."""
    folder, found = tmp_path_factory.mktemp("bundles"), {}
    for seed, version in enumerate(("1.0.0", "2.0.0", "3.0.0")):
        found[version] = folder / f"{version}.edgemm"
        make_bundle(
            found[version], version=version, seed=seed, variants=("tflite:float32",), scramble=version == "3.0.0"
        )
    return found


@pytest.fixture
def fleet(bundles: dict[str, Path]) -> Iterator[SimulatedFleet]:
    with SimulatedFleet() as fleet:
        for path in bundles.values():
            fleet.publish(path)
        yield fleet
        assert not fleet.problems


@pytest.fixture
def device(fleet: SimulatedFleet, tmp_path: Path) -> Iterator[AgentInThread]:
    """A device that runs version 1."""
    with AgentInThread(fleet, tmp_path / "device") as agent:
        _reach(fleet, agent, "1.0.0", "committed")
        yield agent


def _reach(fleet: SimulatedFleet, agent: AgentInThread, version: str, state: str, probation: Probation = QUICK) -> None:
    fleet.desire(agent.device, fleet.model("tiny", version, probation=probation))
    _await_state(fleet, agent, version, state)


def _await_state(fleet: SimulatedFleet, agent: AgentInThread, version: str, state: str) -> None:
    fleet.wait_for(lambda: fleet.state(agent.device, "tiny", version) == state)


def test_an_update_is_reported_step_by_step(fleet: SimulatedFleet, device: AgentInThread) -> None:
    _reach(fleet, device, "2.0.0", "committed")
    fleet.wait_for(lambda: fleet.path("tiny", "2.0.0") == FULL)
    model = fleet.reported_model(device.device, "tiny")
    assert model is not None
    assert (model.active_version, model.variant, model.previous_digest) == (
        "2.0.0", "tflite:float32", fleet.model("tiny", "1.0.0").digest,
    )  # fmt: skip
    assert device.version == "2.0.0"
    reported = fleet.reported[device.device]
    assert (reported.generation, reported.clock_synced, "tflite" in reported.engines) == (2, True, True)


def test_a_model_that_only_running_shows_to_be_broken(fleet: SimulatedFleet, device: AgentInThread) -> None:
    _reach(fleet, device, "3.0.0", "failed")
    model = fleet.reported_model(device.device, "tiny")
    assert model is not None
    assert (model.reason, model.active_version, device.version) == ("selftest_failed", "1.0.0", "1.0.0")
    assert "expected an error of at most" in (model.detail or "")


def test_no_request_is_dropped_while_models_are_swapped(fleet: SimulatedFleet, device: AgentInThread) -> None:
    stop, statuses = threading.Event(), []

    def ask() -> None:
        with urllib3.PoolManager() as pool:
            while not stop.is_set():
                answer = pool.request(
                    "POST", f"{device.server.address}/predict/tiny", json={"inputs": [[0.1, 0.2, 0.3, 0.4]]}
                )
                statuses.append(answer.status)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for version in ("2.0.0", "1.0.0", "2.0.0"):
        _reach(fleet, device, version, "committed")
    stop.set()
    for thread in threads:
        thread.join()
    assert set(statuses) == {200}
    assert len(statuses) > 20


def test_errors_on_probation_turn_it_back_without_the_fleet(
    fleet: SimulatedFleet, device: AgentInThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.desire(device.device, fleet.model("tiny", "2.0.0", probation=replace(ENDLESS, min_requests=3)))
    _await_state(fleet, device, "2.0.0", "probation")
    fleet.stop_broker()
    served = device.registry.get("tiny")
    loaded = served.model.loaded
    assert isinstance(loaded, SignatureModel)

    def fail(*args: object) -> None:
        raise EngineError("out of luck")

    with monkeypatch.context() as patched:
        patched.setattr(loaded._session, "invoke", fail)
        for _ in range(3):
            with pytest.raises(EngineError):
                served.predict({"x": np.zeros((1, 4), np.float32)})
        eventually(lambda: device.version == "1.0.0", "version 1 serves again")
    fleet.start_broker()
    _await_state(fleet, device, "2.0.0", "rolled_back")
    model = fleet.reported_model(device.device, "tiny")
    assert model is not None
    assert model.reason in {"errors", "selftest_failed"}


def test_a_broker_that_is_down_stops_nothing_and_is_caught_up_with(
    fleet: SimulatedFleet, device: AgentInThread
) -> None:
    _reach(fleet, device, "2.0.0", "probation", ENDLESS)
    before = len(fleet.telemetry)
    fleet.stop_broker()
    assert _predict(device) == 200
    fleet.start_broker()
    fleet.wait_for(lambda: len(fleet.telemetry) > before + 3)
    sequences = sorted(sequence for _, sequence in fleet.telemetry)
    assert sequences == list(range(1, len(sequences) + 1)), "nothing is lost"
    fleet.wait_for(lambda: fleet.path("tiny", "2.0.0") == FULL[:-1])


def test_what_is_not_acknowledged_is_sent_again_and_kept(fleet: SimulatedFleet, device: AgentInThread) -> None:
    fleet.acknowledge = False
    _reach(fleet, device, "2.0.0", "committed")
    fleet.wait_for(lambda: fleet.heard > 2 * (len(fleet.events) + len(fleet.telemetry)))
    fleet.acknowledge = True
    fleet.wait_for(lambda: max(fleet.telemetry.values(), key=lambda w: w.sequence).spool.waiting <= 1)


def _seconds(time: str) -> float:
    return float(times.from_text(time))


def test_a_restart_serves_what_was_committed_without_fleet_and_clock(
    fleet: SimulatedFleet, bundles: dict[str, Path], tmp_path: Path
) -> None:
    with AgentInThread(fleet, tmp_path / "device") as agent:
        _reach(fleet, agent, "2.0.0", "committed")
    fleet.stop_broker()
    for year in ("1970-01-01T00:00:05Z", "2040-01-01T00:00:00Z"):
        clock = Clock(wall=partial(_seconds, year))
        with AgentInThread(fleet, tmp_path / "device", clock=clock) as agent:
            assert agent.version == "2.0.0"
            assert _predict(agent) == 200


@pytest.mark.parametrize("year", ["1970-01-01T00:00:05Z", "2040-01-01T00:00:00Z"])
def test_a_clock_that_is_years_off_is_reported_and_updates_go_on(
    fleet: SimulatedFleet, tmp_path: Path, year: str
) -> None:
    clock = Clock(wall=lambda: float(times.from_text(year)))
    with AgentInThread(fleet, tmp_path / "device", clock=clock) as agent:
        _reach(fleet, agent, "1.0.0", "committed")
        assert not fleet.reported[agent.device].clock_synced
        assert fleet.reported[agent.device].time == "2026-11-01T00:00:00Z"


def test_superseded_in_the_middle_of_a_download(fleet: SimulatedFleet, device: AgentInThread) -> None:
    fleet.http.faults.hold_after = 0
    fleet.desire(device.device, fleet.model("tiny", "2.0.0"))
    assert fleet.http.faults.reached.wait(60)
    fleet.desire(device.device, fleet.model("tiny", "1.0.0"))
    fleet.wait_for(lambda: fleet.reported[device.device].generation == 3)
    fleet.http.faults.hold_after = None
    fleet.http.faults.release.set()
    _await_state(fleet, device, "1.0.0", "committed")
    fleet.wait_for(lambda: fleet.path("tiny", "2.0.0")[-1:] == ["canceled"])
    assert device.version == "1.0.0"


def test_withdrawn_in_the_middle_of_a_download_and_what_is_active_goes_on(
    fleet: SimulatedFleet, device: AgentInThread
) -> None:
    fleet.http.faults.hold_after = 0
    fleet.desire(device.device, fleet.model("tiny", "2.0.0"))
    assert fleet.http.faults.reached.wait(60)
    for version in ("1.0.0", "2.0.0"):
        fleet.tuf.withdraw("tiny", version)
    fleet.http.faults.hold_after = None
    fleet.http.faults.release.set()
    _await_state(fleet, device, "2.0.0", "rejected")
    model = fleet.reported_model(device.device, "tiny")
    assert model is not None
    assert (model.reason, model.active_version, device.version) == ("withdrawn", "1.0.0", "1.0.0")
    assert model.detail == "tiny 2.0.0 was withdrawn by an administrator of the fleet: ask for another version"
    _reach(fleet, device, "1.0.0", "committed")
    assert device.version == "1.0.0", "it was withdrawn too, and goes on"


def test_a_model_that_is_no_longer_wanted_is_stopped(fleet: SimulatedFleet, device: AgentInThread) -> None:
    fleet.desire(device.device)
    fleet.wait_for(lambda: (m := fleet.reported_model(device.device, "tiny")) and m.active_digest is None)
    eventually(lambda: _predict(device) == 404, "it answers no more")
    assert _ready(device) == 503
    fleet.desire(device.device, fleet.model("tiny", "1.0.0"))
    eventually(lambda: _predict(device) == 200, "it answers again")


@pytest.mark.parametrize(
    ("story", "cause"),
    [
        ("same generation, other content", "desired_conflict"),
        ("another director", "desired_untrusted"),
        ("no envelope", "desired_untrusted"),
        ("another device's", "desired_foreign"),
        ("expired", "desired_expired"),
    ],
)
def test_a_desired_that_is_refused_changes_nothing_and_is_told(
    fleet: SimulatedFleet, device: AgentInThread, story: str, cause: str
) -> None:
    current: Desired = fleet._desired[device.device]
    other = replace(current, models=(fleet.model("tiny", "2.0.0"),))
    later = replace(other, generation=current.generation + 1)
    payloads: dict[str, Callable[[], bytes]] = {
        "same generation, other content": lambda: seal(other, PayloadType.DESIRED, fleet.director),
        "another director": lambda: seal(later, PayloadType.DESIRED, CryptoSigner.generate_ed25519()),
        "no envelope": lambda: b"{}",
        "another device's": lambda: seal(replace(later, device="x"), PayloadType.DESIRED, fleet.director),
        "expired": lambda: seal(replace(later, expires="2026-11-02T00:00:00Z"), PayloadType.DESIRED, fleet.director),
    }
    fleet.send(device.device, Channel.DESIRED, payloads[story]())
    fleet.wait_for(lambda: cause in {e.cause for e in fleet.events.values()})
    fleet.wait_for(lambda: _refused_cause(fleet, device) == cause)
    assert fleet.reported[device.device].generation == current.generation
    assert device.version == "1.0.0"
    fleet.send(device.device, Channel.DESIRED, seal(current, PayloadType.DESIRED, fleet.director))
    fleet.wait_for(lambda: _refused_cause(fleet, device) is None)


def _refused_cause(fleet: SimulatedFleet, device: AgentInThread) -> str | None:
    refused = fleet.reported[device.device].refused
    return None if refused is UNSET else refused.cause


def test_each_connection_has_its_own_will(fleet: SimulatedFleet, device: AgentInThread) -> None:
    fleet.stop_broker()
    fleet.start_broker()
    fleet.wait_for(lambda: len([s for s in fleet.statuses if s.online]) >= 2)
    first, second = [s for s in fleet.statuses if s.online][:2]
    assert first.boot == second.boot
    assert second.connection > first.connection
    device.agent.stop()
    assert device.join() is AgentEnding.STOPPED
    last = [s for s in fleet.statuses if s.online][-1]  # a slow broker may have cost a connection in between
    fleet.wait_for(lambda: fleet.statuses[-1] == replace(last, online=False))


def test_windows_that_are_acknowledged_in_time_cost_the_card_nothing(
    fleet: SimulatedFleet, device: AgentInThread
) -> None:
    def settled() -> bool:
        told = [window.spool for window in list(fleet.telemetry.values())[-6:]]
        written = {spool.written_bytes for spool in told}
        return len(told) == 6 and len(written) == 1 and None not in written and all(s.waiting <= 1 for s in told)

    fleet.wait_for(settled)
    assert list(fleet.telemetry.values())[-1].spool.written_bytes, "the events of the update are on the disk"


def test_actions_are_done_once_and_told(fleet: SimulatedFleet, device: AgentInThread) -> None:
    model = fleet.model("tiny", "1.0.0")
    kinds = ("selftest", "prune", "diagnose", "dance")
    asked = tuple(Action(id=f"a-{kind}", kind=kind) for kind in kinds)
    fleet.desire(device.device, model, actions=asked)
    fleet.wait_for(lambda: len(fleet.reported[device.device].actions) == len(kinds))
    results = {r.id: (r.ok, r.detail) for r in fleet.reported[device.device].actions}
    assert results["a-selftest"] == (True, "passed: tiny 1.0.0 tflite:float32")
    assert results["a-prune"] == (True, "0 bytes freed")
    assert '"models":{"tiny":"committed"}' in results["a-diagnose"][1]
    assert results["a-dance"] == (False, "unsupported: 'dance'")


def test_a_restart_that_is_asked_for_happens_once(fleet: SimulatedFleet, tmp_path: Path) -> None:
    with AgentInThread(fleet, tmp_path / "device") as agent:
        fleet.desire(agent.device, fleet.model("tiny", "1.0.0"), actions=(Action(id="r", kind="restart"),))
        assert agent.join() is AgentEnding.RESTART
    before = fleet.reported[agent.device].boot_count
    with AgentInThread(fleet, tmp_path / "device") as agent:
        fleet.wait_for(lambda: fleet.reported[agent.device].boot_count > before)
        _await_state(fleet, agent, "1.0.0", "committed")
        assert [r.id for r in fleet.reported[agent.device].actions] == ["r"]
        assert agent.ending is None


@pytest.mark.parametrize(
    ("lost", "clock_s"),
    [
        (["boot.json"], 2e9),
        # Without a clock of its own it starts at the last trusted time, or at that of its build.
        (["boot.json"], 0.0),
        (["boot.json", "spool.sqlite", "spool.sqlite-wal"], 0.0),
        (["boot.json", "time.json"], 2e9 + 30),
    ],
)
def test_a_device_that_lost_its_count_of_starts_is_heard_at_once(
    fleet: SimulatedFleet, tmp_path: Path, lost: list[str], clock_s: float
) -> None:
    path = tmp_path / "device"
    for _ in range(2):
        _start_and_be_heard(fleet, path, 2e9)
    for name in lost:
        (path / name).unlink(missing_ok=True)
    for _ in range(2):
        _start_and_be_heard(fleet, path, clock_s)


def _start_and_be_heard(fleet: SimulatedFleet, path: Path, clock_s: float) -> None:
    """Start a device and wait until its report is the newest, in the order in which a manager takes them."""
    with AgentInThread(fleet, path, clock=Clock(wall=lambda: clock_s)) as agent:
        fleet.wait_for(
            lambda: (
                agent.device in fleet.reported and fleet.reported[agent.device].boot == agent.agent._reporter.who.boot
            )
        )


def test_a_manager_that_forgot_hears_the_generation_and_overtakes_it(
    fleet: SimulatedFleet, device: AgentInThread
) -> None:
    _reach(fleet, device, "2.0.0", "committed")
    fleet._desired.clear()
    _reach(fleet, device, "1.0.0", "committed")
    assert fleet.reported[device.device].generation == 3


def test_a_broker_may_not_be_reached_in_the_clear() -> None:
    from edgemm.errors import InputError
    from edgemm.trust.enrolment import BrokerAccess
    from edgemm_runtime.agent.connection.mqtt import MqttConnection
    from edgemm_runtime.agent.state.speaker import Speaker

    access = BrokerAccess(host="192.0.2.1", port=1883, tls=False, username="pi", password="x")
    with pytest.raises(InputError, match="plain MQTT is for loopback only"):
        MqttConnection(
            access, Speaker("home", "pi", "0" * 16, 1), QUICK_LIMITS, on_connected=lambda: None, on_message=print
        )


def _predict(device: AgentInThread) -> int:
    with urllib3.PoolManager() as pool:
        body = {"inputs": [[0.1, 0.2, 0.3, 0.4]]}
        return pool.request("POST", f"{device.server.address}/predict/tiny", json=body).status


def _ready(device: AgentInThread) -> int:
    with urllib3.PoolManager() as pool:
        return pool.request("GET", f"{device.server.address}/v2/health/ready").status


def _generation(agent: AgentInThread) -> int:
    current = agent.agent._wishes.current
    return current.generation if current is not None else 0


def test_a_stolen_director_key_is_worth_nothing_once_it_was_replaced(
    bundles: dict[str, Path], fleet: SimulatedFleet, tmp_path: Path
) -> None:
    limits = dataclasses.replace(QUICK_LIMITS, trust_refresh_s=0.2)
    with AgentInThread(fleet, tmp_path / "device", limits=limits) as agent:
        _reach(fleet, agent, "1.0.0", "committed")
        stolen = fleet.director
        by_thief = replace(fleet.desire(agent.device, fleet.model("tiny", "1.0.0")), generation=500, models=())
        fleet.send(agent.device, Channel.DESIRED, seal(by_thief, PayloadType.DESIRED, stolen))
        eventually(lambda: agent.version is None, "until then the thief is obeyed")
        fleet.replace_director()
        eventually(lambda: _generation(agent) != 500, "what the old key said is given up")
        fleet.desire(agent.device, fleet.model("tiny", "2.0.0"), generation=7)
        _await_state(fleet, agent, "2.0.0", "committed")
        again = replace(by_thief, generation=10**6)
        fleet.send(agent.device, Channel.DESIRED, seal(again, PayloadType.DESIRED, stolen))
        fleet.wait_for(lambda: any(event.cause == "desired_untrusted" for event in fleet.events.values()))
        assert agent.version == "2.0.0"
        assert fleet.reported[agent.device].generation == 7


def test_nothing_is_installed_for_a_key_that_was_replaced(
    bundles: dict[str, Path], fleet: SimulatedFleet, tmp_path: Path
) -> None:
    with AgentInThread(fleet, tmp_path / "device") as agent:  # which does not look by itself for an hour
        _reach(fleet, agent, "1.0.0", "committed")
        known, stolen = agent.agent._wishes.director, fleet.replace_director()
        by_thief = replace(fleet._desired[agent.device], generation=500, models=(fleet.model("tiny", "2.0.0"),))
        fleet.send(agent.device, Channel.DESIRED, seal(by_thief, PayloadType.DESIRED, stolen))
        eventually(lambda: agent.agent._wishes.director != known, "the install looks at who may ask for it")
        eventually(lambda: _generation(agent) != 500, "and what the old key said is given up")
        assert agent.version == "1.0.0"
        fleet.desire(agent.device, fleet.model("tiny", "1.0.0"), generation=9)
        fleet.wait_for(lambda: fleet.reported[agent.device].generation == 9)
        assert agent.version == "1.0.0"
