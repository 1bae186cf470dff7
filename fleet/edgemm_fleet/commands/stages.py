"""The options of `rollout create` for groups, and for the thresholds and times by which each goes on or halts."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import click
from msgspec.structs import replace

from edgemm.finite_range import FiniteRange
from edgemm_fleet.api.messages import DEFAULT_GROUPS
from edgemm_fleet.commands.parameters import DURATION, GROUP_SIZE
from edgemm_fleet.records.rollout_plan import Group

_SHARE = FiniteRange(0, 1)
_OPTIONS = (
    click.option(
        "--group",
        "groups",
        type=GROUP_SIZE,
        multiple=True,
        metavar="SIZE",
        help="A stage: a number of further devices, or a share such as 10%. Default: 1, 10%, 100%.",
    ),
    click.option("--success-threshold", type=_SHARE, default=0.9, show_default=True, help="Share committed to go on."),
    click.option("--error-threshold", type=_SHARE, default=0.1, show_default=True, help="Share failed to halt, above."),
    click.option("--min-reached", type=_SHARE, default=0.5, show_default=True, help="Share that has to report."),
    click.option("--soak", type=DURATION, default="0s", show_default=True, help="How long a group has to hold."),
    click.option("--approve", is_flag=True, help="Each group after the first waits for `rollout next`."),
    click.option(
        "--approve-group",
        "approved",
        type=click.IntRange(2, 64),
        multiple=True,
        metavar="N",
        help="Group N waits for `rollout next` (repeatable).",
    ),
    click.option("--deadline", type=DURATION, default="1h", show_default=True, help="For a group to be through."),
)


def stage_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options and pass the groups that they mean as `stages`."""

    @wraps(command)
    def with_stages(
        *args: Any,
        groups: tuple[Group, ...],
        success_threshold: float,
        error_threshold: float,
        min_reached: float,
        soak: float,
        approve: bool,
        approved: tuple[int, ...],
        deadline: float,
        **others: Any,
    ) -> None:
        thresholds = {
            "success_threshold": success_threshold,
            "error_threshold": error_threshold,
            "min_reached": min_reached,
            "soak_s": soak,
            "deadline_s": deadline,
        }
        sizes = groups or DEFAULT_GROUPS
        if approved and max(approved) > len(sizes):
            raise click.BadParameter(f"{max(approved)}: there are {len(sizes)} groups", param_hint="'--approve-group'")
        stages = tuple(
            replace(group, **thresholds, approve=number > 1 and (approve or number in approved))
            for number, group in enumerate(sizes, start=1)
        )
        command(*args, stages=stages, **others)

    decorated: Callable[..., None] = with_stages
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated
