"""The assigner of a rollout's version: gives it to devices, and takes it back.

Assignments, attempts and `desired` change together, for some members at a time, in the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from edgemm.messages import MAX_MODELS, DesiredModel
from edgemm.reasons import Reason
from edgemm_fleet.director.director import Director
from edgemm_fleet.records.members import Member, MemberState
from edgemm_fleet.records.progress import Rollout
from edgemm_fleet.rollout import judgement
from edgemm_fleet.rollout.reversal import active_model
from edgemm_fleet.store import Transaction, assignments, reported


class Assigner:
    """Changes what devices are told because of a rollout."""

    def __init__(self, director: Director) -> None:
        self._director = director

    def give(self, tx: Transaction, members: Sequence[Member], rollout: Rollout, *, now: float) -> list[Member]:
        """Want a rollout's version on the devices of prepared members; return them as they stand then.

        A device that cannot be told is excused: what the database has of it cannot be read, or it has no room.
        """
        plan = rollout.plan
        ids = [member.device for member in members]
        before, reports = assignments.of(tx, ids), reported.of(tx, ids)
        full = {device for device, models in before.items() if len(models.keys() | {plan.model}) > MAX_MODELS}
        ids = [device for device in ids if device not in full]
        given = assignments.next_attempts(tx, dict.fromkeys(ids, plan.digest), model=plan.model)
        wanted = DesiredModel(
            name=plan.model,
            version=plan.version,
            digest=plan.digest,
            variants=plan.variants,
            config=plan.config,
            rollout=rollout.id,
        )
        assignments.assign(tx, {device: replace(wanted, attempt=given[device]) for device in ids})
        generations = self._director.write(tx, ids, now=now)
        entered = []
        for member in members:
            device = member.device
            report = reports[device].reported if device in reports else None
            active = active_model(plan.model, report, before.get(device, {}).get(plan.model))
            has_it = member.generation and active is not None and active.digest == plan.digest
            told = replace(
                member,
                state=MemberState.PENDING,
                attempt=given.get(device, 0),
                generation=generations.get(device, 0),
                previous=member.previous if has_it else active,  # told again, it has the version from this rollout
                started_at=now,
                changed_at=now,
                deadline_at=rollout.groups[member.group].deadline_at,
            )
            if device in full:
                detail = f"the limit is {MAX_MODELS} models: roll back the first rollout of one that it can do without"
                told = judgement.excused(told, reason=Reason.DESIRED_TOO_LARGE, detail=detail, now=now)
            elif device not in generations:
                told = judgement.excused(told, reason=Reason.UNREADABLE, now=now)
            entered.append(told)
        return entered

    def take_back(self, tx: Transaction, members: Sequence[Member], rollout: Rollout, *, now: float) -> None:
        """Want of each member what is active on it, where it still has this rollout's assignment."""
        mine = self._assigned(tx, members, rollout)
        reports = reported.of(tx, list(mine))
        wanted: dict[str, DesiredModel | None] = {}
        for device, member in mine.items():
            report = reports[device].reported if device in reports else None
            active = active_model(rollout.plan.model, report, member.previous)
            if active is None or active.digest != rollout.plan.digest:  # else it ran this version before
                wanted[device] = active
        spent = {device: mine[device].attempt for device in wanted}
        self.spend(tx, spent, rollout)
        self.want(tx, wanted, rollout.plan.model, now=now)

    def revert(self, tx: Transaction, members: Sequence[Member], rollout: Rollout, *, now: float) -> list[Member]:
        """Want of each member what it ran before, where this rollout's version is wanted or runs; return those.

        It runs without being wanted where a later rollout failed on a device.
        """
        mine = self.having(tx, members, rollout)
        self.spend(tx, {device: member.attempt for device, member in mine.items()}, rollout)
        previous = {device: member.previous for device, member in mine.items()}
        generations = self.want(tx, previous, rollout.plan.model, now=now)
        return [
            replace(
                member,
                state=MemberState.REVERTING,
                reason=None,
                detail=None,
                generation=generations[device],
                changed_at=now,
                deadline_at=rollout.deadline_at,
            )
            for device, member in mine.items()
            if device in generations
        ]

    def having(self, tx: Transaction, members: Sequence[Member], rollout: Rollout) -> dict[str, Member]:
        """Return those of some members, by device, of which this rollout's version is wanted, or on which it runs.

        One that was never told has the version, if it has it, from elsewhere.
        """
        told = [member for member in members if member.generation]
        return self._assigned(tx, members, rollout) | self._running(tx, told, rollout)

    def spend(self, tx: Transaction, attempts: Mapping[str, int], rollout: Rollout) -> None:
        """Note that attempts (device → number) at this rollout's version ended without success."""
        assignments.spend(tx, attempts, model=rollout.plan.model, digest=rollout.plan.digest)

    def _assigned(self, tx: Transaction, members: Sequence[Member], rollout: Rollout) -> dict[str, Member]:
        wanted = assignments.of(tx, [member.device for member in members])
        of_model = {device: models.get(rollout.plan.model) for device, models in wanted.items()}
        mine = {device for device, model in of_model.items() if model is not None and model.rollout == rollout.id}
        return {member.device: member for member in members if member.device in mine}

    def _running(self, tx: Transaction, members: Sequence[Member], rollout: Rollout) -> dict[str, Member]:
        reports = reported.of(tx, [member.device for member in members])
        active = {device: active_model(rollout.plan.model, r.reported, None) for device, r in reports.items()}
        mine = {device for device, model in active.items() if model is not None and model.digest == rollout.plan.digest}
        return {member.device: member for member in members if member.device in mine}

    def want(
        self, tx: Transaction, wanted: Mapping[str, DesiredModel | None], model: str, *, now: float
    ) -> dict[str, int]:
        """Want this of one model on each device, None: nothing; return device → generation as `Director.write`."""
        kept = {device: one for device, one in wanted.items() if one is not None}
        given = assignments.next_attempts(tx, {device: one.digest for device, one in kept.items()}, model=model)
        assignments.assign(tx, {device: replace(one, attempt=given[device]) for device, one in kept.items()})
        assignments.unassign(tx, wanted.keys() - kept.keys(), model)
        return self._director.write(tx, sorted(wanted), now=now)
