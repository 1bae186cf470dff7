"""A device whose fleet, or whose agent before, is of a later version: what it does not know affects itself alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from edgemm.canonical import decode, encode
from edgemm.messages import (
    Ack,
    DesiredModel,
    DesiredShadow,
    ModelConfig,
    ReportedShadow,
    Stream,
    StreamAck,
    VariantPolicy,
    encode_control,
)
from edgemm.states import UpdateState
from edgemm.topics import Channel
from edgemm_runtime.agent.state.documents import Failure, ModelFile, Update
from edgemm_runtime.agent.update import machine
from edgemm_runtime.agent.update.events import (
    Activated,
    Event,
    Fetched,
    Prepared,
    Proceed,
    Restarted,
    RolledBack,
    SelfTested,
    Wanted,
)
from simulators.agent import AgentInThread
from simulators.device_records import VARIANT, digest, fresh, run, told, wanted, way_to_commit, with_committed
from simulators.device_world import DeviceWorld, Versions
from simulators.fleet import QUICK, SimulatedFleet
from simulators.models import make_bundle

LATER = ModelConfig(requires=("capture", "window"))
STEPS: list[Event] = [Prepared(VARIANT), Fetched(), SelfTested(), Proceed(), Activated()]
V1 = with_committed("1.0.0")


def _path(record: ModelFile) -> list[str]:
    return [one.to_state.value for one in record.pending if one.to_state is not None]


@pytest.mark.parametrize("later", [{"config": LATER}, {"variants": VariantPolicy("fastest")}], ids=str)
def test_a_restriction_that_is_not_known_rejects_the_update_by_name(later: dict[str, Any]) -> None:
    record = run(V1, Wanted(wanted("2.0.0", **later)))
    assert _path(record) == ["accepted", "rejected"]
    assert record.update is not None
    assert record.update.reason == "unsupported"
    assert ("capture, window" if "config" in later else "variants=fastest") in (record.update.detail or "")
    assert record.active is not None
    assert record.active.version == "1.0.0"
    assert machine.step(record) is machine.Step.CLEAN_UP
    assert run(record, Wanted(wanted("2.0.0", **later))) == record, "told once, however often it is wished"


@pytest.mark.parametrize(
    ("steps", "path"),
    [
        (0, "rejected"),
        (2, "rejected"),
        (4, "rolling_back rolled_back"),
        (5, "rolling_back rolled_back"),
    ],
)
def test_an_update_that_is_restricted_meanwhile_ends(steps: int, path: str) -> None:
    under_way = told(run(V1, Wanted(wanted("2.0.0")), *STEPS[:steps]))
    later = Wanted(wanted("2.0.0", config=LATER))
    assert machine.interrupts(under_way, later.model) is (machine.state(under_way) is not UpdateState.ACTIVATING)
    ended = run(under_way, later, RolledBack(), later)
    assert _path(ended) == path.split()
    assert ended.update is not None
    assert (ended.update.reason, ended.active) == ("unsupported", V1.active)


def test_a_restriction_of_what_runs_already_is_rejected_and_lifted_again() -> None:
    restricted = run(V1, Wanted(wanted("1.0.0", config=LATER)))
    assert (machine.state(restricted), restricted.active) == (UpdateState.REJECTED, V1.active)
    lifted = run(restricted, Wanted(wanted("1.0.0")))
    assert (machine.state(lifted), lifted.active) == (UpdateState.COMMITTED, V1.active)


def test_a_higher_attempt_without_the_restriction_is_taken() -> None:
    refused = run(V1, Wanted(wanted("2.0.0", config=LATER)))
    after = run(refused, Wanted(wanted("2.0.0", 2)), *way_to_commit())
    assert after.active is not None
    assert after.active.version == "2.0.0"


def test_a_failure_in_a_later_state_is_a_failure() -> None:
    quarantined = Failure(digest=digest("2.0.0"), attempt=1, state=UpdateState("quarantined"), reason="outside_window")
    record = run(replace(V1, failures=(quarantined,)), Wanted(wanted("2.0.0")))
    assert (machine.state(record), record.active) == (UpdateState.FAILED, V1.active)
    assert record.update is not None
    assert record.update.reason == "outside_window", "a reason that is not known is told as it is"


@pytest.mark.parametrize("steps", range(6))
def test_an_update_whose_restriction_an_agent_before_knew_ends_at_a_start(steps: int) -> None:
    obeyed = told(run(V1, Wanted(wanted("2.0.0")), *STEPS[:steps]))
    assert obeyed.update is not None
    left = replace(obeyed, update=replace(obeyed.update, target=wanted("2.0.0", config=LATER)))
    ended = run(left, Restarted())
    assert _path(ended) == (["rejected"] if steps < 4 else ["rolling_back"])
    assert ended.update is not None
    assert (ended.update.reason, ended.active) == ("unsupported", V1.active)


def test_a_refusal_of_the_longest_names_leaves_a_record_that_can_be_read() -> None:
    names = tuple(f"{number:02}" + "\U0001f511" * 126 for number in range(32))
    record = run(V1, Wanted(wanted("2.0.0", config=ModelConfig(requires=names))))
    assert machine.state(record) is UpdateState.REJECTED
    assert decode(encode(record), ModelFile, name="tiny.json") == record


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Callable[[], DeviceWorld]]:
    """Starts of a device that has versions 1 and 2 to choose from; each ends the one before."""
    worlds: list[DeviceWorld] = []
    versions = Versions("1.0.0", "2.0.0")

    def start() -> DeviceWorld:
        if worlds:
            worlds[-1].close()
        worlds.append(DeviceWorld(tmp_path, versions, boot=len(worlds) + 1))
        return worlds[-1]

    yield start
    worlds[-1].close()


def test_a_state_that_a_later_agent_left_costs_the_update_and_nothing_else(
    world: Callable[[], DeviceWorld], tmp_path: Path
) -> None:
    first = world()
    quick = ModelConfig(probation=QUICK)
    first.updater.tell(first.versions.wanted("1.0.0", config=quick))
    first.settle()
    target = first.versions.wanted("2.0.0", config=quick)
    left = replace(first.record, update=Update(target=target, state=UpdateState("checked"), variant=VARIANT))
    (tmp_path / "models" / "tiny.json").write_bytes(encode(left))
    again = world()
    again.updater.recover()
    assert again.serves() == "1.0.0"
    assert again.record.update is not None
    assert (again.record.update.state, again.record.update.reason) == (UpdateState.FAILED, "unsupported")
    assert "was checked, a state that edgemm" in (again.record.update.detail or "")
    assert again.told_states()[-1] == "failed"
    again.updater.tell(replace(target, attempt=2))
    again.settle()
    assert again.serves() == "2.0.0"


def test_a_first_install_in_a_later_state_fails_and_can_be_tried_again() -> None:
    record = replace(fresh(), update=Update(target=wanted("1.0.0"), state=UpdateState("checked")))
    ended = run(record, Restarted())
    assert (machine.state(ended), ended.active) == (UpdateState.FAILED, None)
    assert run(ended, Wanted(wanted("1.0.0", 2)), *way_to_commit()).active is not None


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("bundles")
    for seed, (name, version) in enumerate((("tiny", "1.0.0"), ("tiny", "2.0.0"), ("other", "1.0.0"))):
        make_bundle(folder / f"{name}-{version}", name=name, version=version, seed=seed, variants=("tflite:float32",))
    return sorted(folder.iterdir())


@pytest.fixture
def fleet(bundles: list[Path]) -> Iterator[SimulatedFleet]:
    with SimulatedFleet() as fleet:
        for path in bundles:
            fleet.publish(path)
        yield fleet
        assert not fleet.problems


@pytest.fixture
def device(fleet: SimulatedFleet, tmp_path: Path) -> Iterator[AgentInThread]:
    """A device that runs version 1 of `tiny`."""
    with AgentInThread(fleet, tmp_path / "device") as agent:
        fleet.desire(agent.device, fleet.model("tiny", "1.0.0"))
        fleet.wait_for(lambda: fleet.state(agent.device, "tiny", "1.0.0") == "committed")
        yield agent


def _restricted(model: DesiredModel, *, shadow: DesiredShadow | None = None) -> DesiredModel:
    given = {} if shadow is None else {"shadow": shadow}
    return replace(model, config=replace(model.config, requires=("capture",), **given))


@pytest.mark.slow
def test_a_model_that_is_restricted_is_refused_alone_and_no_shadow_runs_beside_it(
    fleet: SimulatedFleet, device: AgentInThread
) -> None:
    shadow = DesiredShadow(version="2.0.0", digest=fleet.model("tiny", "2.0.0").digest, share=1.0)
    restricted = _restricted(fleet.model("tiny", "2.0.0"), shadow=replace(shadow, version="1.0.0"))
    fleet.desire(device.device, restricted, fleet.model("other", "1.0.0"))
    fleet.wait_for(lambda: fleet.state(device.device, "other", "1.0.0") == "committed")
    fleet.wait_for(lambda: fleet.state(device.device, "tiny", "2.0.0") == "rejected")
    model = fleet.reported_model(device.device, "tiny")
    assert model is not None
    assert (model.reason, model.active_version, device.version) == ("unsupported", "1.0.0", "1.0.0")
    assert "needs capture" in (model.detail or "")
    assert not isinstance(model.shadow, ReportedShadow)
    assert not device.registry.shadows.statuses()


@pytest.mark.slow
@pytest.mark.parametrize("later", [{"requires": ("consent",)}, {"variants": VariantPolicy("fastest")}], ids=str)
def test_a_shadow_that_is_restricted_is_refused_alone(
    fleet: SimulatedFleet, device: AgentInThread, later: dict[str, Any]
) -> None:
    model = fleet.model("tiny", "1.0.0")
    shadow = DesiredShadow(version="2.0.0", digest=fleet.model("tiny", "2.0.0").digest, share=1.0)
    beside = replace(model, config=replace(model.config, shadow=replace(shadow, **later)))
    fleet.desire(device.device, beside, fleet.model("other", "1.0.0"))

    def refused() -> bool:
        told = fleet.reported_model(device.device, "tiny")
        return told is not None and isinstance(told.shadow, ReportedShadow) and told.shadow.reason == "unsupported"

    fleet.wait_for(refused)
    fleet.wait_for(lambda: fleet.state(device.device, "other", "1.0.0") == "committed")
    assert fleet.state(device.device, "tiny", "1.0.0") == "committed"
    assert not device.registry.shadows.statuses()


@pytest.mark.slow
def test_an_acknowledgement_of_a_later_stream_costs_none_of_the_others(
    fleet: SimulatedFleet, device: AgentInThread
) -> None:
    fleet.acknowledge = False
    fleet.desire(device.device, fleet.model("tiny", "1.0.0"), fleet.model("other", "1.0.0"))
    fleet.wait_for(lambda: fleet.state(device.device, "other", "1.0.0") == "committed")
    boot = fleet.reported[device.device].boot
    fleet.wait_for(lambda: fleet.path("other", "1.0.0")[-1:] == ["committed"])
    last = max(sequence for told, sequence in fleet.events if told == boot)
    acks = (
        StreamAck(boot=boot, stream=Stream("trace"), sequence=5),
        StreamAck(boot=boot, stream=Stream.EVENT, sequence=last),
    )
    fleet.send(device.device, Channel.ACK, encode_control(Ack(acks=acks)))
    floor = last + 1
    fleet.desire(device.device, fleet.model("tiny", "1.0.0"))
    fleet.wait_for(lambda: any(event.floor >= floor for event in fleet.events.values()))
