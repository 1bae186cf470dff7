"""The commands `edgemm fleet rollout`: bring a version to devices, group after group."""

from __future__ import annotations

import time
from itertools import islice

import click
from msgspec.structs import replace

from edgemm.errors import EnvironmentFailure
from edgemm.messages import ModelConfig, Probation
from edgemm.states import RolloutState
from edgemm.terminal import plain_console
from edgemm_fleet.api.messages import Preview, RolloutDetail, RolloutRequest
from edgemm_fleet.client import FleetClient
from edgemm_fleet.commands.output import age, as_json_option, print_json, print_table, size
from edgemm_fleet.commands.parameters import DURATION, MOST_LISTED, choices, connect
from edgemm_fleet.commands.stages import stage_options
from edgemm_fleet.records.progress import Rollout
from edgemm_fleet.records.rollout_plan import Group, Selector
from edgemm_fleet.rollout.explanation import in_short

_POLL_S = 0.5
_PATIENCE_S = 300.0
"""How long a command that waits puts up with a manager that does not answer."""
_MOVING = frozenset({RolloutState.RUNNING, RolloutState.ROLLING_BACK})
_BROKEN_OFF = frozenset({RolloutState.HALTED, RolloutState.CANCELED})
_SHOWN = 8
wait_option = click.option("--wait", is_flag=True, help="Wait until it is over; exit status 1 if it did not finish.")


@click.group()
def rollout() -> None:
    """Bring a version to devices, group after group."""


@rollout.command()
@click.argument("model")
@click.argument("version")
@stage_options
@click.option("--where", multiple=True, callback=choices, metavar="K=V", help="Only devices with this label.")
@click.option("--device", "devices", multiple=True, metavar="ID", help="Only this device (repeatable).")
@click.option("--variant", "variants", multiple=True, metavar="ID", help="In this order of preference; default: auto.")
@click.option("--probation", type=DURATION, default="60s", show_default=True, help="Trial of the model on a device.")
@click.option("--supersede", metavar="ID", help="Cancel this running rollout when this one starts.")
@click.option("--start", "at_once", is_flag=True, help="Start it at once; --wait does too.")
@wait_option
@as_json_option
def create(
    model: str,
    version: str,
    *,
    stages: tuple[Group, ...],
    where: dict[str, tuple[str, ...]],
    devices: tuple[str, ...],
    variants: tuple[str, ...],
    probation: float,
    supersede: str | None,
    at_once: bool,
    wait: bool,
    as_json: bool,
) -> None:
    """Draft a rollout of VERSION of MODEL and tell what it would do: which devices, how many bytes."""
    request = RolloutRequest(
        model=model,
        version=version,
        groups=stages,
        selector=Selector(labels=where, devices=devices or None),
        variants=variants or "auto",
        config=ModelConfig(probation=_probation(probation)),
        supersedes=supersede,
    )
    with connect() as client:
        drafted = client.create_rollout(request)
        if not (at_once or wait):
            _show_draft(drafted, client.preview(drafted.id), as_json=as_json)
            return
        _follow(client, client.start_rollout(drafted.id), RolloutState.FINISHED, wait=wait, as_json=as_json)


@rollout.command()
@click.argument("rollout_id")
@wait_option
@as_json_option
def start(rollout_id: str, *, wait: bool, as_json: bool) -> None:
    """Start a drafted rollout."""
    with connect() as client:
        _follow(client, client.start_rollout(rollout_id), RolloutState.FINISHED, wait=wait, as_json=as_json)


@rollout.command()
@click.argument("rollout_id")
@click.option("--watch", is_flag=True, help="Print each change until it is over; exit status 1 if it did not finish.")
@as_json_option
def status(rollout_id: str, *, watch: bool, as_json: bool) -> None:
    """Show how far a rollout is."""
    with connect() as client:
        if watch:
            _wait(client, rollout_id, frozenset(RolloutState) - _BROKEN_OFF, as_json=as_json)
            return
        detail = client.rollout(rollout_id)
        members = [] if as_json else list(islice(client.members(rollout_id), 1000))
    if as_json:
        print_json(detail)
        return
    click.echo(_line(detail))
    rows = [
        (
            str(m.group + 1),
            m.device,
            m.state.value,
            m.update_state or "",
            in_short(m.reason, m.detail),
            age(m.changed_at),
        )
        for m in members
    ]
    headings = ("group", "device", "state", "update", "reason", "changed")
    print_table(headings, rows, empty="no device was touched")


@rollout.command()
@click.argument("rollout_id")
@click.option("--reason", default="by an operator", show_default=True, help="What the log will say.")
@as_json_option
def halt(rollout_id: str, *, reason: str, as_json: bool) -> None:
    """Halt a rollout: devices that have not begun to activate keep what they have."""
    with connect() as client:
        _print(client, client.halt_rollout(rollout_id, reason=reason), as_json=as_json)


@rollout.command()
@click.argument("rollout_id")
@wait_option
@as_json_option
def rollback(rollout_id: str, *, wait: bool, as_json: bool) -> None:
    """Bring every member of a rollout back to what it had before."""
    with connect() as client:
        _follow(client, client.roll_back_rollout(rollout_id), RolloutState.ROLLED_BACK, wait=wait, as_json=as_json)


@rollout.command()
@click.argument("rollout_id")
@as_json_option
def cancel(rollout_id: str, *, as_json: bool) -> None:
    """End a rollout without going on or back."""
    with connect() as client:
        _print(client, client.cancel_rollout(rollout_id), as_json=as_json)


@rollout.command("list")
@click.option("--limit", type=click.IntRange(1, MOST_LISTED), default=50, show_default=True, help="How many.")
@as_json_option
def list_rollouts(*, limit: int, as_json: bool) -> None:
    """List the rollouts, newest first."""
    with connect() as client:
        found = list(islice(client.rollouts(), limit))
    if as_json:
        print_json(found)
        return
    rows = [
        (
            one.id,
            f"{one.plan.model} {one.plan.version}",
            one.state.value,
            one.trouble or one.reason or "",
            age(one.changed_at),
        )
        for one in found
    ]
    headings = ("rollout", "version", "state", "reason", "changed")
    print_table(headings, rows, empty="none yet: edgemm fleet rollout create MODEL VERSION")


def _probation(duration_s: float) -> Probation:
    default = Probation()
    return replace(default, min_duration_s=duration_s, max_duration_s=max(default.max_duration_s, duration_s))


def _follow(client: FleetClient, started: Rollout, wanted: RolloutState, *, wait: bool, as_json: bool) -> None:
    if wait:
        _wait(client, started.id, frozenset({wanted}), as_json=as_json)
    else:
        _print(client, started, as_json=as_json)


def _print(client: FleetClient, changed: Rollout, *, as_json: bool) -> None:
    detail = client.rollout(changed.id)
    if as_json:
        print_json(detail)
    else:
        click.echo(_line(detail))


def _wait(client: FleetClient, rollout_id: str, good: frozenset[RolloutState], *, as_json: bool) -> None:
    """Print each change until the rollout is over, and exit with 1 if it did not end in a good state."""
    said = ""
    while True:
        detail = _ask(client, rollout_id)
        if not as_json and (line := _line(detail)) != said:
            said = line
            click.echo(line)
        if detail.rollout.state not in _MOVING:
            break
        time.sleep(_POLL_S)
    if as_json:
        print_json(detail)
    if detail.rollout.state not in good:
        found = detail.rollout
        click.echo(f"error: rollout {found.id} is {found.state}: {found.reason or 'no reason given'}", err=True)
        raise click.exceptions.Exit(1)


def _ask(client: FleetClient, rollout_id: str) -> RolloutDetail:
    """Ask for a rollout; a manager that restarts is asked again, for the rollout goes on when it is back."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return client.rollout(rollout_id)
        except EnvironmentFailure:
            if time.monotonic() >= deadline:
                raise
        time.sleep(_POLL_S)


def _line(detail: RolloutDetail) -> str:
    found = detail.rollout
    groups = []
    for index, counts in enumerate(detail.groups):
        if found.groups[index].started_at is not None:
            text = ", ".join(f"{number} {state}" for state, number in sorted(counts.items())) or "no device matches"
            groups.append(f"group {index + 1}: {text}")
    reason = f" ({found.reason})" if found.reason else ""
    trouble = [f"it cannot go on and tries again: {found.trouble}; the server's log says more"] if found.trouble else []
    parts = [f"{found.id} {found.plan.model} {found.plan.version} {found.state}{reason}", *groups, *trouble]
    return "; ".join(parts)


def _show_draft(drafted: Rollout, preview: Preview, *, as_json: bool) -> None:
    if as_json:
        print_json({"rollout": drafted, "preview": preview})
        return
    console = plain_console()
    console.print(
        f"{drafted.id}: draft of {drafted.plan.model} {drafted.plan.version}; {preview.matching} devices match"
    )
    for index, group in enumerate(preview.groups):
        names = ", ".join(group.devices[:_SHOWN]) or "no device"
        more = f" and {len(group.devices) - _SHOWN} more" if len(group.devices) > _SHOWN else ""
        console.print(f"  group {index + 1}: {names}{more}; {size(group.download_bytes)}")
    if preview.without_engine:
        names = ", ".join(preview.without_engine[:_SHOWN])
        console.print(f"  {len(preview.without_engine)} of them have no engine for it: {names}")
    console.print(f"nothing has happened yet; start it: edgemm fleet rollout start {drafted.id} --wait")
