"""The commands `edgemm fleet devices`: list, show, label and remove devices."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator

import click
from msgspec import UNSET

from edgemm.errors import UnreachableError
from edgemm.messages import ActionKind, ReportedClock, ReportedModel
from edgemm.terminal import plain_console
from edgemm.times import span
from edgemm_fleet.api.messages import ActionRequest, DeviceDetail, DeviceSummary, LabelsRequest
from edgemm_fleet.client import FleetClient
from edgemm_fleet.commands.output import age, as_json_option, moment, pairs, print_json, print_table, report, size
from edgemm_fleet.commands.parameters import DURATION, connect, labels
from edgemm_fleet.records.records import ActionRecord, EventRecord
from edgemm_fleet.rollout.explanation import in_short

_POLL_S = 0.5
_RECENTLY_S = 86_400.0
"""For so long a list shows what befell a device."""
_RIGHT_S = 300
"""A clock that is off by less is not what is wrong."""


@click.group(invoke_without_command=True)
@as_json_option
@click.pass_context
def devices(ctx: click.Context, *, as_json: bool) -> None:
    """Devices: list, show, label, ask to act, remove."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_devices, as_json=as_json)


@devices.command("list")
@as_json_option
def list_devices(*, as_json: bool) -> None:
    """List all devices and what they run."""
    with connect() as client:
        found = list(client.devices())
    if as_json:
        print_json(found)
        return
    rows = [_row(item) for item in found]
    headings = ("device", "connection", "heard of", "models", "labels")
    print_table(headings, rows, empty="no device yet: edgemm fleet token create prints the line to run on one")


@devices.command("show")
@click.argument("device")
@as_json_option
def show(device: str, *, as_json: bool) -> None:
    """Show one device: what is wanted of it, what it reported, and its newest events."""
    with connect() as client:
        detail = client.device(device)
    if as_json:
        print_json(detail)
        return
    console = plain_console()
    for name, value in _facts(detail):
        console.print(f"{name:<12} {value}")
    rows = [_event(one) for one in detail.events]
    print_table(("stored", "cause", "model", "from", "to", "detail"), rows, empty="no event yet")


@devices.command("label")
@click.argument("device")
@click.argument("given", nargs=-1, callback=labels, metavar="[K=V]...")
@click.option("--drop", multiple=True, metavar="K", help="Take this label off.")
@as_json_option
def label(device: str, *, given: dict[str, str], drop: tuple[str, ...], as_json: bool) -> None:
    """Set labels K=V on a device; the others stay."""
    with connect() as client:
        changed = client.label_device(device, LabelsRequest(put=given, drop=drop))
    if as_json:
        print_json(changed)
    else:
        click.echo(f"{changed.id}: {pairs(changed.labels) or 'no label'}")


@devices.command("act")
@click.argument("device")
@click.argument("kind", type=click.Choice([kind.value for kind in ActionKind]))
@click.option("--model", help="Of `selftest`: this model alone.")
@click.option("--wait", is_flag=True, help="Wait for the result; exit status 1 if it failed.")
@click.option("--timeout", type=DURATION, default="5min", show_default=True, help="How long --wait waits.")
@as_json_option
def act(device: str, kind: str, *, model: str | None, wait: bool, timeout: float, as_json: bool) -> None:
    """Ask a device to do something once.

    `diagnose` tells how it is, `selftest` runs the golden samples of what is active, `prune` frees disk space,
    `restart` starts the agent anew, and `sync-time` has it ask the fleet for the time, also where its clock leapt so
    that it takes nothing else. A device that is offline does it when it is back.
    """
    with connect() as client:
        # With an id of its own the request may be repeated over a connection that broke, and is still one action.
        request = ActionRequest(kind=ActionKind(kind), model=model, id=secrets.token_hex(8))
        record = client.act(device, request)
        if wait:
            record = _result(client, record, timeout_s=timeout)
    if as_json:
        print_json(record)
    else:
        click.echo(f"{device}: {_outcome(record)}")
    if record.ok is False:
        raise click.exceptions.Exit(1)


@devices.command("actions")
@click.argument("device")
@as_json_option
def list_actions(device: str, *, as_json: bool) -> None:
    """List what a device was asked to do, and what came of it, newest first."""
    with connect() as client:
        found = list(client.actions(device))
    if as_json:
        print_json(found)
        return
    rows = [(age(one.created_at), one.action.id, _outcome(one)) for one in found]
    print_table(("asked", "id", "result"), rows, empty=f"none: edgemm fleet devices act {device} diagnose")


@devices.command("remove")
@click.argument("device")
@as_json_option
def remove(device: str, *, as_json: bool) -> None:
    """End all rights of a device: its key, its HTTP bearer and its login at the broker."""
    with connect() as client:
        client.remove_device(device)
    report(f"{device} is removed; only a new token lets it in again", as_json=as_json, removed=device)


def _result(client: FleetClient, record: ActionRecord, *, timeout_s: float) -> ActionRecord:
    deadline_s = time.monotonic() + timeout_s
    while record.done_at is None:
        if time.monotonic() >= deadline_s:
            raise UnreachableError(
                f"device {record.device}: no result of {record.action.kind} within {span(timeout_s)}; it is done when "
                f"the device is there, and then told by: edgemm fleet devices actions {record.device}"
            )
        time.sleep(_POLL_S)
        record = client.action(record.device, record.action.id)
    return record


def _outcome(record: ActionRecord) -> str:
    asked = " ".join(filter(None, (record.action.kind, record.action.model)))
    if record.ok is None:
        return f"{asked}: not done yet"
    return f"{asked}: {'done' if record.ok else 'failed'}: {record.detail or '–'}"


def _row(item: DeviceSummary) -> tuple[str, ...]:
    presence = item.device.presence
    models = ", ".join(map(_model, item.models)) or "–"
    connection = "; ".join(("online" if presence.online else "offline", *_marks(item)))
    return (item.device.id, connection, age(presence.last_seen_at), models, pairs(item.device.labels))


def _marks(item: DeviceSummary) -> Iterator[str]:
    """Yield what an operator is to look at in `devices show`."""
    shed, noticed_at, now = item.shed, item.device.presence.duplicate_at, time.time()
    if noticed_at is not None and now - noticed_at < _RECENTLY_S:
        yield "TWO WITH ITS IDENTITY"
    if shed is not None and shed.cut_until is not None and shed.cut_until > now:
        yield "CUT OFF: floods"
    elif shed is not None and now - shed.last_at < _RECENTLY_S:
        yield "floods" if shed.messages else f"{shed.refused} messages refused"
    if item.refusal is not None:
        yield f"refuses: {item.refusal.cause}"
    if item.clock is not None:
        yield f"clock {_off(item.clock)}"
    if item.unreadable:
        yield f"database unreadable: {', '.join(item.unreadable)}"


def _off(clock: ReportedClock) -> str:
    """Return how far a device's clock is off, as it said."""
    if clock.ahead_s is None or abs(clock.ahead_s) < _RIGHT_S:
        return "in doubt"
    return f"{span(abs(clock.ahead_s))} {'ahead' if clock.ahead_s > 0 else 'behind'}"


def _clock(clock: ReportedClock, *, told_at: float | None) -> str:
    """Return what is wrong with a device's clock, by how much and since when, and what its last question came to."""
    since = "" if told_at is None else f", since {age(told_at - clock.for_s)}"
    return f"{clock.reason}: {_off(clock)}{since}{f'; {clock.detail}' if clock.detail else ''}"


def _event(record: EventRecord) -> tuple[str, ...]:
    event = record.event
    model = f"{event.model} {event.version or ''}" if event.model else ""
    return (age(record.received_at), event.cause, model, event.from_state or "", event.to_state or "", event.detail)


def _model(model: ReportedModel) -> str:
    active = f"{model.name} {model.active_version or '–'}"
    variant = f" {model.variant}" if model.variant else ""
    shadow = "" if model.shadow is UNSET else f", shadow {model.shadow.version} {model.shadow.phase}"
    if model.active_digest == model.digest:
        return f"{active}{variant} ({model.state}{shadow})"
    reason = f": {model.reason}" if model.reason else ""
    return f"{active}{variant} ({model.version} {model.state}{reason}{shadow})"


def _facts(detail: DeviceDetail) -> list[tuple[str, str]]:
    device, presence = detail.device, detail.device.presence
    facts = [
        ("device", device.id),
        ("name", device.name),
        ("labels", pairs(device.labels) or "–"),
        ("platform", f"{device.platform}, edgemm {device.runtime}"),
        ("enrolled", moment(device.enrolled_at)),
        ("connection", f"{'online' if presence.online else 'offline'}, heard of {age(presence.last_seen_at)}"),
    ]
    if presence.duplicate_at is not None:
        facts.append(("WARNING", f"two live devices had this identity {age(presence.duplicate_at)}"))
    if (shed := detail.shed) is not None and shed.messages:
        when = f"since {moment(shed.first_at)}, last {age(shed.last_at)}"
        lost = f"{shed.messages} messages ({size(shed.bytes)}) beyond its share were thrown away {when}"
        until = "" if shed.cut_until is None else f"; shut out at the broker until {moment(shed.cut_until)}"
        facts.append(("WARNING", f"{lost}{until}"))
    if shed is not None and shed.refused:
        facts.append(("WARNING", f"{shed.refused} of its messages were refused since the manager started"))
    facts += [
        ("WARNING", f"{part} of it in the database cannot be read and is passed over: {cause}")
        for part, cause in detail.unreadable.items()
    ]
    if detail.desired is not None:
        wanted = ", ".join(f"{model.name} {model.version}" for model in detail.desired.models) or "nothing"
        facts.append(("wanted", f"{wanted} (generation {detail.desired.generation})"))
    if (refusal := detail.refusal) is not None:
        facts.append(("REFUSES", f"what is wanted: {in_short(refusal.cause, refusal.detail)} ({age(refusal.at)})"))
    if detail.reported is not None:
        models = ", ".join(map(_model, detail.reported.models)) or "nothing"
        facts.append(("reported", f"{models} (generation {detail.reported.generation}, {age(detail.reported_at)})"))
        if detail.reported.clock is not UNSET:
            facts.append(("clock", _clock(detail.reported.clock, told_at=detail.reported_at)))
    return facts
