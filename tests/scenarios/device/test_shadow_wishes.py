"""A whole agent that is asked for a shadow: what it fetches, keeps, gives up for an update, and tells."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from edgemm.bundle import open_bundle, write_bundle
from edgemm.messages import DesiredModel, DesiredShadow, ModelConfig, ReportedShadow, ShadowPhase
from simulators.agent import QUICK_LIMITS, AgentInThread
from simulators.fleet import QUICK, SimulatedFleet
from simulators.models import make_bundle, make_manifest

pytestmark = pytest.mark.slow
FULL = dataclasses.replace(QUICK_LIMITS, reserve_bytes=2**60)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Versions 1 and 2 of one model; 3 takes batches of one alone, so that it cannot answer 1's requests."""
    folder, found = tmp_path_factory.mktemp("bundles"), {}
    for seed, version in enumerate(("1.0.0", "2.0.0")):
        found[version] = folder / f"{version}.edgemm"
        make_bundle(found[version], version=version, seed=seed, variants=("tflite:float32",))
    manifest, blobs = make_manifest(version="3.0.0", seed=3, variants=("tflite:float32",), batch=1)
    (x,) = manifest.signature.inputs
    signature = replace(manifest.signature, inputs=(replace(x, shape=(1, *x.shape[1:])),))
    found["3.0.0"] = folder / "3.0.0.edgemm"
    write_bundle(found["3.0.0"], replace(manifest, signature=signature), blobs)
    return found


@pytest.fixture
def fleet(bundles: dict[str, Path]) -> Iterator[SimulatedFleet]:
    with SimulatedFleet() as fleet:
        for path in bundles.values():
            fleet.publish(path)
        yield fleet


@pytest.fixture
def device(fleet: SimulatedFleet, tmp_path: Path) -> Iterator[AgentInThread]:
    """A device that runs version 1."""
    with AgentInThread(fleet, tmp_path / "device") as agent:
        fleet.desire(agent.device, _model(fleet))
        fleet.wait_for(lambda: fleet.state(agent.device, "tiny", "1.0.0") == "committed")
        yield agent


def _model(fleet: SimulatedFleet, version: str = "1.0.0", *, beside: str | None = None) -> DesiredModel:
    model = fleet.model("tiny", version, probation=QUICK)
    if beside is None:
        return model
    shadow = DesiredShadow(version=beside, digest=fleet.model("tiny", beside).digest, share=1.0)
    return replace(model, config=replace(model.config, shadow=shadow))


def _told(fleet: SimulatedFleet, device: AgentInThread) -> ReportedShadow | None:
    model = fleet.reported_model(device.device, "tiny")
    return model.shadow if model is not None and isinstance(model.shadow, ReportedShadow) else None


def _wait(fleet: SimulatedFleet, device: AgentInThread, phase: ShadowPhase) -> ReportedShadow:
    fleet.wait_for(lambda: (told := _told(fleet, device)) is not None and told.phase is phase)
    found = _told(fleet, device)
    assert found is not None
    return found


def _blobs(path: Path) -> set[str]:
    with open_bundle(path) as bundle:
        return set(bundle.manifest.blobs)


def _here(device: AgentInThread) -> set[str]:
    return {path.name for path in device.folder.path("blobs").iterdir()}


def test_its_bytes_are_kept_while_it_is_wanted_and_go_with_the_wish(
    fleet: SimulatedFleet, device: AgentInThread, bundles: dict[str, Path]
) -> None:
    own = _blobs(bundles["2.0.0"]) - _blobs(bundles["1.0.0"])
    fleet.desire(device.device, _model(fleet, beside="2.0.0"))
    _wait(fleet, device, ShadowPhase.RUNNING)
    assert own <= _here(device)
    device.agent._prune()
    assert own <= _here(device)
    fleet.desire(device.device, _model(fleet))
    fleet.wait_for(lambda: _told(fleet, device) is None and not device.registry.shadows.statuses())
    device.agent._prune()
    assert not own & _here(device)
    assert fleet.state(device.device, "tiny", "1.0.0") == "committed"


def test_an_update_ends_it_and_it_comes_back_beside_the_new_version(
    fleet: SimulatedFleet, device: AgentInThread
) -> None:
    fleet.desire(device.device, _model(fleet, beside="2.0.0"))
    _wait(fleet, device, ShadowPhase.RUNNING)
    first = device.registry.shadows.beside("tiny")
    assert first is not None
    fleet.desire(device.device, _model(fleet, "2.0.0", beside="1.0.0"))
    fleet.wait_for(lambda: fleet.state(device.device, "tiny", "2.0.0") == "committed")
    fleet.wait_for(lambda: (told := _told(fleet, device)) is not None and told.version == "1.0.0"
                   and told.phase is ShadowPhase.RUNNING)  # fmt: skip
    assert first.gone
    assert device.version == "2.0.0"


def test_one_that_cannot_answer_the_requests_is_told(fleet: SimulatedFleet, device: AgentInThread) -> None:
    fleet.desire(device.device, _model(fleet, beside="3.0.0"))
    told = _wait(fleet, device, ShadowPhase.FAILED)
    assert told.reason == "incompatible"
    assert device.version == "1.0.0"


def test_one_that_nobody_signed_is_told(fleet: SimulatedFleet, device: AgentInThread) -> None:
    model = _model(fleet)
    forged = DesiredShadow(version="2.0.0", digest="0" * 64)
    fleet.desire(device.device, replace(model, config=ModelConfig(probation=QUICK, shadow=forged)))
    told = _wait(fleet, device, ShadowPhase.FAILED)
    assert (told.reason, told.digest) == ("untrusted", "0" * 64)
    assert device.version == "1.0.0"


def test_one_that_does_not_fit_is_told_and_removes_nothing_that_serves(
    fleet: SimulatedFleet, tmp_path: Path, bundles: dict[str, Path]
) -> None:
    with AgentInThread(fleet, tmp_path / "device") as device:
        fleet.desire(device.device, _model(fleet))
        fleet.wait_for(lambda: fleet.state(device.device, "tiny", "1.0.0") == "committed")
    with AgentInThread(fleet, tmp_path / "device", limits=FULL) as device:
        fleet.desire(device.device, _model(fleet, beside="2.0.0"))
        told = _wait(fleet, device, ShadowPhase.FAILED)
        assert told.reason == "no_space"
        assert "free" in (told.detail or "")
        assert _blobs(bundles["1.0.0"]) <= _here(device)
        assert device.version == "1.0.0"
