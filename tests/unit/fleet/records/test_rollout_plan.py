from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import UNSET, UnsetType

from edgemm.errors import BadRequestError
from edgemm.messages import ModelConfig, Probation
from edgemm_fleet.filters import DeviceFacts, compiled
from edgemm_fleet.filters.expressions import FactSubject
from edgemm_fleet.records.rollout_plan import Group, RolloutPlan, Selector

DIGEST = "a" * 64


def plan_of(selector: Selector, *, requires: tuple[str, ...] | UnsetType = UNSET) -> RolloutPlan:
    return RolloutPlan(
        model="digits", version="2.0.0", digest=DIGEST, groups=(Group(count=1),), selector=selector, requires=requires
    )


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
        (Selector(where="site=north version<2"), Selector(labels={"site": ("south", "east")}), False),
        (Selector(where="site=north or site=east"), Selector(labels={"site": ("south", "east")}), True),
        (Selector(where="(site=north or site=east) online"), Selector(where="ring=1 site=south"), False),
        (Selector(where="site=north or online"), Selector(where="site=south"), True),
        (Selector(where="not site=north"), Selector(where="site=north"), True),
        (Selector(where="id=a or id=b"), Selector(devices=("c",)), False),
        (Selector(where="id^=a"), Selector(devices=("c",)), True),
        (Selector(where="of a later edgemm"), Selector(where="site=south"), True),
    ],
)
def test_when_two_plans_may_mean_one_device(one: Selector, other: Selector, overlap: bool) -> None:
    assert plan_of(one).may_overlap(plan_of(other)) is overlap
    assert plan_of(other).may_overlap(plan_of(one)) is overlap


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
        (Selector(where="site^=no not label:canary"), True),
        (Selector(where="version<1.2"), True),
        (Selector(labels={"site": ("north",)}, where="version>=1.2"), False),
    ],
)
def test_which_devices_a_selector_means(selector: Selector, matches: bool) -> None:
    values = {
        (FactSubject.LABEL, "site"): ("north",),
        (FactSubject.LABEL, "kind"): ("camera",),
        (FactSubject.VERSION, "digits"): ("1.1.0",),
    }
    device = DeviceFacts(id="cam-1", values=values)
    assert compiled(selector.expression(model="digits"))(device, 0.0) is matches


def test_a_selector_without_a_filter_is_written_as_it_always_was() -> None:
    assert msgspec.json.encode(Selector(labels={"site": ("north",)})) == b'{"labels":{"site":["north"]},"devices":null}'


@pytest.mark.parametrize(
    ("where", "requires", "unknown"),
    [
        (UNSET, UNSET, ()),
        (UNSET, ("filter",), ("filter",)),
        ("site=north", ("filter",), ()),
        ("what later versions read", ("filter",), ("filter",)),
        ("site=north", ("filter", "window"), ("window",)),
    ],
)
def test_a_filter_that_is_lost_or_not_read_here_holds_a_rollout_up(
    where: str | UnsetType, requires: tuple[str, ...] | UnsetType, unknown: tuple[str, ...]
) -> None:
    assert plan_of(Selector(where=where), requires=requires).unknown == unknown


def test_a_filter_is_kept_in_its_canonical_text() -> None:
    assert Selector(where="(a=1)  and not b=2").checked(model=None).where == "a=1 b!=2"
    with pytest.raises(BadRequestError, match=r"^filter, column 5: [^\n]*did you mean online\?$"):
        Selector(where="a=1 onlin").checked(model=None)
