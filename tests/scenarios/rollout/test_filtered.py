"""Rollouts for devices that a filter means, also one that the rollout itself makes untrue."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgemm.errors import BadRequestError, ConflictError
from edgemm_fleet.records.rollout_plan import Group, Selector
from edgemm_fleet.store import devices
from simulators.broker import LocalFleet

CANARY = Group(count=1, deadline_s=100)
EVERYBODY = Group(percent=100, deadline_s=100)


@pytest.fixture
def fleet(tmp_path: Path) -> LocalFleet:
    fleet = LocalFleet(tmp_path)
    fleet.add("cam-0", "cam-1", "cam-2", site="here")
    fleet.add("cam-3", site="there")
    fleet.run("1.0.0", EVERYBODY)
    return fleet


@pytest.mark.parametrize(
    "groups", [(EVERYBODY,), (CANARY, EVERYBODY), (CANARY, Group(percent=50, deadline_s=9), EVERYBODY)]
)
def test_devices_of_an_old_version_get_the_new_one_group_after_group(
    fleet: LocalFleet, groups: tuple[Group, ...]
) -> None:
    rollout = fleet.run("2.0.0", *groups, selector=Selector(where="version<2 site=here"))
    assert fleet.rollout(rollout).state == "finished"
    assert fleet.states(rollout) == dict.fromkeys(("cam-0", "cam-1", "cam-2"), "committed")


def test_one_canary_of_one_device_is_through_though_it_matches_no_more(fleet: LocalFleet) -> None:
    rollout = fleet.run("2.0.0", CANARY, EVERYBODY, selector=Selector(where="id=cam-1 version=1.0.0"))
    assert (fleet.rollout(rollout).state, fleet.rollout(rollout).reason) == ("finished", None)


def test_a_filter_of_labels_alone_looks_anew(fleet: LocalFleet) -> None:
    rollout = fleet.operations.create(
        fleet.plan("2.0.0", CANARY, EVERYBODY, selector=Selector(where="site=here not ring=9")),
        actor="a",
        now=fleet.now,
    ).id
    fleet.operations.start(rollout, actor="a", now=fleet.now)
    with fleet.store.write() as tx:
        for name in ("cam-0", "cam-1", "cam-2"):
            devices.set_labels(tx, name, {"site": "there"})
    fleet.settle()
    assert fleet.rollout(rollout).reason == "group 2: no device matches site=here not ring=9"


def test_what_a_filter_does_not_mean_is_not_touched(fleet: LocalFleet) -> None:
    fleet.devices["cam-3"].silent = True
    with pytest.raises(ConflictError, match="no device matches version<1, so there is nothing to do"):
        fleet.run("2.0.0", EVERYBODY, selector=Selector(where="version<1"))


def test_two_rollouts_run_at_once_where_their_filters_exclude_each_other(fleet: LocalFleet) -> None:
    for name in ("cam-0", "cam-3"):
        fleet.devices[name].silent = True
    fleet.run("2.0.0", EVERYBODY, selector=Selector(where="site=here version<2"))
    fleet.run("3.0.0", EVERYBODY, selector=Selector(where="site=there"))
    with pytest.raises(ConflictError, match="runs and may have the same devices"):
        fleet.run("3.0.0", EVERYBODY, selector=Selector(where="version<2"))


def test_a_filter_of_a_later_manager_is_not_ignored(fleet: LocalFleet) -> None:
    later = fleet.plan("2.0.0", EVERYBODY, selector=Selector(where="near berlin"), requires=("filter",))
    with pytest.raises(BadRequestError, match="it needs filter, which edgemm .* does not know"):
        fleet.start(later)
    with pytest.raises(BadRequestError, match="it needs filter"):
        fleet.start(fleet.plan("2.0.0", EVERYBODY, requires=("filter",)))
