"""The commands `edgemm fleet shadow`: run a version beside the active one, on a share of its requests."""

from __future__ import annotations

import click

from edgemm.finite_range import FiniteRange
from edgemm.outlet import say
from edgemm_fleet.api.messages import ClearShadowRequest, DeviceShadow, ShadowBeside, ShadowChange, ShadowRequest
from edgemm_fleet.commands.filter_options import selected, where_option
from edgemm_fleet.commands.output import age, as_json_option, listed, print_json, print_table
from edgemm_fleet.commands.parameters import allow_empty_option, connect

device_option = click.option("--device", "devices", multiple=True, metavar="ID", help="Only this device (repeatable).")


@click.group()
def shadow() -> None:
    """Run a version beside the active one: it sees a share of the requests and answers none."""


@shadow.command("set")
@click.argument("model")
@click.argument("version")
@click.option(
    "--share", type=FiniteRange(0, 1, min_open=True), default=0.05, show_default=True, help="Of the requests."
)
@click.option("--variant", "variants", multiple=True, metavar="ID", help="In this order of preference; default: auto.")
@where_option()
@device_option
@allow_empty_option
@as_json_option
def set_shadow(
    model: str,
    version: str,
    *,
    share: float,
    variants: tuple[str, ...],
    where: tuple[str, ...],
    devices: tuple[str, ...],
    allow_empty: bool,
    as_json: bool,
) -> None:
    """Have VERSION run beside MODEL, on the devices that match now."""
    request = ShadowRequest(
        version=version,
        share=share,
        variants=variants or "auto",
        selector=selected(where, devices=devices, model=model),
        allow_empty=allow_empty,
    )
    with connect() as client:
        _print(client.set_shadow(model, request), as_json=as_json)


@shadow.command("clear")
@click.argument("model")
@where_option()
@device_option
@allow_empty_option
@as_json_option
def clear(model: str, *, where: tuple[str, ...], devices: tuple[str, ...], allow_empty: bool, as_json: bool) -> None:
    """Have no shadow run beside MODEL any more."""
    with connect() as client:
        _print(
            client.clear_shadow(
                model,
                ClearShadowRequest(selector=selected(where, devices=devices, model=model), allow_empty=allow_empty),
            ),
            as_json=as_json,
        )


@shadow.command("show")
@click.argument("model")
@as_json_option
def show(model: str, *, as_json: bool) -> None:
    """Show the shadows beside MODEL, and how they agree with what is active."""
    with connect() as client:
        found = list(client.shadows(model))
        now = client.now()
    if as_json:
        print_json(found)
        return
    headings = ("device", "shadow", "phase", "compared", "errors", "agreement", "counted")
    print_table(headings, [_row(one, now=now) for one in found], empty=f"none: edgemm fleet shadow set {model} VERSION")


def _print(change: ShadowChange, *, as_json: bool) -> None:
    if as_json:
        print_json(change)
    else:
        number = max(change.number, len(change.devices))
        say(f"{change.model}: {number:,} devices are told: {listed(change.devices, number=number) or '–'}")


def _row(one: DeviceShadow, *, now: float) -> tuple[str, ...]:
    told = one.reported
    phase = "not told yet" if told is None else told.phase.value
    if told is not None and told.reason:
        phase += f": {told.reason} {told.detail or ''}"
    counters = [pair.counters for pair in one.beside]
    return (
        one.device,
        one.wanted.version,
        phase,
        str(sum(c.compared for c in counters)),
        str(sum(c.errors for c in counters)),
        "; ".join(filter(None, map(_agreement, one.beside))) or "–",
        age(one.received_at, now=now),
    )


def _agreement(pair: ShadowBeside) -> str:
    """Return by output the share of rows of one class, or of values within a thousandth of the range."""
    shown = []
    for output in pair.counters.outputs:
        if output.rows:
            shown.append(f"{output.name} {output.agreed / output.rows:.1%}")
        elif values := sum(output.errors):
            shown.append(f"{output.name} {sum(output.errors[:7]) / values:.1%} within 0.1 %")
    return ", ".join(shown)
