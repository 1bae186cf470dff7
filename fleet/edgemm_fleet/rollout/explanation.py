"""The explanation of a group's failures: each reason with its count, one device and what that said. Pure.

    selftest_failed (2): cam-1: output probs: expected …; no_space (1): cam-4: needs 3.1 MB …

It goes into the reason of a halt, so that nobody has to look a device up to learn what was wrong with a version.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from edgemm.reasons import Reason
from edgemm_fleet.records.members import Member, MemberState

_MAX_REASONS = 3
_MAX_DETAIL = 240


def explain(members: Sequence[Member]) -> str:
    """Return what to add to a halt's reason; nothing where no member failed, was excused or refused."""
    failed = _reasons(m for m in members if m.state is MemberState.FAILED)
    excused = _reasons(m for m in members if m.state is MemberState.EXCUSED)
    refusing = _reasons(m for m in members if m.state is MemberState.REFUSED or _refused_until_the_end(m))
    told = [f": {failed}" if failed else "", f"; excused: {excused}" if excused else ""]
    return "".join([*told, f"; refused what they were told: {refusing}" if refusing else ""])


def _refused_until_the_end(member: Member) -> bool:
    return member.state is MemberState.TIMED_OUT and member.reason not in {None, Reason.UNREACHED}


def in_short(reason: str | None, detail: str | None) -> str:
    """Return a reason with the beginning of its detail, on one line and without control characters."""
    text = _plain(detail)
    if len(text) > _MAX_DETAIL:
        text = text[: _MAX_DETAIL - 1] + "…"
    return ": ".join(filter(None, (_plain(reason), text)))


def _plain(said: str | None) -> str:
    """Return what a device said without what would steer a terminal or begin another line."""
    return " ".join("".join(c if c.isprintable() else " " for c in said or "").split())


def _reasons(members: Iterable[Member]) -> str:
    by_reason: dict[str, list[Member]] = {}
    for member in members:
        by_reason.setdefault(member.reason or member.update_state or member.state, []).append(member)
    most_first = sorted(by_reason.items(), key=lambda item: (-len(item[1]), item[0]))
    told = [_told(reason, found) for reason, found in most_first[:_MAX_REASONS]]
    left = len(most_first) - len(told)
    return "; ".join([*told, f"{left} more reasons"] if left else told)


def _told(reason: str, members: Sequence[Member]) -> str:
    example = min(members, key=lambda member: (not member.detail, member.device))
    return f"{_plain(reason)} ({len(members)}): {in_short(example.device, example.detail)}"
