from __future__ import annotations

from typing import Any

import msgspec
import pytest

from edgemm.messages import ModelConfig, Probation
from edgemm_fleet.records.rollout_plan import Group, RolloutPlan, Selector

DIGEST = "a" * 64


@pytest.mark.parametrize(
    ("group", "matching", "taken", "size"),
    [
        (Group(count=3), 10, 0, 3),
        (Group(count=3), 2, 0, 2),
        (Group(count=3), 10, 9, 1),
        (Group(percent=10), 100, 0, 10),
        (Group(percent=10), 101, 0, 11),
        (Group(percent=10), 3, 0, 1),
        (Group(percent=10), 3, 1, 1),
        (Group(percent=50), 10, 3, 2),
        (Group(percent=100), 10, 4, 6),
        (Group(percent=100), 10, 10, 0),
    ],
)
def test_how_many_further_devices_a_group_takes(group: Group, matching: int, taken: int, size: int) -> None:
    assert group.size(matching=matching, taken=taken) == size


@pytest.mark.parametrize("size", [{}, {"count": 1, "percent": 10.0}])
def test_a_group_has_one_size(size: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="give either count or percent, not both"):
        Group(**size)


def test_a_plan_whose_activation_deadline_cuts_probation_short_is_refused() -> None:
    config = ModelConfig(probation=Probation(max_duration_s=600))
    with pytest.raises(ValueError, match="longer than the longest probation, 600 s"):
        RolloutPlan(
            model="m", version="1.0.0", digest=DIGEST, groups=(Group(count=1),), config=config, activation_deadline_s=60
        )


def test_a_plan_survives_its_json() -> None:
    plan = RolloutPlan(model="m", version="1.0.0", digest=DIGEST, groups=(Group(count=1), Group(percent=100)))
    assert msgspec.json.decode(msgspec.json.encode(plan), type=RolloutPlan) == plan


@pytest.mark.parametrize(
    "bad", [{"groups": []}, {"digest": "x"}, {"version": "1"}, {"groups": [{"count": 0}]}, {"groups": [{}]}]
)
def test_a_plan_from_outside_is_checked(bad: dict[str, object]) -> None:
    good = {"model": "m", "version": "1.0.0", "digest": DIGEST, "groups": [{"count": 1}]}
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode(good | bad), type=RolloutPlan)


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        (Selector(), Selector(), True),
        (Selector(labels={"site": ("north",)}), Selector(labels={"site": ("south",)}), False),
        (Selector(labels={"site": ("north", "south")}), Selector(labels={"site": ("south",)}), True),
        (Selector(labels={"site": ("north",)}), Selector(labels={"kind": ("camera",)}), True),
        (Selector(devices=("a", "b")), Selector(devices=("c",)), False),
        (Selector(devices=("a", "b")), Selector(devices=("b",)), True),
        (Selector(devices=("a",)), Selector(labels={"site": ("north",)}), True),
    ],
)
def test_when_two_selectors_may_mean_one_device(one: Selector, other: Selector, overlap: bool) -> None:
    assert one.may_overlap(other) is overlap
    assert other.may_overlap(one) is overlap


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        (Selector(), True),
        (Selector(labels={"site": ("north", "east")}), True),
        (Selector(labels={"site": ("south",)}), False),
        (Selector(labels={"missing": ("x",)}), False),
        (Selector(devices=("cam-1",)), True),
        (Selector(devices=("cam-2",)), False),
        (Selector(devices=()), False),
    ],
)
def test_which_devices_a_selector_means(selector: Selector, matches: bool) -> None:
    assert selector.matches("cam-1", {"site": "north", "kind": "camera"}) is matches
