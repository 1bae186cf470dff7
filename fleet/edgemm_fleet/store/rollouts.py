"""The store's tables of rollouts, with their groups' progress, and of their members."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from msgspec import convert
from msgspec.structs import replace
from sqlalchemy import ColumnElement, Select, bindparam, case, func, insert, select, update

from edgemm.errors import ConflictError, NotFoundError
from edgemm.messages import DesiredModel
from edgemm.reasons import Reason
from edgemm.states import RolloutState
from edgemm_fleet.records import json_text
from edgemm_fleet.records.members import BEFORE_ACTIVATING, WITH_GROUP, Member, MemberState
from edgemm_fleet.records.progress import GroupProgress, Rollout
from edgemm_fleet.records.records import Page
from edgemm_fleet.records.rollout_plan import RolloutPlan
from edgemm_fleet.records.waiting import RolloutWait
from edgemm_fleet.store import paging
from edgemm_fleet.store.database import Transaction
from edgemm_fleet.store.dialects import portable
from edgemm_fleet.store.dialects.portable import listed
from edgemm_fleet.store.facts import device_facts
from edgemm_fleet.store.membership import member_counts
from edgemm_fleet.store.quarantine import UNREADABLE, quarantine
from edgemm_fleet.store.schema import members, rollouts

Value = TypeVar("Value")
_BEFORE_ALL_OTHERS = 2**40
"""More than any rollout's number."""
_KNOWN = [state.value for state in MemberState]
_NEVER_TOLD = (members.c.generation == 0) & members.c.state.in_(
    [state.value for state in (MemberState.PREPARED, MemberState.WITHDRAWN, MemberState.TIMED_OUT)]
)


def add(tx: Transaction, rollout: Rollout) -> None:
    """Record a new rollout."""
    fixed = {
        "id": rollout.id,
        "model": rollout.plan.model,
        "plan_json": json_text.written(rollout.plan),
        "created_by": rollout.created_by,
        "created_at": rollout.created_at,
    }
    tx.execute(insert(rollouts).values(**fixed, **_changing(rollout)))


def save(tx: Transaction, rollout: Rollout) -> None:
    """Write how far a rollout is."""
    tx.execute(update(rollouts).where(rollouts.c.id == rollout.id).values(**_changing(rollout)))


def get(tx: Transaction, rollout: str) -> Rollout:
    """Return a rollout.

    Raises:
        NotFoundError: there is none of this id.
        ConflictError: it is there, and cannot be read.
    """
    row = tx.execute(select(rollouts).where(rollouts.c.id == rollout)).one_or_none()
    if row is None:
        raise NotFoundError(f"no rollout {rollout[:80]!r}: `edgemm fleet rollout list` shows them")
    found = _rollouts(tx)(row)
    if found is None:
        cause = "; ".join(quarantine(tx).of(_subject(row)).values())
        raise ConflictError(f"rollout {rollout}: its row in the database cannot be read, so it does not go on: {cause}")
    return found


def plans(tx: Transaction, ids: Iterable[str]) -> dict[str, RolloutPlan]:
    """Return the plans of rollouts, by id; of those that can be read."""
    query = select(rollouts).where(listed(rollouts.c.id, sorted(set(ids))))
    return {rollout.id: rollout.plan for rollout in _readable(tx, query, _rollouts(tx))}


def in_states(tx: Transaction, states: Iterable[RolloutState], *, model: str | None = None) -> list[Rollout]:
    """Return the rollouts in any of these states, oldest first."""
    query = select(rollouts).where(rollouts.c.state.in_([state.value for state in states]))
    if model is not None:
        query = query.where(rollouts.c.model == model)
    return _readable(tx, query.order_by(rollouts.c.number), _rollouts(tx))


def being_taken_back(tx: Transaction) -> list[Rollout]:
    """Return the rollouts whose version is still to be taken back from some of their members, oldest first."""
    query = select(rollouts).where(rollouts.c.taken_back.is_not(None))
    return _readable(tx, query.order_by(rollouts.c.number), _rollouts(tx))


def states_taking_back(tx: Transaction) -> dict[str, RolloutState]:
    """Return id → state of the rollouts that `being_taken_back` is about, those that cannot be read among them."""
    query = select(rollouts.c.id, rollouts.c.state).where(rollouts.c.taken_back.is_not(None))
    return {rollout: RolloutState(state) for rollout, state in tx.execute(query)}


def in_unknown_states(tx: Transaction) -> list[Rollout]:
    """Return the rollouts that a later manager left in a state which is not known here, oldest first."""
    query = select(rollouts).where(rollouts.c.state.not_in([state.value for state in RolloutState]))
    return _readable(tx, query.order_by(rollouts.c.number), _rollouts(tx))


def ids_to_look_at(tx: Transaction, states: Iterable[RolloutState], *, now: float) -> list[str]:
    """Return the ids of rollouts in any of these states, in trouble, or with members whose deadline has come.

    The oldest comes first. Ids alone: a row that cannot be read must not keep the others from being looked at.
    """
    due = select(members.c.rollout).where(members.c.deadline_at <= now, members.c.state.in_(_KNOWN))
    open_ones = rollouts.c.state.in_([state.value for state in states])
    query = select(rollouts.c.id).where(open_ones | rollouts.c.trouble.is_not(None) | rollouts.c.id.in_(due))
    return list(tx.execute(query.order_by(rollouts.c.number)).scalars())


def note_trouble(tx: Transaction, rollout: str, trouble: str | None) -> bool:
    """Note what keeps a rollout from going on (None: nothing does any more); tell whether that is new."""
    new = rollouts.c.trouble.is_distinct_from(trouble)
    return bool(tx.execute(update(rollouts).where(rollouts.c.id == rollout, new).values(trouble=trouble)).rowcount)


def page(tx: Transaction, *, after: str | None = None, limit: int = paging.DEFAULT_LIMIT) -> Page[Rollout]:
    """List the rollouts, newest first."""
    query, key = select(rollouts), rollouts.c.number
    return paging.newest_first(tx, query, key=key, after=after, limit=limit, read=_rollouts(tx))


def state_counts(tx: Transaction) -> dict[RolloutState, int]:
    """Return how many rollouts are in each state; every state is there."""
    query = select(rollouts.c.state, func.count()).group_by(rollouts.c.state)
    return dict.fromkeys(RolloutState, 0) | {RolloutState(state): number for state, number in tx.execute(query)}


def put_members(tx: Transaction, items: Sequence[Member]) -> None:
    """Write members, new or changed, and count them."""
    by_rollout: dict[str, list[Member]] = {}
    for member in items:
        by_rollout.setdefault(member.rollout, []).append(member)
    for rollout, some in by_rollout.items():
        _put(tx, rollout, [_member_values(member) for member in some])
        model = tx.execute(select(rollouts.c.model).where(rollouts.c.id == rollout)).scalar()
        if model is not None:
            device_facts.put_outcomes(tx, model, {member.device: member.failure for member in some})


def waiting_devices(tx: Transaction, rollout: str, *, states: Iterable[MemberState], limit: int) -> list[str]:
    """Return the devices of some of a rollout's members that are in some states, in no order."""
    state = members.c.state.in_([state.value for state in states])
    query = select(members.c.device).where(members.c.rollout == rollout, state)
    return list(tx.execute(query.limit(limit)).scalars())


def waiting_members(tx: Transaction, rollout: str, devices: Sequence[str], *, now: float) -> list[Member]:
    """Return the members that `waiting_devices` are; one that cannot be read is excused, as by `due_members`."""
    return _due(tx, rollout, _among(rollout, devices), now=now)


def prepared_members(tx: Transaction, rollout: str, *, groups: Sequence[int], limit: int, now: float) -> list[Member]:
    """Return members of some groups that have not been told, by group and device; as `due_members`."""
    state = members.c.state == MemberState.PREPARED.value
    query = select(members).where(members.c.rollout == rollout, state, members.c.group.in_(groups))
    return _due(tx, rollout, query.order_by(members.c.group, members.c.device).limit(limit), now=now)


def raise_generations(tx: Transaction, generations: Mapping[str, int]) -> None:
    """Have members of open updates wait for these generations (by device): what they were told has a new number."""
    waiting = [state.value for state in BEFORE_ACTIVATING | {MemberState.ACTIVATING, MemberState.REVERTING}]
    query = update(members).where(members.c.device == bindparam("d"), members.c.state.in_(waiting))
    if generations:
        rows = [{"d": device, "g": number} for device, number in generations.items()]
        tx.execute(query.values(generation=bindparam("g")), rows)


def members_of(
    tx: Transaction,
    rollout: str,
    *,
    states: Iterable[MemberState] | None = None,
    group: int | None = None,
    limit: int | None = None,
) -> list[Member]:
    """Return a rollout's members, by group and device, or the first of them; those in some states, or of one group."""
    query = select(members).where(members.c.rollout == rollout)
    if group is not None:
        query = query.where(members.c.group == group)
    if states is not None:
        query = query.where(members.c.state.in_([state.value for state in states]))
    return _readable(tx, query.order_by(members.c.group, members.c.device).limit(limit), _members(tx))


def members_among(tx: Transaction, rollout: str, devices: Sequence[str]) -> list[Member]:
    """Return those of some devices that are a rollout's members, by device."""
    return _readable(tx, _among(rollout, devices), _members(tx))


def committed_among(tx: Transaction, rollout: str, devices: Sequence[str]) -> set[str]:
    """Return those of some devices that committed a rollout's version."""
    committed = members.c.state == MemberState.COMMITTED.value
    query = select(members.c.device).where(members.c.rollout == rollout, committed, listed(members.c.device, devices))
    return set(tx.execute(query).scalars()) if devices else set()


def members_after(tx: Transaction, rollout: str, *, after: str, limit: int) -> list[str]:
    """Return the devices of a rollout's members, by id, those behind `after`."""
    query = select(members.c.device).where(members.c.rollout == rollout, members.c.device > after)
    return list(tx.execute(query.order_by(members.c.device).limit(limit)).scalars())


def members_looked_at(
    tx: Transaction, rollout: str, *, after: str, states: Iterable[MemberState], limit: int, most: int
) -> tuple[list[str], str | None]:
    """Look at the next members by device, those behind `after`, for those in some states, or in one not known here.

    Returns `limit` of them at most, of the first `most` members, and the last device that was looked at, None: there
    are no more.
    """
    wanted = {state.value for state in states}
    query = select(members.c.device, members.c.state).where(members.c.rollout == rollout, members.c.device > after)
    rows = tx.execute(query.order_by(members.c.device).limit(most)).all()
    found = [row.device for row in rows if row.state in wanted or row.state not in _KNOWN]
    if len(found) > limit:
        return found[:limit], found[limit - 1]
    return found, rows[-1].device if len(rows) == most else None


def page_members(
    tx: Transaction,
    rollout: str,
    *,
    state: MemberState | None = None,
    after: str | None = None,
    limit: int = paging.DEFAULT_LIMIT,
) -> Page[Member]:
    """List a rollout's members by device; those in one state."""
    query = select(members).where(members.c.rollout == rollout)
    if state is not None:
        query = query.where(members.c.state == state.value)
    return paging.ascending(tx, query, key=members.c.device, after=after, limit=limit, read=_members(tx))


def current_memberships(tx: Transaction, devices: Sequence[str], *, model: str | None = None) -> list[Member]:
    """Return, for each of these devices and each model (or one), the membership that its reports speak of.

    That is the one in the newest rollout that told it something, or the one in a rollout that is being rolled back: it
    may be an earlier one, where the newest failed on this device.
    """
    joined = members.join(rollouts, rollouts.c.id == members.c.rollout)
    reverting = members.c.state == MemberState.REVERTING.value
    rank = rollouts.c.number + case((reverting, _BEFORE_ALL_OTHERS), else_=0)
    newest = (
        select(members.c.device, func.max(rank).label("rank"))
        .select_from(joined)
        .where(listed(members.c.device, devices), ~_NEVER_TOLD)
        .group_by(members.c.device, rollouts.c.model)
        .subquery()
    )
    same = (newest.c.device == members.c.device) & (newest.c.rank == rank)
    query = select(members).select_from(joined.join(newest, same))
    if model is not None:
        query = query.where(rollouts.c.model == model)
    return _readable(tx, query.order_by(rollouts.c.number, members.c.device), _members(tx))


def prepared_elsewhere(tx: Transaction, devices: Sequence[str], rollout: Rollout) -> list[Member]:
    """Return the memberships of these devices in other rollouts of the model that have yet to tell them."""
    joined = members.join(rollouts, rollouts.c.id == members.c.rollout)
    others = (rollouts.c.model == rollout.plan.model) & (rollouts.c.id != rollout.id)
    prepared = _of_state([MemberState.PREPARED.value])  # of a whole rollout, they may be very many
    query = select(members).select_from(joined).where(others, prepared, listed(members.c.device, devices))
    return _readable(tx, query.order_by(rollouts.c.number, members.c.device), _members(tx))


def memberships_of(tx: Transaction, device: str, *, states: Iterable[MemberState]) -> list[Member]:
    """Return a device's memberships in some states, in whichever rollouts."""
    wanted = members.c.state.in_([state.value for state in states])
    query = select(members).where(members.c.device == device, wanted)
    return _readable(tx, query.order_by(members.c.rollout), _members(tx))


def due_members(
    tx: Transaction, rollout: str, *, now: float, limit: int, states: Iterable[MemberState] | None = None
) -> list[Member]:
    """Return a rollout's members whose own deadline has come, the earliest first; those in a known state, or in some.

    One that cannot be read is excused here: nobody could end it else, and the rollout would wait for it for ever.
    """
    wanted = _of_state(_KNOWN if states is None else [state.value for state in states])
    query = select(members).where(_of_rollout(rollout), members.c.deadline_at <= now, wanted)
    return _due(tx, rollout, query.order_by(members.c.deadline_at).limit(limit), now=now)


def due_with_group(tx: Transaction, rollout: str, group: int, *, now: float, limit: int) -> list[Member]:
    """Return members that end at the deadline of their group, which has come; as `due_members`."""
    state = members.c.state.in_([state.value for state in WITH_GROUP])
    query = select(members).where(members.c.rollout == rollout, members.c.group == group, state)
    return _due(tx, rollout, query.limit(limit), now=now)


def _due(tx: Transaction, rollout: str, query: Select[Any], *, now: float) -> list[Member]:
    rows, read = tx.execute(query).all(), _members(tx)
    found = {row.device: read(row) for row in rows}
    if lost := [device for device, member in found.items() if member is None]:
        before = member_counts.of_devices(tx, rollout, lost)
        ended = {"state": MemberState.EXCUSED.value, "reason": Reason.UNREADABLE.value, "deadline_at": None}
        those = update(members).where(members.c.rollout == rollout, listed(members.c.device, lost))
        tx.execute(those.values(ended | {"changed_at": now}))
        member_counts.change(tx, rollout, before=before, after=member_counts.of_devices(tx, rollout, lost))
    return [member for member in found.values() if member is not None]


def members_due_after(tx: Transaction, rollout: str, *, after: float, limit: int) -> list[Member]:
    """Return a rollout's members whose deadline lies beyond a time; those in a known state."""
    query = select(members).where(_of_rollout(rollout), members.c.deadline_at > after, _of_state(_KNOWN))
    return _readable(tx, query.limit(limit), _members(tx))


def tallies(tx: Transaction, rollout: str) -> list[tuple[int, MemberState, bool, int]]:
    """Return (group, state, has reported the generation, number) of a rollout's members, without those removed."""
    counted = member_counts.of(tx, rollout).items()
    return [(key.group, MemberState(key.state), key.met, n) for key, n in counted if key.state != member_counts.REMOVED]


def number_prepared(tx: Transaction, rollout: str) -> int:
    """Return how many of a rollout's members have not been told."""
    return sum(number for _, state, _, number in tallies(tx, rollout) if state is MemberState.PREPARED)


def numbers_in_groups(tx: Transaction, rollout: str) -> dict[int, int]:
    """Return group → how many members it has, those removed among them."""
    found: dict[int, int] = {}
    for key, number in member_counts.of(tx, rollout).items():
        found[key.group] = found.get(key.group, 0) + number
    return found


def removed(tx: Transaction, rollout: str) -> dict[int, int]:
    """Return group → how many of its members were removed from the fleet before anything came of them."""
    counted = member_counts.of(tx, rollout).items()
    return {key.group: number for key, number in counted if key.state == member_counts.REMOVED}


def _of_rollout(rollout: str) -> ColumnElement[bool]:
    """Return the condition in words by which no index is found: that of deadlines is to be, which few members have."""
    return members.c.rollout + "" == rollout


def _of_state(states: Sequence[str]) -> ColumnElement[bool]:
    return (members.c.state + "").in_(states)


def _changing(rollout: Rollout) -> dict[str, Any]:
    return {
        "state": rollout.state.value,
        "reason": rollout.reason,
        "changed_at": rollout.changed_at,
        "deadline_at": rollout.deadline_at,
        "groups_json": json_text.written(rollout.groups, tuple[GroupProgress, ...]),
        "waiting_json": json_text.written(rollout.waiting) if rollout.waiting else None,
        "taken_back": rollout.taken_back,
    }


def _among(rollout: str, devices: Sequence[str]) -> Select[Any]:
    query = select(members).where(members.c.rollout == rollout, listed(members.c.device, devices))
    return query.order_by(members.c.device)


def _put(tx: Transaction, rollout: str, rows: Sequence[dict[str, Any]]) -> None:
    before = member_counts.of_devices(tx, rollout, [row["device"] for row in rows])
    portable.put(tx, members, rows)
    wanted = ("group", "state", "update_state", "reason")
    after = Counter(member_counts.counted_as(**{name: row[name] for name in wanted}) for row in rows)
    member_counts.change(tx, rollout, before=before, after=after)


def _readable(tx: Transaction, query: Select[Any], read: Callable[[Any], Value | None]) -> list[Value]:
    return [found for row in tx.execute(query) if (found := read(row)) is not None]


def _rollouts(tx: Transaction) -> Callable[[Any], Rollout | None]:
    return quarantine(tx).reader("plan", _rollout, device=_subject)


def _subject(row: Any) -> str:
    return f"rollout {row.id}"


def _members(tx: Transaction) -> Callable[[Any], Member | None]:
    groups: dict[str, tuple[GroupProgress, ...]] = {}

    def read(row: Any) -> Member:
        member = _member(row)
        if member.state not in WITH_GROUP:
            return member
        if row.rollout not in groups:
            groups[row.rollout] = _groups(tx, row.rollout)
        progress = groups[row.rollout][member.group : member.group + 1]
        return replace(member, deadline_at=progress[0].deadline_at if progress else None)

    return quarantine(tx).reader("member of a rollout", read, device=lambda row: str(row.device), lasting=True)


def _groups(tx: Transaction, rollout: str) -> tuple[GroupProgress, ...]:
    """Return the progress of a rollout's groups; nothing where that cannot be read."""
    text = tx.execute(select(rollouts.c.groups_json).where(rollouts.c.id == rollout)).scalar()
    try:
        found: tuple[GroupProgress, ...] = json_text.read(text, tuple[GroupProgress, ...])
    except UNREADABLE:
        return ()
    return found


def _rollout(row: Any) -> Rollout:
    return Rollout(
        id=row.id,
        plan=json_text.read(row.plan_json, RolloutPlan),
        state=RolloutState(row.state),
        reason=row.reason,
        created_by=row.created_by,
        created_at=row.created_at,
        changed_at=row.changed_at,
        deadline_at=row.deadline_at,
        groups=json_text.read(row.groups_json, tuple[GroupProgress, ...]),
        trouble=row.trouble,
        waiting=json_text.read(row.waiting_json, RolloutWait) if row.waiting_json else None,
        taken_back=row.taken_back,
    )


def _member_values(member: Member) -> dict[str, Any]:
    plain = {name: getattr(member, name) for name in member.__struct_fields__ if name != "previous"}
    plain["state"] = member.state.value
    if member.state in WITH_GROUP:
        plain["deadline_at"] = None
    plain["update_state"] = member.update_state.value if member.update_state else None
    return plain | {"previous_json": json_text.written(member.previous, DesiredModel | None)}


def _member(row: Any) -> Member:
    plain = {name: getattr(row, name) for name in Member.__struct_fields__ if name != "previous"}
    return convert(plain | {"previous": json_text.read(row.previous_json, DesiredModel | None)}, Member)
