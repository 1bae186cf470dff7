"""A shadow is wanted beside a model until it is cleared, whatever rollouts come and go."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec import UNSET, UnsetType
from sqlalchemy import delete

from edgemm.errors import ConflictError, NotFoundError
from edgemm.messages import DesiredShadow, VariantPolicy
from edgemm.states import RolloutState
from edgemm_fleet.records.rollout_plan import Group, Selector
from edgemm_fleet.shadows.operations import ShadowOperations
from edgemm_fleet.store import Transaction, audit, desired, models, schema, shadows
from simulators.broker import MODEL, LocalFleet, digest_of

ALL = Selector()


@pytest.fixture
def fleet(tmp_path: Path) -> LocalFleet:
    fleet = LocalFleet(tmp_path)
    fleet.add("cam-1", "cam-2")
    fleet.start(fleet.plan("1.0.0", Group(percent=100)))
    fleet.settle()
    return fleet


@pytest.fixture
def operations(fleet: LocalFleet) -> ShadowOperations:
    return ShadowOperations(fleet.store, fleet.director, wake=lambda: None)


def put(fleet: LocalFleet, operations: ShadowOperations, version: str, selector: Selector = ALL) -> tuple[str, ...]:
    changed = operations.put(
        MODEL, version, share=0.5, variants=VariantPolicy.AUTO, selector=selector, actor="person:ann", now=fleet.now
    )
    return changed.devices


def wanted(fleet: LocalFleet, device: str = "cam-1") -> tuple[str, DesiredShadow | UnsetType]:
    with fleet.store.read() as tx:
        record = desired.find(tx, device)
    assert record is not None
    [model] = record.desired.models
    return model.version, model.config.shadow


def test_it_is_told_to_the_devices_that_match_and_to_no_other(fleet: LocalFleet, operations: ShadowOperations) -> None:
    assert put(fleet, operations, "2.0.0", Selector(devices=("cam-1",))) == ("cam-1",)
    assert wanted(fleet) == ("1.0.0", DesiredShadow(version="2.0.0", digest=digest_of("2.0.0"), share=0.5))
    assert wanted(fleet, "cam-2") == ("1.0.0", UNSET)
    assert operations.clear(MODEL, selector=ALL, actor="person:ann", now=fleet.now) == (1, ("cam-1",))
    assert wanted(fleet) == ("1.0.0", UNSET)
    with fleet.store.read() as tx:
        assert [line.action for line in audit.page(tx).items][:2] == ["shadow.clear", "shadow.set"]


def test_the_same_wish_again_tells_nothing_new(fleet: LocalFleet, operations: ShadowOperations) -> None:
    put(fleet, operations, "2.0.0")
    with fleet.store.read() as tx:
        first = desired.find(tx, "cam-1")
    put(fleet, operations, "2.0.0")
    with fleet.store.read() as tx:
        assert desired.find(tx, "cam-1") == first


def test_a_rollout_of_its_version_silences_it_and_a_roll_back_brings_it_back(
    fleet: LocalFleet, operations: ShadowOperations
) -> None:
    put(fleet, operations, "2.0.0")
    fleet.settle()
    rollout = fleet.start(fleet.plan("2.0.0", Group(percent=100)))
    fleet.settle()
    assert fleet.rollout(rollout).state is RolloutState.FINISHED
    assert wanted(fleet) == ("2.0.0", UNSET)
    fleet.operations.roll_back(rollout, actor="person:ann", now=fleet.now)
    fleet.settle()
    version, shadow = wanted(fleet)
    assert version == "1.0.0"
    assert isinstance(shadow, DesiredShadow)
    assert shadow.version == "2.0.0"


def test_a_version_that_is_not_published_is_refused(fleet: LocalFleet, operations: ShadowOperations) -> None:
    with pytest.raises(NotFoundError):
        put(fleet, operations, "9.0.0")
    assert wanted(fleet) == ("1.0.0", UNSET)


def test_a_name_of_which_nothing_is_known_is_a_slip(fleet: LocalFleet, operations: ShadowOperations) -> None:
    put(fleet, operations, "2.0.0")
    with pytest.raises(NotFoundError, match="no model 'digist' here, and no shadow beside one: `edgemm fleet models`"):
        operations.clear("digist", selector=ALL, actor="person:ann", now=fleet.now)
    with fleet.store.write() as tx:  # a model whose publication was withdrawn goes, its shadows are still to be cleared
        tx.execute(delete(schema.versions))
        tx.execute(delete(schema.models))
    assert operations.clear(MODEL, selector=ALL, actor="person:ann", now=fleet.now) == (2, ("cam-1", "cam-2"))
    with pytest.raises(NotFoundError):
        operations.clear(MODEL, selector=ALL, actor="person:ann", now=fleet.now)


def test_no_transaction_is_about_many_devices(
    fleet: LocalFleet, operations: ShadowOperations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgemm_fleet.shadows.operations._AT_ONCE", 2)
    monkeypatch.setattr("edgemm_fleet.shadows.operations._LOOKED_AT", 3)
    monkeypatch.setattr("edgemm_fleet.shadows.operations._NAMED", 4)
    names = [f"cam-{number}" for number in range(1, 8)]
    fleet.add(*names[2:])
    fleet.run("1.0.0", Group(percent=100))
    written, write = list[int](), fleet.director.write

    def counted(tx: Transaction, ids: Sequence[str], *, now: float) -> dict[str, int]:
        written.append(len(ids))
        return write(tx, ids, now=now)

    monkeypatch.setattr(fleet.director, "write", counted)
    assert put(fleet, operations, "2.0.0") == tuple(names[:4])
    assert operations.clear(MODEL, selector=ALL, actor="person:ann", now=fleet.now) == (7, tuple(names[:4]))
    assert written == [2, 1, 2, 1, 1] * 2
    with fleet.store.read() as tx:
        lines = [(line.action, line.detail) for line in audit.page(tx).items][:4]
    begun, done = "all devices that match, one after another", "7 devices"
    assert lines == [
        ("shadow.clear", done),
        ("shadow.clear", begun),
        ("shadow.set", f"2.0.0 on {done}, share 0.5"),
        ("shadow.set", f"2.0.0 on {begun}, share 0.5"),
    ]


def test_a_version_that_is_withdrawn_meanwhile_is_wanted_of_nobody_else(
    fleet: LocalFleet, operations: ShadowOperations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgemm_fleet.shadows.operations._AT_ONCE", 1)
    write = fleet.director.write

    def withdrawn(tx: Transaction, ids: Sequence[str], *, now: float) -> dict[str, int]:
        models.withdraw(tx, MODEL, ["2.0.0"], now=now)
        return write(tx, ids, now=now)

    monkeypatch.setattr(fleet.director, "write", withdrawn)
    with pytest.raises(ConflictError, match="was withdrawn"):
        put(fleet, operations, "2.0.0")
    with fleet.store.read() as tx:
        assert shadows.of(tx, ["cam-1", "cam-2"]).keys() == {"cam-1"}
