"""What uses a version that is to be withdrawn, and what is left of it afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgemm.errors import BadRequestError, ConflictError
from edgemm.messages import VariantPolicy
from edgemm_fleet.records.rollout_plan import Group, Selector
from edgemm_fleet.rollout.version_uses import VersionUses
from edgemm_fleet.shadows.operations import ShadowOperations
from edgemm_fleet.store import models, shadows
from simulators.broker import MODEL, LocalFleet, digest_of
from simulators.device import Outcome

ALL = Group(percent=100)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[LocalFleet]:
    fleet = LocalFleet(tmp_path)
    fleet.add("a", "b", "c")
    fleet.run("1.0.0", ALL)
    yield fleet
    fleet.store.close()


def _end(fleet: LocalFleet, version: str, *, force: bool = True) -> VersionUses:
    with fleet.store.write() as tx:
        going = models.offered_among(tx, MODEL, [version])
        ended = fleet.operations.end_uses(tx, MODEL, going, force=force, actor="person:ann", now=fleet.now)
        models.withdraw(tx, MODEL, [version], now=fleet.now)
    fleet.settle()
    return ended


def test_what_nobody_uses_goes_without_force(fleet: LocalFleet) -> None:
    assert _end(fleet, "2.0.0", force=False) == VersionUses()


def test_a_version_in_use_is_refused_and_the_refusal_names_who_uses_it(fleet: LocalFleet) -> None:
    rollout = fleet.run("2.0.0", Group(count=1), ALL, selector=Selector(devices=("a", "b")))
    _shadow(fleet, "2.0.0", "c")
    with pytest.raises(ConflictError) as told:
        _end(fleet, "2.0.0", force=False)
    for words in (MODEL, "2.0.0", "2 devices (a, b) told to run it", "a shadow on 1 device (c)", "--force"):
        assert words in str(told.value)
    assert fleet.rollout(rollout).state == "finished"


def test_what_runs_goes_on_and_who_waits_is_told_what_it_runs(fleet: LocalFleet) -> None:
    fleet.devices["b"].silent = True
    fleet.devices["c"].outcomes[digest_of("2.0.0")] = Outcome.HANG
    rollout = fleet.run("2.0.0", ALL)
    assert fleet.rollout(rollout).state == "running"
    _shadow(fleet, "2.0.0", "a")
    ended = _end(fleet, "2.0.0")
    assert (ended.rollouts, ended.shadows, ended.running, ended.waiting) == ((rollout,), ("a",), ("a", "c"), ("b",))
    assert (fleet.rollout(rollout).state, fleet.rollout(rollout).reason) == ("halted", "its version was withdrawn")
    assert [fleet.wanted(name) for name in ("a", "b", "c")] == ["2.0.0", "1.0.0", "2.0.0"]
    fleet.connect("b")
    assert [fleet.running(name) for name in ("a", "b")] == ["2.0.0", "1.0.0"]
    with fleet.store.read() as tx:
        assert shadows.wanting(tx, MODEL, {digest_of("2.0.0")}) == []


def test_a_device_that_is_told_and_was_never_heard_of_is_told_nothing(fleet: LocalFleet) -> None:
    fleet.add("d", online=False)
    fleet.run("2.0.0", ALL, selector=Selector(devices=("d",)))
    assert _end(fleet, "2.0.0").waiting == ("d",)
    assert fleet.wanted("d") is None


def test_a_removed_device_uses_nothing(fleet: LocalFleet) -> None:
    from edgemm_fleet.store import devices

    fleet.run("2.0.0", ALL, selector=Selector(devices=("a",)))
    with fleet.store.write() as tx:
        devices.remove(tx, "a", now=fleet.now)
    assert _end(fleet, "2.0.0", force=False) == VersionUses()


def test_a_withdrawn_version_is_rolled_out_started_and_shadowed_no_more(fleet: LocalFleet) -> None:
    draft = fleet.operations.create(fleet.plan("2.0.0", ALL), actor="person:ann", now=fleet.now)
    _end(fleet, "2.0.0", force=False)
    with pytest.raises(ConflictError, match="was withdrawn"):
        fleet.operations.start(draft.id, actor="person:ann", now=fleet.now)
    with pytest.raises(ConflictError, match="was withdrawn"):
        fleet.run("2.0.0", ALL)
    with pytest.raises(ConflictError, match="was withdrawn"):
        _shadow(fleet, "2.0.0", "a")


def test_no_rollout_is_rolled_back_to_a_withdrawn_version(fleet: LocalFleet) -> None:
    rollout = fleet.run("2.0.0", ALL)
    _end(fleet, "1.0.0", force=False)
    with pytest.raises(BadRequestError, match=r"ran 1\.0\.0 before, withdrawn since, so every device would refuse it"):
        fleet.operations.roll_back(rollout, actor="person:ann", now=fleet.now)


def _shadow(fleet: LocalFleet, version: str, device: str) -> None:
    operations = ShadowOperations(fleet.store, fleet.director, wake=lambda: None)
    selector, auto = Selector(devices=(device,)), VariantPolicy.AUTO
    operations.put(MODEL, version, share=1.0, variants=auto, selector=selector, actor="person:ann", now=fleet.now)
