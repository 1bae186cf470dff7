"""The choice of a group's members: devices become members that have not been told.

Of few devices it is made in the transaction that decides it; of many in parts, by `preparer`. What was chosen is in the
members themselves, so whoever goes on with a choice begins behind them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from edgemm_fleet.records.progress import Rollout
from edgemm_fleet.rollout import machine
from edgemm_fleet.store import Transaction, devices, rollouts
from edgemm_fleet.store.membership import prepared
from edgemm_fleet.store.membership.choosing import DeviceChoice

_LITTLE = 500
"""Of so many devices at most, a group is chosen at once."""


def is_little(tx: Transaction, rollout: Rollout) -> bool:
    """Tell whether a rollout is about so few devices that its groups are chosen at once."""
    return devices.are_few(tx, rollout.plan.selector, most=_LITTLE)


def measured(tx: Transaction, rollout: Rollout, group: int, *, now: float) -> Rollout:
    """Return the rollout with how many devices match, and how many of them a group is to have; it reads them all."""
    numbers = choice(tx, rollout, now=now).numbers()
    again = numbers.timed_out if group == rollout.plan.last_group else 0
    further = rollout.plan.groups[group].size(matching=numbers.matching, taken=numbers.taken)
    return machine.measured(rollout, group, matching=numbers.matching, size=again + further)


def at_once(tx: Transaction, rollout: Rollout, group: int, *, now: float) -> Rollout:
    """Choose all members of a group; return the rollout with its size."""
    rollout = measured(tx, rollout, group, now=now)
    passed_over = set[str]()
    while ids := chosen(tx, rollout, group, but_for=passed_over, now=now):
        fit, unfit = readable(tx, ids)
        passed_over |= unfit | add(tx, rollout, group, fit, now=now)
    return settled(tx, rollout, group, passed_over)


def chosen(
    tx: Transaction, rollout: Rollout, group: int, *, but_for: Collection[str] = (), limit: int = _LITTLE, now: float
) -> list[str]:
    """Return devices that a group is still to take, at most `limit`, those that come first; without `but_for`."""
    if again := chosen_again(tx, rollout, group, but_for=but_for, limit=limit, now=now):
        return again
    most = min(left(tx, rollout, group), limit)
    return choice(tx, rollout, now=now).further(limit=most, but_for=but_for) if most else []


def chosen_again(
    tx: Transaction, rollout: Rollout, group: int, *, but_for: Collection[str] = (), limit: int, now: float
) -> list[str]:
    """Return members that the last group is still to take again."""
    if group < rollout.plan.last_group or not left(tx, rollout, group):
        return []
    return choice(tx, rollout, now=now).timed_out(limit=limit, but_for=but_for)


def takes_all(tx: Transaction, rollout: Rollout, group: int, *, now: float) -> bool:
    """Tell whether a group takes all that are left, so that it does not matter who comes first."""
    return not choice(tx, rollout, now=now).are_more_than(left(tx, rollout, group))


def settled(tx: Transaction, rollout: Rollout, group: int, passed_over: Collection[str]) -> Rollout:
    """Return the rollout with the size of a group that is chosen; `passed_over` matched and cannot be members.

    Where those that were to be members are not there any more, nobody matches: the group did not prove anything.
    """
    matching = max(0, (rollout.groups[group].matching or 0) - len(passed_over))
    found_nobody = finds_nobody(tx, rollout, group, passed_over)
    return machine.measured(
        rollout, group, matching=0 if found_nobody else matching, size=number_in(tx, rollout, group)
    )


def finds_nobody(tx: Transaction, rollout: Rollout, group: int, passed_over: Collection[str]) -> bool:
    """Tell whether a group that is chosen has no members, while it was measured to have some."""
    return (rollout.groups[group].size or 0) > len(passed_over) and not number_in(tx, rollout, group)


def left(tx: Transaction, rollout: Rollout, group: int) -> int:
    """Return how many members a group is still to take."""
    return max(0, (rollout.groups[group].size or 0) - number_in(tx, rollout, group))


def readable(tx: Transaction, ids: Sequence[str]) -> tuple[list[str], set[str]]:
    """Return those of some devices that can be members, and the others: they are none now, or of unreadable labels."""
    found = devices.readable(tx, ids)
    return found, set(ids) - set(found)


def add(tx: Transaction, rollout: Rollout, group: int, ids: Sequence[str], *, now: float) -> set[str]:
    """Make readable devices members of a group; return those that cannot be, by now."""
    return prepared.prepare(tx, rollout.id, ids, group=group, now=now)


def number_in(tx: Transaction, rollout: Rollout, group: int) -> int:
    """Return how many members a group has, those that were removed since among them."""
    return rollouts.numbers_in_groups(tx, rollout.id).get(group, 0)


def choice(tx: Transaction, rollout: Rollout, *, now: float) -> DeviceChoice:
    """Return the devices that a rollout may take."""
    plan = rollout.plan
    return DeviceChoice(tx, rollout.id, plan.selector.expression(model=plan.model), now=now)
