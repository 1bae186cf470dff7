"""The commands `edgemm fleet devices act` and `actions`: ask devices to do something once, and see what came of it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence

import click
import msgspec
from msgspec import Struct
from msgspec.structs import replace

from edgemm.errors import ConflictError, InputError, NotFoundError, UnreachableError
from edgemm.messages import ActionKind
from edgemm.outlet import say
from edgemm.times import span
from edgemm_fleet.api.messages import ActionRequest
from edgemm_fleet.client import FleetClient
from edgemm_fleet.commands.filter_options import selected, where_option
from edgemm_fleet.commands.output import age, as_json_option, goes_on, listed, print_json, print_table
from edgemm_fleet.commands.parameters import DURATION, connect
from edgemm_fleet.filters import written
from edgemm_fleet.records.records import ActionRecord

_POLL_S = 0.5
_ASKED_A_POLL = 20
"""How many requests come with one pause: those of many devices are spread."""


class Unasked(Struct, frozen=True, kw_only=True):
    """A device that could not be asked, or be asked for the result, and why."""

    device: str
    error: str


@click.command()
@click.argument("named", nargs=-1, metavar="[DEVICE]...")
@click.argument("kind", type=click.Choice([kind.value for kind in ActionKind]))
@where_option("The devices that match")
@click.option("--all", "everyone", is_flag=True, help="All devices of the fleet.")
@click.option("--model", help="Of `selftest`: this model alone.")
@click.option("--wait", is_flag=True, help="Wait for the results; exit status 1 if one failed.")
@click.option("--timeout", type=DURATION, default="5min", show_default=True, help="How long --wait waits.")
@as_json_option
def act(
    named: tuple[str, ...],
    kind: str,
    *,
    where: tuple[str, ...],
    everyone: bool,
    model: str | None,
    wait: bool,
    timeout: float,
    as_json: bool,
) -> None:
    """Ask devices to do something once.

    `diagnose` tells how a device is, `selftest` runs the golden samples of what is active, `prune` frees disk space,
    `restart` starts the agent anew, and `sync-time` has it ask the fleet for the time, also where its clock leapt so
    that it takes nothing else. A device that is offline does it when it is back. The JSON of one device that was named
    is one result, otherwise a list of them.
    """
    if not (named or where or everyone):
        raise click.UsageError("expected a DEVICE, --where FILTER or --all")
    one_named = len(set(named)) == 1 and not where
    with connect() as client:
        ids = _meant(client, named, where)
        asked = [_ask(client, device, ActionKind(kind), model, alone=one_named) for device in ids]
        if not as_json:
            _tell_asked(client, asked, wait=wait)
        done = _results(client, asked, timeout_s=timeout, quiet=as_json) if wait else asked
    if as_json:
        print_json(done[0] if one_named else done)
    if wait:
        _check_answered(done, timeout_s=timeout)
    if any(isinstance(one, Unasked) or one.ok is False for one in done):
        raise click.exceptions.Exit(1)


@click.command("actions")
@click.argument("device")
@as_json_option
def list_actions(device: str, *, as_json: bool) -> None:
    """List what a device was asked to do, and what came of it, newest first."""
    with connect() as client:
        found = list(client.actions(device))
        now = client.now()
    if as_json:
        print_json(found)
        return
    print_table(*action_table(found, now=now), empty=f"none: edgemm fleet devices act {device} diagnose")


def action_table(found: Sequence[ActionRecord], *, now: float) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    """Return headings and rows of actions."""
    return ("asked", "id", "result"), [(age(one.created_at, now=now), one.action.id, outcome(one)) for one in found]


def outcome(record: ActionRecord) -> str:
    """Return what was asked and what came of it."""
    asked = " ".join(filter(None, (record.action.kind, record.action.model)))
    if record.ok is None:
        return f"{asked}: not done yet"
    return f"{asked}: {'done' if record.ok else 'failed'}: {record.detail or '–'}"


def _meant(client: FleetClient, named: tuple[str, ...], where: tuple[str, ...]) -> list[str]:
    """Return the ids of the devices that are meant, each once.

    Raises:
        ConflictError: there is none.
    """
    if named and not where:
        return list(dict.fromkeys(named))
    selector = selected(where, devices=named)
    text = written(replace(selector, devices=None).expression()) or None
    ids = [one.device.id for one in client.devices(where=text) if one.device.id in named or not named]
    if not ids:
        raise ConflictError(f"{selector.nobody()}, so nothing was asked")
    return ids


def _ask(
    client: FleetClient, device: str, kind: ActionKind, model: str | None, *, alone: bool
) -> ActionRecord | Unasked:
    """Ask one device; where there are others, what it cannot be asked keeps none of them from being asked."""
    try:
        # With an id of its own the request may be repeated over a connection that broke, and is still one action.
        return client.act(device, ActionRequest(kind=kind, model=model, id=secrets.token_hex(8)))
    except msgspec.ValidationError as err:
        raise InputError(f"--model {model}: {err}") from err
    except (NotFoundError, ConflictError) as err:
        if alone:
            raise
        return Unasked(device=device, error=str(err))


def _tell_asked(client: FleetClient, asked: Sequence[ActionRecord | Unasked], *, wait: bool) -> None:
    """Print what was asked; where the results are waited for, only why one may take long, on stderr."""
    for one in asked:
        if isinstance(one, Unasked):
            say(f"{one.device}: not asked: {one.error}", err=True)
            continue
        presence = client.device(one.device).device.presence
        heard = age(presence.last_seen_at, now=client.now())
        why = "" if presence.online else f": it is offline, heard of {heard}, and does it when it is back"
        if why or not wait:
            say(f"{one.device}: {outcome(one)}{why}", err=wait)


def _is_unfinished(one: ActionRecord | Unasked) -> bool:
    return isinstance(one, ActionRecord) and one.done_at is None


def _results(
    client: FleetClient, asked: Sequence[ActionRecord | Unasked], *, timeout_s: float, quiet: bool
) -> list[ActionRecord | Unasked]:
    """Return what came of each within the time, printed as it comes."""
    results = {one.device: one for one in asked}
    which = asked[0].device if len(asked) == 1 else "DEVICE"
    with goes_on(f"it is done all the same; see what came of it: edgemm fleet devices actions {which}"):
        deadline_s = time.monotonic() + timeout_s
        while waiting := [one for one in results.values() if isinstance(one, ActionRecord) and one.done_at is None]:
            if time.monotonic() >= deadline_s:
                break
            time.sleep(_POLL_S * max(1.0, len(waiting) / _ASKED_A_POLL))
            for one in waiting:
                results[one.device] = found = _look(client, one)
                if not quiet and not _is_unfinished(found):
                    said = found.error if isinstance(found, Unasked) else outcome(found)
                    say(f"{found.device}: {said}")
    return list(results.values())


def _look(client: FleetClient, record: ActionRecord) -> ActionRecord | Unasked:
    try:
        return client.action(record.device, record.action.id)
    except NotFoundError as err:  # it was removed meanwhile
        return Unasked(device=record.device, error=str(err))


def _check_answered(done: Sequence[ActionRecord | Unasked], *, timeout_s: float) -> None:
    waiting = [one for one in done if isinstance(one, ActionRecord) and one.done_at is None]
    if waiting:
        names, kind = listed([one.device for one in waiting]), waiting[0].action.kind
        there = "the device is" if len(waiting) == 1 else "they are"
        raise UnreachableError(
            f"device {names}: no result of {kind} within {span(timeout_s)}; it is done when {there} there, and then "
            f"told by: edgemm fleet devices actions {waiting[0].device if len(waiting) == 1 else 'DEVICE'}"
        )
