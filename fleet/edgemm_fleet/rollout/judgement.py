"""The judgement of one member of a rollout, by its device's newest report or by its silence.

Only the newest report of a device is judged (the store drops older ones), so that any order, loss and repetition of
reports ends in the same state. Time and report are arguments; nothing here reads a clock or a store. A state of a
device that is not known here is neither a success nor an end; a member whose own state is not known is left alone.
"""

from __future__ import annotations

from msgspec.structs import replace

from edgemm.messages import Reported, ReportedModel
from edgemm.messages.generations import plausible
from edgemm.reasons import Reason
from edgemm.states import BEFORE_ACTIVATION, FAILURES, UpdateState
from edgemm_fleet.records.members import BEFORE_ACTIVATING, Member, MemberState
from edgemm_fleet.records.records import DesiredRefusal
from edgemm_fleet.records.rollout_plan import RolloutPlan

_FLEETS_DOING = frozenset({Reason.SUPERSEDED, Reason.STOPPED})
"""Reasons of an end in probation that the fleet itself gave, by wanting something else."""
_MAY_COME_BACK = frozenset({Reason.UNREACHED, Reason.DEADLINE, Reason.SILENT, Reason.ACTIVE_LOST})
"""Reasons of a failure that a later report makes up for."""

_M, _U = MemberState, UpdateState
_ENDED_UNDECIDED = frozenset({_M.TIMED_OUT, _M.WITHDRAWN})
_LISTENING = frozenset({_M.PENDING, _M.REFUSED, _M.REACHED, _M.ACTIVATING}) | _ENDED_UNDECIDED


def judge(member: Member, reported: Reported, *, plan: RolloutPlan, now: float) -> Member:
    """Return the member as the device's newest report shows it; the same value if it says nothing new.

    A device that reports after its deadline is taken at its word: what it runs is what counts for a roll-back.
    """
    said = reported.generation
    if said < member.generation or not plausible(said, last=member.generation, now_s=now):
        return member
    entry = next((model for model in reported.models if model.name == plan.model), None)
    if member.state is _M.REVERTING:
        return _reverting(member, entry, now=now)
    late = member.state is _M.FAILED and member.reason in _MAY_COME_BACK
    if member.state not in _LISTENING and not late:
        return member
    state, update_state = _seen(member, entry, plan)
    if (late or member.state in _ENDED_UNDECIDED) and state in {_M.REACHED, _M.EXCUSED}:
        return member  # an unfinished member has a deadline, and this one's has passed
    if state is member.state and update_state == member.update_state:
        return member
    unsuccessful = entry if state in {_M.FAILED, _M.EXCUSED} else None
    return replace(
        member,
        state=state,
        update_state=update_state,
        reason=unsuccessful.reason if unsuccessful else None,
        detail=unsuccessful.detail if unsuccessful else None,
        changed_at=now,
        deadline_at=_deadline(member, state, plan=plan, now=now),
    )


def held(member: Member, reported: Reported, *, plan: RolloutPlan, now: float) -> Member:
    """Return a committed member as failed where its device says that the version is no longer active there.

    Groups soak for that: what is lost after the commit counts as what fails before it, while the rollout runs.
    """
    if member.state is not _M.COMMITTED or reported.generation < member.generation:
        return member
    entry = next((model for model in reported.models if model.name == plan.model), None)
    if entry is not None and entry.active_digest == plan.digest:
        return member
    failed = entry if entry is not None and entry.digest == plan.digest and entry.state in FAILURES else None
    return replace(
        member,
        state=_M.FAILED,
        update_state=failed.state if failed else member.update_state,
        reason=failed.reason if failed else Reason.ACTIVE_LOST,
        detail=failed.detail if failed else "it was committed, and is not active any more",
        changed_at=now,
        deadline_at=None,
    )


def refused(member: Member, refusal: DesiredRefusal | None, *, now: float) -> Member:
    """Return the member as one whose device refuses what it is told, or (None) does not; the same value if it was so.

    That is no fault of the version: at its deadline, the device counts as one that was never reached.
    """
    if member.state not in {_M.PENDING, _M.REFUSED, _M.REVERTING}:
        return member
    going_on = member.state if member.state is _M.REVERTING else _M.PENDING if refusal is None else _M.REFUSED
    reason, detail = (refusal.cause, refusal.detail or None) if refusal is not None else (None, None)
    changed = replace(member, state=going_on, reason=reason, detail=detail)
    return member if changed == member else replace(changed, changed_at=now)


def overdue(member: Member, *, now: float) -> Member:
    """Return the member as it stands once its deadline has come; the same value before that."""
    if member.deadline_at is None or member.deadline_at > now:
        return member
    state, reason = {
        _M.PREPARED: (_M.TIMED_OUT, Reason.UNREACHED),
        _M.PENDING: (_M.TIMED_OUT, Reason.UNREACHED),
        _M.REACHED: (_M.FAILED, Reason.DEADLINE),
        _M.ACTIVATING: (_M.FAILED, Reason.SILENT),
    }.get(member.state, (member.state, Reason.UNREACHED))
    if member.state is _M.REFUSED:
        return replace(member, state=_M.TIMED_OUT, changed_at=now, deadline_at=None)
    return replace(member, state=state, reason=reason, detail=None, changed_at=now, deadline_at=None)


def excused(member: Member, *, reason: Reason, detail: str | None = None, now: float) -> Member:
    """Return the member as one that counts neither way, such as a device that another rollout took."""
    return replace(member, state=_M.EXCUSED, reason=reason, detail=detail, changed_at=now, deadline_at=None)


def removed(member: Member, *, now: float) -> Member:
    """Return the member as one whose device was removed from the fleet: it is in its group no longer."""
    return replace(excused(member, reason=Reason.REMOVED, now=now), update_state=None)


def gave_up(member: Member) -> bool:
    """Tell whether a device is known not to be at this version any more, nor on its way to it.

    One that went silent while it was activating may still commit: it finishes and reports, or fails when it is back.
    A download that was too slow has failed, and would go on.
    """
    return member.state in {_M.FAILED, _M.EXCUSED} and member.reason != Reason.SILENT


def turned_back(member: Member, before: MemberState) -> bool:
    """Tell whether a device that was activating has yet to begin: its power was lost, for one."""
    return before is _M.ACTIVATING and member.state in BEFORE_ACTIVATING


def _seen(member: Member, entry: ReportedModel | None, plan: RolloutPlan) -> tuple[MemberState, UpdateState]:
    """Tell a member's state, and the device's own, from what it says of the model."""
    if entry is None:
        return _M.REACHED, _U.IDLE
    if (entry.digest, entry.attempt) != (plan.digest, member.attempt):
        untrue = entry.digest == plan.digest and entry.state in {_U.FAILED, _U.ROLLED_BACK}  # it cannot run what failed
        runs_it = entry.active_digest == plan.digest and not untrue
        return (_M.COMMITTED, _U.COMMITTED) if runs_it else (_M.REACHED, _U.IDLE)
    if not entry.state.known:
        return (_M.ACTIVATING if member.state is _M.ACTIVATING else _M.REACHED), entry.state
    return _stage(entry, plan), entry.state


def _stage(entry: ReportedModel, plan: RolloutPlan) -> MemberState:
    """Tell a member's state from what the device says of this very attempt."""
    match entry.state:
        case _U.COMMITTED:
            # Where it is not active, it is a commit of an earlier time: the fleet stopped the model since.
            return _M.COMMITTED if entry.active_digest == plan.digest else _M.REACHED
        case _U.CANCELED:
            return _M.EXCUSED
        case _U.REJECTED:
            return _M.EXCUSED if entry.reason in plan.tolerated_rejections else _M.FAILED
        case _U.FAILED | _U.ROLLED_BACK:
            return _M.EXCUSED if entry.reason in _FLEETS_DOING else _M.FAILED
        case _:
            return _M.REACHED if entry.state in BEFORE_ACTIVATION else _M.ACTIVATING


def _deadline(member: Member, state: MemberState, *, plan: RolloutPlan, now: float) -> float | None:
    if state is _M.REACHED:
        return member.deadline_at
    if state is not _M.ACTIVATING:
        return None
    return member.deadline_at if member.state is _M.ACTIVATING else now + plan.activation_s


def _reverting(member: Member, entry: ReportedModel | None, *, now: float) -> Member:
    wanted = member.previous.digest if member.previous else None
    if (entry.active_digest if entry else None) != wanted:
        if entry is None or entry.digest != wanted or entry.state not in FAILURES:
            return member
        said = {"update_state": entry.state, "reason": entry.reason, "detail": entry.detail}
        return replace(member, state=_M.FAILED, changed_at=now, deadline_at=None, **said)
    return replace(member, state=_M.REVERTED, reason=None, detail=None, changed_at=now, deadline_at=None)
