"""The commands `edgemm fleet rollout`: bring a version to devices, group after group."""

from __future__ import annotations

from itertools import islice

import click
from msgspec import UNSET
from msgspec.structs import replace

from edgemm.durations import Duration
from edgemm.messages import ModelConfig, Probation
from edgemm.outlet import say
from edgemm.states import RolloutState
from edgemm_fleet.api.messages import Preview, RolloutRequest
from edgemm_fleet.commands.filter_options import selected, where_option
from edgemm_fleet.commands.following import BROKEN_OFF, follow, line, show_line, wait_for_end, waits
from edgemm_fleet.commands.output import age, as_json_option, listed, print_json, print_table, size
from edgemm_fleet.commands.parameters import DURATION, MOST_LISTED, allow_empty_option, connect
from edgemm_fleet.commands.stages import stage_options
from edgemm_fleet.filters import explained
from edgemm_fleet.records.members import MemberState
from edgemm_fleet.records.progress import Rollout
from edgemm_fleet.records.rollout_plan import Group
from edgemm_fleet.records.waiting import DAY_S
from edgemm_fleet.rollout.explanation import in_short

PAUSE = Duration(min_s=1.0, max_s=30 * DAY_S)
reason_option = click.option("--reason", default="by an operator", show_default=True, help="What the log will say.")
wait_option = click.option("--wait", is_flag=True, help="Wait until it is over; exit status 1 if it did not finish.")


@click.group()
def rollout() -> None:
    """Bring a version to devices, group after group."""


@rollout.command()
@click.argument("model")
@click.argument("version")
@stage_options
@where_option()
@click.option("--device", "devices", multiple=True, metavar="ID", help="Only this device (repeatable).")
@click.option("--variant", "variants", multiple=True, metavar="ID", help="In this order of preference; default: auto.")
@click.option("--probation", type=DURATION, default="60s", show_default=True, help="Trial of the model on a device.")
@click.option("--supersede", metavar="ID", help="Cancel this running rollout when this one starts.")
@allow_empty_option
@click.option("--start", "at_once", is_flag=True, help="Start it at once; --wait does too.")
@wait_option
@as_json_option
def create(
    model: str,
    version: str,
    *,
    stages: tuple[Group, ...],
    where: tuple[str, ...],
    devices: tuple[str, ...],
    variants: tuple[str, ...],
    probation: float,
    supersede: str | None,
    allow_empty: bool,
    at_once: bool,
    wait: bool,
    as_json: bool,
) -> None:
    """Draft a rollout of VERSION of MODEL and tell what it would do: which devices, how many bytes."""
    request = RolloutRequest(
        model=model,
        version=version,
        groups=stages,
        selector=selected(where, devices=devices, model=model),
        variants=variants or "auto",
        config=ModelConfig(probation=_probation(probation)),
        supersedes=supersede,
        allow_empty=allow_empty,
    )
    with connect() as client:
        drafted = client.create_rollout(request)
        if not (at_once or wait):
            _show_draft(drafted, client.preview(drafted.id), as_json=as_json)
            return
        follow(client, client.start_rollout(drafted.id), RolloutState.FINISHED, wait=wait, as_json=as_json)


@rollout.command()
@click.argument("rollout_id")
@wait_option
@as_json_option
def start(rollout_id: str, *, wait: bool, as_json: bool) -> None:
    """Start a drafted rollout."""
    with connect() as client:
        follow(client, client.start_rollout(rollout_id), RolloutState.FINISHED, wait=wait, as_json=as_json)


@rollout.command()
@click.argument("rollout_id")
@click.option("--watch", is_flag=True, help="Print each change until it is over; exit status 1 if it did not finish.")
@click.option("--state", type=click.Choice([state.value for state in MemberState]), help="Only devices in this state.")
@click.option("--limit", type=click.IntRange(0, MOST_LISTED), default=1000, show_default=True, help="How many devices.")
@as_json_option
def status(rollout_id: str, *, watch: bool, state: str | None, limit: int, as_json: bool) -> None:
    """Show how far a rollout is."""
    with connect() as client:
        if watch:
            wait_for_end(client, rollout_id, frozenset(RolloutState) - BROKEN_OFF, as_json=as_json)
            return
        detail = client.rollout(rollout_id)
        members = [] if as_json else list(islice(client.members(rollout_id, state=state), limit))
        now = client.now()
    if as_json:
        print_json(detail)
        return
    say(line(detail))
    rows = [
        (
            str(m.group + 1),
            m.device,
            m.state.value,
            m.update_state or "",
            in_short(m.reason, m.detail),
            age(m.changed_at, now=now),
        )
        for m in members
    ]
    headings = ("group", "device", "state", "update", "reason", "changed")
    total = sum(sum(counts.values()) if state is None else counts.get(state, 0) for counts in detail.groups)
    if rows or not total:
        print_table(headings, rows, empty=f"no device is {state}" if state else "no device was touched")
    if total > len(members):
        say(f"the first {len(members):,} of {total:,} devices; more: --limit N; fewer: --state STATE", err=True)


@rollout.command()
@click.argument("rollout_id")
@reason_option
@click.option("--for", "for_s", type=PAUSE, default="7d", show_default=True, help="After so long it halts by itself.")
@as_json_option
def pause(rollout_id: str, *, reason: str, for_s: float, as_json: bool) -> None:
    """Pause a rollout: no further device is told, deadlines stand still, and thresholds still halt it."""
    with connect() as client:
        show_line(client, client.pause_rollout(rollout_id, reason=reason, for_s=for_s), as_json=as_json)


@rollout.command()
@click.argument("rollout_id")
@wait_option
@as_json_option
def resume(rollout_id: str, *, wait: bool, as_json: bool) -> None:
    """Resume a paused rollout: it has all the time left that it had."""
    with connect() as client:
        follow(client, client.resume_rollout(rollout_id), RolloutState.FINISHED, wait=wait, as_json=as_json)


@rollout.command("next")
@click.argument("rollout_id")
@click.option("--after", type=click.IntRange(1, 64), metavar="N", help="Go on after group N; default: the current one.")
@wait_option
@as_json_option
def start_next(rollout_id: str, *, after: int | None, wait: bool, as_json: bool) -> None:
    """Start the next group now: approve it, or end the soak of the current one; thresholds are not spared."""
    with connect() as client:
        # By its number, so that two operators at once start one group and not two.
        current = client.rollout(rollout_id).rollout.current_group if after is None else after - 1
        changed = client.start_next_group(rollout_id, after=current)
        follow(client, changed, RolloutState.FINISHED, wait=wait, as_json=as_json)


@rollout.command()
@click.argument("rollout_id")
@reason_option
@as_json_option
def halt(rollout_id: str, *, reason: str, as_json: bool) -> None:
    """Halt a rollout: devices that have not begun to activate keep what they have."""
    with connect() as client:
        show_line(client, client.halt_rollout(rollout_id, reason=reason), as_json=as_json)


@rollout.command()
@click.argument("rollout_id")
@wait_option
@as_json_option
def rollback(rollout_id: str, *, wait: bool, as_json: bool) -> None:
    """Bring every member of a rollout back to what it had before."""
    with connect() as client:
        follow(client, client.roll_back_rollout(rollout_id), RolloutState.ROLLED_BACK, wait=wait, as_json=as_json)


@rollout.command()
@click.argument("rollout_id")
@as_json_option
def cancel(rollout_id: str, *, as_json: bool) -> None:
    """End a rollout without going on or back."""
    with connect() as client:
        show_line(client, client.cancel_rollout(rollout_id), as_json=as_json)


@rollout.command("list")
@click.option("--limit", type=click.IntRange(1, MOST_LISTED), default=50, show_default=True, help="How many.")
@as_json_option
def list_rollouts(*, limit: int, as_json: bool) -> None:
    """List the rollouts, newest first."""
    with connect() as client:
        found = list(islice(client.rollouts(), limit))
        now = client.now()
    if as_json:
        print_json(found)
        return
    rows = [
        (
            one.id,
            f"{one.plan.model} {one.plan.version}",
            one.state.value,
            one.trouble or one.reason or (one.waiting.reason if one.waiting else ""),
            waits(one.waiting) if one.waiting else "",
            age(one.changed_at, now=now),
        )
        for one in found
    ]
    headings = ("rollout", "version", "state", "reason", "waits for", "changed")
    print_table(headings, rows, empty="none yet: edgemm fleet rollout create MODEL VERSION")


def _probation(duration_s: float) -> Probation:
    default = Probation()
    return replace(default, min_duration_s=duration_s, max_duration_s=max(default.max_duration_s, duration_s))


def _show_draft(drafted: Rollout, preview: Preview, *, as_json: bool) -> None:
    if as_json:
        print_json({"rollout": drafted, "preview": preview})
        return
    say(f"{drafted.id}: draft of {drafted.plan.model} {drafted.plan.version}; {preview.matching:,} devices match")
    if drafted.plan.selector.where is not UNSET:
        say(f"  filter: {explained(drafted.plan.selector.expression(model=drafted.plan.model))}")
    for index, group in enumerate(preview.groups):
        names = listed(group.devices, number=group.size) or "no device"
        say(f"  group {index + 1}: {names}; {size(group.download_bytes)}")
    if 0 < preview.looked_at < preview.matching:
        say(f"  {preview.looked_at:,} devices were looked at; the bytes of the others are estimated by theirs")
    if preview.without_engine:
        say(f"  {len(preview.without_engine)} of them have no engine for it: {listed(preview.without_engine)}")
    say(f"nothing has happened yet; start it: edgemm fleet rollout start {drafted.id} --wait")
