"""What uses a version that is to be withdrawn, and what is left of it afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from edgemm.errors import BadRequestError, ConflictError
from edgemm.messages import VariantPolicy
from edgemm_fleet.records.rollout_plan import Group, Selector
from edgemm_fleet.rollout import pace, version_uses
from edgemm_fleet.rollout.version_uses import UsingDevices, VersionUses
from edgemm_fleet.shadows.operations import ShadowOperations
from edgemm_fleet.store import Transaction, models, shadows
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
    with fleet.store.read() as tx:
        going = models.offered_among(tx, MODEL, [version])
    ended = fleet.operations.end_uses(MODEL, going, force=force, actor="person:ann", now=fleet.now)
    with fleet.store.write() as tx:
        fleet.operations.check_begun(tx, MODEL, going, since=ended, force=force, actor="person:ann", now=fleet.now)
        models.withdraw(tx, MODEL, [version], now=fleet.now)
    fleet.settle()
    return ended


def _names(uses: VersionUses) -> tuple[tuple[str, ...], ...]:
    return uses.rollouts, uses.shadows.named, uses.running.named, uses.waiting.named


def test_what_nobody_uses_goes_without_force(fleet: LocalFleet) -> None:
    assert _names(_end(fleet, "2.0.0", force=False)) == ((), (), (), ())


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
    assert _names(ended) == ((rollout,), ("a",), ("a", "c"), ("b",))
    assert (fleet.rollout(rollout).state, fleet.rollout(rollout).reason) == ("halted", "its version was withdrawn")
    assert [fleet.wanted(name) for name in ("a", "b", "c")] == ["2.0.0", "1.0.0", "2.0.0"]
    fleet.connect("b")
    assert [fleet.running(name) for name in ("a", "b")] == ["2.0.0", "1.0.0"]
    with fleet.store.read() as tx:
        assert shadows.wanting(tx, MODEL, {digest_of("2.0.0")}, "", 10) == ([], None)


def test_a_device_that_is_told_and_was_never_heard_of_is_told_nothing(fleet: LocalFleet) -> None:
    fleet.add("d", online=False)
    fleet.run("2.0.0", ALL, selector=Selector(devices=("d",)))
    assert _end(fleet, "2.0.0").waiting == UsingDevices(1, ("d",))
    assert fleet.wanted("d") is None


def test_a_removed_device_uses_nothing(fleet: LocalFleet) -> None:
    from edgemm_fleet.store import devices

    fleet.run("2.0.0", ALL, selector=Selector(devices=("a",)))
    with fleet.store.write() as tx:
        devices.remove(tx, "a", now=fleet.now)
    assert _names(_end(fleet, "2.0.0", force=False)) == ((), (), (), ())


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


def test_no_transaction_is_about_many_devices(fleet: LocalFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(version_uses, "_LOOKED_AT", 3)
    monkeypatch.setattr(version_uses, "_NAMED", 4)
    defaults = (pace.WorkPace.__init__.__kwdefaults__ or {}) | {"least": 2, "most": 2}
    monkeypatch.setattr(pace.WorkPace.__init__, "__kwdefaults__", defaults)
    fleet.add("d", "e", "f", "g")
    for device in fleet.devices.values():
        device.silent = True
    fleet.run("2.0.0", ALL)
    _shadow(fleet, "2.0.0", *fleet.devices)
    written, write = list[int](), fleet.director.write

    def counted(tx: Transaction, ids: Sequence[str], *, now: float) -> dict[str, int]:
        written.append(len(ids))
        return write(tx, ids, now=now)

    monkeypatch.setattr(fleet.director, "write", counted)
    with fleet.store.read() as tx:
        going = models.offered_among(tx, MODEL, ["2.0.0"])
    ended = fleet.operations.end_uses(MODEL, going, force=True, actor="person:ann", now=fleet.now)
    assert ended.shadows == ended.waiting == UsingDevices(7, ("a", "b", "c", "d"))
    assert written == [2, 1, 2, 1, 1] * 2
    assert {fleet.wanted(name) for name in ("a", "b", "c")} == {"1.0.0"}


@pytest.mark.parametrize("begun", ["shadow", "rollout", "roll-back"])
def test_versions_that_come_to_be_used_while_their_uses_are_looked_for_are_not_withdrawn(
    fleet: LocalFleet, begun: str
) -> None:
    fleet.run("2.0.0", ALL)
    again = fleet.run("1.0.0", ALL)
    with fleet.store.read() as tx:
        going = models.offered_among(tx, MODEL, ["2.0.0"])
    looked = fleet.operations.end_uses(MODEL, going, force=False, actor="person:ann", now=fleet.now)
    if begun == "shadow":
        _shadow(fleet, "2.0.0", "a")
    elif begun == "rollout":
        fleet.run("2.0.0", ALL)
    else:
        fleet.operations.roll_back(again, actor="person:ann", now=fleet.now)
    with fleet.store.write() as tx, pytest.raises(ConflictError, match="meanwhile, so the versions may be in use"):
        fleet.operations.check_begun(tx, MODEL, going, since=looked, force=False, actor="person:ann", now=fleet.now)


@pytest.mark.parametrize("version", ["9.9.9", "2.0.0"])
def test_of_versions_that_are_not_offered_nothing_came_to_be_used(fleet: LocalFleet, version: str) -> None:
    _shadow(fleet, "1.0.0", "a")
    fleet.operations.roll_back(fleet.run("3.0.0", ALL), actor="person:ann", now=fleet.now)
    _end(fleet, version, force=False)
    assert _names(_end(fleet, version, force=False)) == ((), (), (), ())


def _shadow(fleet: LocalFleet, version: str, *names: str) -> None:
    operations = ShadowOperations(fleet.store, fleet.director, wake=lambda: None)
    selector, auto = Selector(devices=names), VariantPolicy.AUTO
    operations.put(MODEL, version, share=1.0, variants=auto, selector=selector, actor="person:ann", now=fleet.now)
