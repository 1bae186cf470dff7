"""The commands `edgemm fleet devices`: list, show, label and remove devices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click
from msgspec import UNSET

from edgemm.errors import InputError
from edgemm.messages import ReportedClock, ReportedModel
from edgemm.outlet import say
from edgemm.reasons import Reason
from edgemm.times import span
from edgemm_fleet.api.messages import DeviceDetail, DeviceSummary, FailedUpdate, LabelsRequest
from edgemm_fleet.commands.acting import act, action_table, list_actions
from edgemm_fleet.commands.device_history import history
from edgemm_fleet.commands.filter_options import selected, where_option
from edgemm_fleet.commands.output import age, as_json_option, moment, pairs, print_json, print_table, report, size
from edgemm_fleet.commands.parameters import connect, labels
from edgemm_fleet.filters import written
from edgemm_fleet.records.records import DesiredRefusal, EventRecord
from edgemm_fleet.rollout.explanation import in_short

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
@where_option()
@click.option("--count", is_flag=True, help="Tell how many they are, and no more.")
@as_json_option
def list_devices(*, where: tuple[str, ...] = (), count: bool = False, as_json: bool) -> None:
    """List the devices and what they run."""
    meant = written(selected(where).expression()) or None
    with connect() as client:
        if count:
            number = client.count_devices(where=meant)
            report(f"{number:,} device{'' if number == 1 else 's'}", as_json=as_json, devices=number)
            return
        found = list(client.devices(where=meant))
        now = client.now()
    if as_json:
        print_json(found)
        return
    rows = [_row(item, now=now) for item in found]
    headings = ("device", "connection", "heard of", "models", "labels")
    none = "no device yet: edgemm fleet token create prints the line to run on one"
    print_table(headings, rows, empty=none if meant is None else f"no device matches {meant}")


@devices.command("show")
@click.argument("device")
@as_json_option
def show(device: str, *, as_json: bool) -> None:
    """Show one device: what is wanted of it, what it reported, its latest actions and its newest events."""
    with connect() as client:
        detail = client.device(device)
        now = client.now()
    if as_json:
        print_json(detail)
        return
    say(*(f"{name:<12} {value}" for name, value in _facts(detail, now=now)))
    if detail.actions:
        print_table(*action_table(detail.actions, now=now), empty="")
    rows = [_event(one, now=now) for one in detail.events]
    print_table(("stored", "cause", "model", "from", "to", "detail"), rows, empty="no event yet")


@devices.command("label")
@click.argument("device")
@click.argument("given", nargs=-1, callback=labels, metavar="[K=V]...")
@click.option("--drop", multiple=True, metavar="K", help="Take this label off.")
@as_json_option
def label(device: str, *, given: dict[str, str], drop: tuple[str, ...], as_json: bool) -> None:
    """Set labels K=V on a device; the others stay."""
    if not (given or drop):
        raise InputError(f"{device}: expected K=V, or --drop K: nothing was changed")
    with connect() as client:
        missing = set(drop) - client.device(device).device.labels.keys() if drop else set()
        changed = client.label_device(device, LabelsRequest(put=given, drop=drop))
    if as_json:
        print_json(changed)
    else:
        say(f"{changed.id}: {pairs(changed.labels) or 'no label'}")
    if missing:
        say(f"it had no label {', '.join(sorted(missing))}", err=True)


@devices.command("remove")
@click.argument("device")
@as_json_option
def remove(device: str, *, as_json: bool) -> None:
    """End all rights of a device: its key, its HTTP bearer and its login at the broker."""
    with connect() as client:
        client.remove_device(device)
    report(f"{device} is removed; only a new token lets it in again", as_json=as_json, removed=device)


def _row(item: DeviceSummary, *, now: float) -> tuple[str, ...]:
    presence = item.device.presence
    models = _models(item.models, item.failed, item.withdrawn) or "–"
    connection = "; ".join(("online" if presence.online else "offline", *_marks(item, now=now)))
    return (item.device.id, connection, age(presence.last_seen_at, now=now), models, pairs(item.device.labels))


def _marks(item: DeviceSummary, *, now: float) -> Iterator[str]:
    """Yield what an operator is to look at in `devices show`; `now` is the time at the server."""
    shed, noticed_at = item.shed, item.device.presence.duplicate_at
    if noticed_at is not None and now - noticed_at < _RECENTLY_S:
        yield "TWO WITH ITS IDENTITY"
    if shed is not None and shed.cut_until is not None and shed.cut_until > now:
        yield "CUT OFF: floods"
    elif shed is not None and now - shed.last_at < _RECENTLY_S:
        yield "floods" if shed.messages else f"{shed.refused} messages refused"
    if item.refusal is not None:
        yield f"{'not heard' if _unheard(item.refusal) else 'refuses'}: {item.refusal.cause}"
    if item.clock is not None:
        yield f"clock {_off(item.clock)}"
    if item.unreadable:
        yield f"database unreadable: {', '.join(item.unreadable)}"


def _unheard(refusal: DesiredRefusal) -> bool:
    """Tell whether it is the manager that does not go by what the device says."""
    return refusal.cause == Reason.REPORTS_OLDER


def _off(clock: ReportedClock) -> str:
    """Return how far a device's clock is off, as it said."""
    if clock.ahead_s is None or abs(clock.ahead_s) < _RIGHT_S:
        return "in doubt"
    return f"{span(abs(clock.ahead_s))} {'ahead' if clock.ahead_s > 0 else 'behind'}"


def _clock(clock: ReportedClock, *, told_at: float | None, now: float) -> str:
    """Return what is wrong with a device's clock, by how much and since when, and what its last question came to."""
    since = "" if told_at is None else f", since {age(told_at - clock.for_s, now=now)}"
    return f"{clock.reason}: {_off(clock)}{since}{f'; {clock.detail}' if clock.detail else ''}"


def _event(record: EventRecord, *, now: float) -> tuple[str, ...]:
    event = record.event
    model = f"{event.model} {event.version or ''}" if event.model else ""
    return (
        age(record.received_at, now=now),
        event.cause,
        model,
        event.from_state or "",
        event.to_state or "",
        event.detail,
    )


def _models(models: Sequence[ReportedModel], failed: Sequence[FailedUpdate], withdrawn: Sequence[str]) -> str:
    """Return what serves, and beside it what failed since, which the fleet took back and no device reports any more."""
    told = [_model(model, withdrawn=model.name in withdrawn) for model in models]
    shown = {(model.name, model.version) for model in models if model.active_digest != model.digest}
    ended = [one for one in failed if (one.model, one.version) not in shown]
    return ", ".join([*told, *(f"{one.model} {one.version} {one.said}" for one in ended)])


def _model(model: ReportedModel, *, withdrawn: bool) -> str:
    active = f"{model.name} {model.active_version or '–'}{' WITHDRAWN' if withdrawn else ''}"
    variant = f" {model.variant}" if model.variant else ""
    shadow = "" if model.shadow is UNSET else f", shadow {model.shadow.version} {model.shadow.phase}"
    if model.active_digest == model.digest:
        return f"{active}{variant} ({model.state}{shadow})"
    reason = f": {model.reason}" if model.reason else ""
    return f"{active}{variant} ({model.version} {model.state}{reason}{shadow})"


def _facts(detail: DeviceDetail, *, now: float) -> list[tuple[str, str]]:
    device, presence = detail.device, detail.device.presence
    facts = [
        ("device", device.id),
        ("name", device.name),
        ("labels", pairs(device.labels) or "–"),
        ("platform", f"{device.platform}, edgemm {device.runtime}"),
        ("enrolled", moment(device.enrolled_at)),
        ("connection", f"{'online' if presence.online else 'offline'}, heard of {age(presence.last_seen_at, now=now)}"),
    ]
    if presence.duplicate_at is not None:
        facts.append(("WARNING", f"two live devices had this identity {age(presence.duplicate_at, now=now)}"))
    facts += [("WARNING", text) for text in _warnings(detail, now=now)]
    if detail.desired is not None:
        wanted = ", ".join(f"{model.name} {model.version}" for model in detail.desired.models) or "nothing"
        facts.append(("wanted", f"{wanted} (generation {detail.desired.generation})"))
    if detail.meant_by:
        facts.append(("meant by", ", ".join(detail.meant_by)))
    if (refusal := detail.refusal) is not None:
        name, before = ("NOT HEARD", "") if _unheard(refusal) else ("REFUSES", "what is wanted: ")
        facts.append((name, f"{before}{in_short(refusal.cause, refusal.detail)} ({age(refusal.at, now=now)})"))
    if detail.reported is not None:
        told = (_model(model, withdrawn=model.name in detail.withdrawn) for model in detail.reported.models)
        models = ", ".join(told) or "nothing"
        facts.append(
            ("reported", f"{models} (generation {detail.reported.generation}, {age(detail.reported_at, now=now)})")
        )
        if detail.reported.clock is not UNSET:
            facts.append(("clock", _clock(detail.reported.clock, told_at=detail.reported_at, now=now)))
    facts += [("failed", f"{one.model} {one.version} {one.said}, {age(one.at, now=now)}") for one in detail.failed]
    return facts


def _warnings(detail: DeviceDetail, *, now: float) -> Iterator[str]:
    if (shed := detail.shed) is not None and shed.messages:
        when = f"since {moment(shed.first_at)}, last {age(shed.last_at, now=now)}"
        until = "" if shed.cut_until is None else f"; shut out at the broker until {moment(shed.cut_until)}"
        yield f"{shed.messages} messages ({size(shed.bytes)}) beyond its share were thrown away {when}{until}"
    if shed is not None and shed.refused:
        yield f"{shed.refused} of its messages were refused since the manager started"
    for model in detail.withdrawn:
        yield f"it runs a version of {model} that was withdrawn: roll out another one"
    for part, cause in detail.unreadable.items():
        yield f"{part} of it in the database cannot be read and is passed over: {cause}"


devices.add_command(act)
devices.add_command(list_actions)
devices.add_command(history)
