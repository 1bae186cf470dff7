"""Members, judged by the words that their devices said last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from edgemm.messages import Reported
from edgemm_fleet.records.members import Member
from edgemm_fleet.records.progress import Rollout
from edgemm_fleet.records.records import DesiredRefusal, ReportedRecord
from edgemm_fleet.rollout import judgement, machine
from edgemm_fleet.store import Transaction, desired, reported


@dataclass(frozen=True)
class Said:
    """What is known of a device: its newest report, and why it refuses what it is told."""

    report: Reported | None
    refusal: DesiredRefusal | None


def said_by(
    tx: Transaction, ids: Sequence[str], *, newest: Mapping[str, ReportedRecord] = MappingProxyType({})
) -> dict[str, Said]:
    """Return what is known of each of these devices; `newest` has reports that the caller knows."""
    others = [device for device in ids if device not in newest]
    reports, refusals = {**newest, **reported.of(tx, others)}, desired.refusals(tx, ids)
    return {
        device: Said(reports[device].reported if device in reports else None, refusals.get(device)) for device in ids
    }


def judged(member: Member, said: Said, rollout: Rollout, *, now: float) -> Member:
    """Return a member as what its device said shows it; the same value if that is nothing new."""
    member = judgement.refused(member, said.refusal, now=now)
    if said.report is None:
        return member
    member = judgement.judge(member, said.report, plan=rollout.plan, now=now)
    if rollout.state not in machine.JUDGING_STATES:
        return member
    return judgement.held(member, said.report, plan=rollout.plan, now=now)
