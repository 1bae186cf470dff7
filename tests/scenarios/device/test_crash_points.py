"""Power lost at every point of an update: the old model or the new one serves afterwards, never neither."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgemm.messages import ModelConfig, Probation
from edgemm.states import UpdateState
from edgemm_runtime.agent.update import machine
from simulators.device_world import DeviceWorld, Points, PowerLoss, Versions

VERSIONS = Versions("1.0.0", "2.0.0")
CONFIG = ModelConfig(probation=Probation(min_duration_s=1.0, selftest_interval_s=0.001))
FULL = ["accepted", "downloading", "verified", "staged", "activating", "probation", "committed"]
TURNED_BACK = [*FULL[:-1], "rolling_back", "rolled_back"]


def _install(
    path: Path, version: str, *, boot: int, points: Points | None = None, wrong: str | None = None
) -> DeviceWorld:
    """Live one life of the agent, in which `version` is wanted; it may end early by `PowerLoss`."""
    world = DeviceWorld(path, VERSIONS, boot=boot, points=points)
    try:
        if wrong is not None:
            world.host.wrong.add(VERSIONS.digest(wrong))
        world.updater.recover()
        world.updater.tell(VERSIONS.wanted(version, config=CONFIG))
        world.settle()
    finally:
        world.close()
    return world


def _points_of(tmp_path: Path, wrong: str | None) -> int:
    folder = tmp_path / "counting"
    _install(folder, "1.0.0", boot=1)
    points = Points()
    _install(folder, "2.0.0", boot=2, points=points, wrong=wrong)
    return len(points.names)


@pytest.mark.parametrize(("wrong", "end", "path"), [(None, "2.0.0", FULL), ("2.0.0", "1.0.0", TURNED_BACK)])
def test_power_lost_at_every_point_of_an_update(tmp_path: Path, wrong: str | None, end: str, path: list[str]) -> None:
    points = _points_of(tmp_path, wrong)
    assert points >= 40
    for last in range(1, points + 1):
        folder = tmp_path / str(last)
        _install(folder, "1.0.0", boot=1)
        with pytest.raises(PowerLoss):
            _install(folder, "2.0.0", boot=2, points=Points(last), wrong=wrong)

        world = DeviceWorld(folder, VERSIONS, boot=3)
        if wrong is not None:
            world.host.wrong.add(VERSIONS.digest(wrong))
        found = machine.state(world.record)
        committed = found is UpdateState.COMMITTED and world.record.active is not None
        world.updater.recover()
        serves = world.serves()
        assert serves in {"1.0.0", "2.0.0"}, last
        assert world.record.active is not None
        assert serves == world.record.active.version
        assert not committed or world.record.update is None or serves == world.record.update.target.version

        world.updater.tell(VERSIONS.wanted("2.0.0", config=CONFIG))
        world.settle()
        assert world.serves() == end, last
        told, losses = world.told_states(), found in {UpdateState.ACTIVATING, UpdateState.PROBATION}
        assert told.count("power_lost") == losses, f"a loss on trial is told, power lost at point {last}"
        assert [t for t in told if t != "power_lost"] == [*FULL, *path], f"each once, power lost at point {last}"
        kept = {VERSIONS.digest("1.0.0")} | ({VERSIONS.digest("2.0.0")} if wrong is None else set())
        assert {p.stem for p in folder.glob("manifests/*.json")} == kept
        world.close()


def test_power_lost_at_every_point_of_a_first_install(tmp_path: Path) -> None:
    points = Points()
    _install(tmp_path / "counting", "1.0.0", boot=1, points=points)
    for last in range(1, len(points.names) + 1):
        folder = tmp_path / str(last)
        with pytest.raises(PowerLoss):
            _install(folder, "1.0.0", boot=1, points=Points(last))
        world = _install(folder, "1.0.0", boot=2)
        assert world.serves() == "1.0.0", points.names[last - 1]


def test_power_lost_three_times_on_probation_keeps_the_old_model(tmp_path: Path) -> None:
    _install(tmp_path, "1.0.0", boot=1)
    for boot in (2, 3, 4):
        points = Points(name="after swap")
        world = DeviceWorld(tmp_path, VERSIONS, boot=boot, points=points)
        world.updater.recover()
        assert world.serves() == "1.0.0"
        points.arm()
        world.updater.tell(VERSIONS.wanted("2.0.0", config=CONFIG))
        with pytest.raises(PowerLoss):
            world.settle()
        assert world.serves() == "2.0.0"
        world.close()
    world = _install(tmp_path, "2.0.0", boot=5)
    assert world.serves() == "1.0.0"
    assert world.record.update is not None
    assert (world.record.update.state, world.record.update.reason) == (UpdateState.ROLLED_BACK, "power_loss")
    last = DeviceWorld(tmp_path, VERSIONS, boot=6)
    assert last.told_states()[-5:] == ["activating", "power_lost", "power_lost", "rolling_back", "rolled_back"]
    last.close()


def test_a_stop_on_purpose_on_probation_spends_nothing(tmp_path: Path) -> None:
    _install(tmp_path, "1.0.0", boot=1)
    for boot in range(2, 8):
        world = DeviceWorld(tmp_path, VERSIONS, boot=boot)
        world.updater.recover()
        world.updater.tell(VERSIONS.wanted("2.0.0", config=CONFIG))
        while machine.state(world.record) is not UpdateState.PROBATION:
            assert world.updater.work()
        world.updater.stop()
        world.updater.start()
        assert world.updater.join(60)
        world.close()
    assert _install(tmp_path, "2.0.0", boot=9).serves() == "2.0.0"


def test_another_wish_during_a_first_probation_is_obeyed(tmp_path: Path) -> None:
    world = DeviceWorld(tmp_path, VERSIONS, boot=1)
    world.updater.tell(VERSIONS.wanted("1.0.0", config=CONFIG))
    while machine.state(world.record) is not UpdateState.PROBATION:
        assert world.updater.work()
    world.updater.tell(VERSIONS.wanted("2.0.0", config=CONFIG))
    world.settle()
    assert world.serves() == "2.0.0"
    assert world.told_states() == [*FULL[:-1], "failed", *FULL]
    world.close()


def test_a_rotten_model_falls_back_and_is_fetched_again(tmp_path: Path) -> None:
    _install(tmp_path, "1.0.0", boot=1)
    _install(tmp_path, "2.0.0", boot=2)
    blob = tmp_path / "blobs" / VERSIONS.manifests["2.0.0"].variants[0].blob
    blob.write_bytes(blob.read_bytes()[:-1] + b"\0")

    world = DeviceWorld(tmp_path, VERSIONS, boot=3)
    world.updater.recover()
    assert world.serves() == "1.0.0"
    blob.unlink()
    world.updater.tell(VERSIONS.wanted("2.0.0", config=CONFIG))
    world.settle()
    assert world.serves() == "2.0.0"
    world.close()


@pytest.mark.parametrize("full_from", range(7))
def test_a_disk_that_fills_up_in_any_state_ends_the_update_and_serves_on(tmp_path: Path, full_from: int) -> None:
    _install(tmp_path, "1.0.0", boot=1)
    world = DeviceWorld(tmp_path, VERSIONS, boot=2)
    world.updater.recover()
    for _ in range(full_from):
        world.updater.tell(VERSIONS.wanted("2.0.0", config=CONFIG))
        world.updater.work()
    if machine.state(world.record) is UpdateState.COMMITTED and world.serves() == "2.0.0":
        world.close()
        return
    world.store.full = True
    world.updater.tell(VERSIONS.wanted("2.0.0", config=CONFIG))
    world.settle()
    assert world.serves() == "1.0.0"
    assert world.record.update is not None
    assert world.record.update.state in {UpdateState.REJECTED, UpdateState.ROLLED_BACK}
    assert world.record.update.reason == "no_space"
    world.store.full = False
    world.updater.tell(VERSIONS.wanted("2.0.0", config=CONFIG, attempt=2))
    world.settle()
    assert world.serves() == "2.0.0"
    world.close()
