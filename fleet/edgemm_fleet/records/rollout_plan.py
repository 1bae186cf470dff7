"""The plan of a rollout: the version, the devices, the groups, and the thresholds at which it stops.

    groups = (Group(count=1), Group(percent=10), Group(percent=100))
    RolloutPlan(model="digits", version="1.1.0", digest=…, groups=groups)

Plans are values; a plan that contradicts itself cannot be made. They are stored and travel over HTTP as JSON. A later
manager names in `requires` what an earlier one must not ignore, such as a gate or a window: a rollout whose plan needs
what is not known here does not start, and one that runs halts.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType
from msgspec.structs import replace

from edgemm import requirements
from edgemm.bundle.manifest import Digest, ModelName, VersionText
from edgemm.messages import DesiredModel, ModelConfig, Ratio, Seconds, Short, VariantPolicy, unknown_items
from edgemm.reasons import Reason
from edgemm.requirements import RequiredNames
from edgemm.topics import DeviceId
from edgemm_fleet.filters import Expression, FilterError, RefusedFilterError, parse, written
from edgemm_fleet.filters.expressions import AllOf, AnyOf, FactSubject, FactTerm, IdTerm, TermComparison
from edgemm_fleet.filters.overlap import may_overlap

APPROVAL = "approval"
"""What `requires` of a plan names where a group waits for a person."""
TOLERATED_REJECTIONS: tuple[str, ...] = (Reason.NO_ENGINE.value, Reason.NO_SPACE.value)
"""What excuses a device by default."""
DeadlineSeconds = Annotated[float, Meta(gt=0, le=366 * 86400)]


FILTER = "filter"
"""What `requires` names where a filter restricts a rollout."""


class Selector(Struct, frozen=True, kw_only=True):
    """Which devices: every label named must have one of its values; `devices`, if given, are the only candidates.

    `where` is a filter (`edgemm_fleet.filters`) that they also have to match.
    """

    labels: dict[Short, Annotated[tuple[Short, ...], Meta(min_length=1)]] = {}
    devices: tuple[DeviceId, ...] | None = None
    where: str | UnsetType = UNSET

    def expression(self, *, model: str | None = None) -> Expression:
        """Return all of it as one filter; `model` is the one that a term about a model means.

        Raises:
            FilterError: `where` cannot be read.
        """
        parts: list[Expression] = [_any_value(name, values) for name, values in self.labels.items()]
        if self.devices is not None:
            parts.append(IdTerm(self.devices))
        if self.where is not UNSET:
            parts.append(_read(self.where, model))
        return parts[0] if len(parts) == 1 else AllOf(tuple(parts))

    def checked(self, *, model: str | None) -> Selector:
        """Return it with the canonical text of its filter.

        Raises:
            RefusedFilterError: the filter cannot be read.
        """
        if self.where is UNSET:
            return self
        try:
            canonical = written(parse(self.where, model=model))
            parse(canonical, model=model)  # it may be longer than what was given, and is what is read from now on
            return replace(self, where=canonical)
        except FilterError as err:
            raise RefusedFilterError(err) from err

    def nobody(self) -> str:
        """Return what to say where it means no device that is enrolled."""
        asks = self.labels or self.devices or self.where is not UNSET
        return f"no device matches {self}" if asks else "no device is enrolled in this fleet"

    def __str__(self) -> str:
        """Return it as the command line has it."""
        labels = [f"{key}={value}" for key, values in self.labels.items() for value in values]
        where = [] if self.where is UNSET else [self.where]
        return ", ".join([*labels, *(self.devices or ()), *where]) or "all devices"


def _any_value(name: str, values: tuple[str, ...]) -> Expression:
    terms = tuple(FactTerm(FactSubject.LABEL, name, TermComparison.EQUAL, value) for value in values)
    return terms[0] if len(terms) == 1 else AnyOf(terms)


@lru_cache(maxsize=256)
def _read(where: str, model: str | None) -> Expression:
    return parse(where, model=model)


class Group(Struct, frozen=True, kw_only=True):
    """One stage of a rollout, by `count` of further devices or until `percent` of all that match are in.

    Rates count only devices that reported the generation and were not excused (`RolloutPlan.tolerated_rejections`). The
    group goes on once `min_reached` of its members reported, at least `success_threshold` of those committed, and
    that held for `soak_s`; more than `error_threshold` failing halts the rollout; what is unfinished at `deadline_s`
    after the start of the group is ended. A group with `approve` starts when a person says so; of the first, who starts
    the rollout does.
    """

    count: Annotated[int, Meta(ge=1)] | None = None
    percent: Annotated[float, Meta(gt=0, le=100)] | None = None
    success_threshold: Ratio = 0.9
    error_threshold: Ratio = 0.1
    min_reached: Ratio = 0.5
    soak_s: Seconds = 0.0
    deadline_s: DeadlineSeconds = 3600.0
    approve: bool = False

    def __post_init__(self) -> None:
        if (self.count is None) == (self.percent is None):
            raise ValueError("a group has a size: give either count or percent, not both")

    def size(self, *, matching: int, taken: int) -> int:
        """Return how many further devices the group takes.

        Args:
            matching: how many devices match the selector now.
            taken: how many of those are members already.
        """
        left = max(0, matching - taken)
        if self.count is not None:
            return min(self.count, left)
        assert self.percent is not None
        # At least one, or a small fleet's 10 % would be an empty stage that proves nothing.
        wanted = math.ceil(matching * self.percent / 100 - 1e-9)
        return min(left, max(1, wanted - taken))

    def required(self, members: int) -> int:
        """Return how many members must have reported before a rate means anything."""
        return max(1, math.ceil(members * self.min_reached - 1e-9))


class RolloutPlan(Struct, frozen=True, kw_only=True):
    """One version of one model for the devices of a selector, group after group.

    `tolerated_rejections` are reasons of `rejected` that excuse a device: it counts neither as a success nor as an
    error. A device that is silent after `activating` fails `activation_deadline_s` later; the default is the longest
    probation and ten minutes. With `allow_empty`, a rollout and a group of it may reach nobody and count as through.
    """

    model: ModelName
    version: VersionText
    digest: Digest
    groups: Annotated[tuple[Group, ...], Meta(min_length=1, max_length=64)]
    selector: Selector = Selector()
    variants: VariantPolicy | Annotated[tuple[Short, ...], Meta(min_length=1, max_length=32)] = VariantPolicy.AUTO
    config: ModelConfig = ModelConfig()
    tolerated_rejections: tuple[Short, ...] = TOLERATED_REJECTIONS
    activation_deadline_s: DeadlineSeconds | None = None
    supersedes: Short | None = None
    allow_empty: bool = False
    requires: RequiredNames | UnsetType = UNSET

    def __post_init__(self) -> None:
        longest = self.config.probation.max_duration_s
        if self.activation_deadline_s is not None and self.activation_deadline_s <= longest:
            raise ValueError(
                f"activation_deadline_s is {self.activation_deadline_s:g}: it must be longer than the longest "
                f"probation, {longest:g} s"
            )

    @property
    def unknown(self) -> tuple[str, ...]:
        """What restricts this rollout and is not known here."""
        obeyed = {FILTER} if self._filter_is_read() else set[str]()
        obeyed |= {APPROVAL} if any(group.approve for group in self.groups) else set()
        unknown = requirements.unknown(self.requires, frozenset(obeyed))
        return (*unknown, *unknown_items(self.config.requires, self.variants))

    def may_overlap(self, other: RolloutPlan) -> bool:
        """Tell whether some device could be meant by both; False only where that is impossible."""
        if not (self._filter_is_read() and other._filter_is_read()):
            return True
        first, second = (plan.selector.expression(model=plan.model) for plan in (self, other))
        return may_overlap(first, second)

    def _filter_is_read(self) -> bool:
        """Tell whether the filter, if there is one or ought to be, is there and one that this edgemm reads."""
        if self.selector.where is UNSET:
            return self.requires is UNSET or FILTER not in self.requires
        try:
            _read(self.selector.where, self.model)
        except FilterError:
            return False
        return True

    def with_requirements(self) -> RolloutPlan:
        """Return the plan with the names of what an earlier manager must not ignore."""
        named = () if self.requires is UNSET else self.requires
        if APPROVAL in named or not any(group.approve for group in self.groups):
            return self
        return replace(self, requires=(*named, APPROVAL))

    @property
    def activation_s(self) -> float:
        """How long a device may stay between `activating` and an end, in seconds."""
        return self.activation_deadline_s or self.config.probation.max_duration_s + 600

    def tells_nothing_new(self, wanted: DesiredModel | None, active_digest: str | None) -> bool:
        """Tell whether a device that is to have `wanted`, and runs `active_digest`, would have nothing to do."""
        if wanted is None or not wanted.digest == active_digest == self.digest:
            return False
        # A trial is of a version that is new: one that stays has had it.
        config = replace(wanted.config, probation=self.config.probation)
        return (wanted.variants, config) == (self.variants, self.config)

    @property
    def last_group(self) -> int:
        """Index of the last group, where devices that timed out earlier are caught up."""
        return len(self.groups) - 1
