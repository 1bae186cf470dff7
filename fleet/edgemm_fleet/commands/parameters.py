"""The command-line parameters of the fleet's commands: durations, labels, sizes of groups.

It also makes the client of the fleet that this user is logged in to.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import click

from edgemm.durations import Duration
from edgemm.errors import BadRequestError
from edgemm.trust.enrolment import check_labels
from edgemm_fleet.client import FleetClient, read_profile
from edgemm_fleet.records.rollout_plan import Group

_MOST_DEVICES = 100_000_000


class GroupSize(click.ParamType[Group]):
    """`5` devices, or `10%` of those that match."""

    name = "size"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Group:
        """Read the size of a group."""
        match = re.fullmatch(r"(\d+(?:\.\d+)?)(%?)", str(value))
        if match is not None and match[2] and 0 < float(match[1]) <= 100:
            return Group(percent=float(match[1]))
        if match is not None and not match[2] and match[1].isdigit() and 0 < int(match[1]) <= _MOST_DEVICES:
            return Group(count=int(match[1]))
        expected = f"a number of devices such as 5, at most {_MOST_DEVICES:,}, or a share such as 10%"
        return self.fail(f"{value!r}: expected {expected}", param, ctx)


DURATION = Duration()
MOST_LISTED = 1_000_000
"""What `--limit` takes at most."""
GROUP_SIZE = GroupSize()
allow_empty_option = click.option("--allow-empty", is_flag=True, help="It is no error if it reaches no device.")


def labels(ctx: click.Context, param: click.Parameter, values: Sequence[str]) -> dict[str, str]:
    """Read `K=V` labels; a click callback."""
    found = dict(_split(ctx, param, values))
    try:
        check_labels(found)
    except BadRequestError as err:
        raise click.BadParameter(str(err), ctx=ctx, param=param) from err
    return found


def connect() -> FleetClient:
    """Return a client of the fleet that this user is logged in to."""
    return FleetClient(read_profile())


def _split(ctx: click.Context, param: click.Parameter, values: Sequence[str]) -> list[tuple[str, str]]:
    split = []
    for text in values:
        name, mark, value = text.partition("=")
        if not mark or not name:
            raise click.BadParameter(f"{text!r}: expected NAME=VALUE", ctx=ctx, param=param)
        split.append((name, value))
    return split
