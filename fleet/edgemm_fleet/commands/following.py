"""The progress of a rollout on the command line: one line for each change, until it is over.

Whoever waits does not carry the rollout: Ctrl-C ends the wait, says that the rollout goes on, and how to watch it.
"""

from __future__ import annotations

import time

import click

from edgemm.errors import EnvironmentFailure
from edgemm.outlet import say
from edgemm.states import RolloutState
from edgemm_fleet.api.messages import RolloutDetail
from edgemm_fleet.client import FleetClient
from edgemm_fleet.commands.output import goes_on, moment, print_json
from edgemm_fleet.records.progress import Rollout
from edgemm_fleet.records.waiting import RolloutWait, WaitKind

_WAITS_FOR = {
    WaitKind.PAUSE: "the end of a pause",
    WaitKind.PERSON: "a person",
    WaitKind.WINDOW: "a window",
    WaitKind.SAMPLES: "samples",
    WaitKind.RATE: "its rate",
}
_ENDED_BY = {WaitKind.PAUSE: "resume", WaitKind.PERSON: "next"}
_POLL_S = 0.5
_PATIENCE_S = 300.0
"""How long a command that waits puts up with a manager that does not answer."""
_MOVING = frozenset({RolloutState.RUNNING, RolloutState.PAUSED, RolloutState.ROLLING_BACK})
BROKEN_OFF = frozenset({RolloutState.HALTED, RolloutState.CANCELED})


def follow(client: FleetClient, started: Rollout, wanted: RolloutState, *, wait: bool, as_json: bool) -> None:
    """Print how far a rollout is that was just set going, or wait for its end."""
    if wait:
        wait_for_end(client, started.id, frozenset({wanted}), as_json=as_json)
        return
    show_line(client, started, as_json=as_json)
    if started.state in BROKEN_OFF:
        raise click.exceptions.Exit(1)


def show_line(client: FleetClient, changed: Rollout, *, as_json: bool) -> None:
    """Print how far a rollout is."""
    detail = client.rollout(changed.id)
    if as_json:
        print_json(detail)
    else:
        say(line(detail))


def wait_for_end(client: FleetClient, rollout_id: str, good: frozenset[RolloutState], *, as_json: bool) -> None:
    """Print each change until the rollout is over, and exit with 1 if it did not end in a good state."""
    watch, halt = f"edgemm fleet rollout status {rollout_id} --watch", f"edgemm fleet rollout halt {rollout_id}"
    with goes_on(f"rollout {rollout_id} goes on without this; watch it: {watch}; stop it: {halt}"):
        detail = _last(client, rollout_id, quiet=as_json)
    if as_json:
        print_json(detail)
    if detail.rollout.state not in good:
        found = detail.rollout
        say(f"error: rollout {found.id} is {found.state}: {found.reason or 'no reason given'}", err=True)
        raise click.exceptions.Exit(1)


def _last(client: FleetClient, rollout_id: str, *, quiet: bool) -> RolloutDetail:
    """Return the rollout once it does not move any more; each change on the way is printed."""
    said = ""
    while True:
        detail = _ask(client, rollout_id)
        if not quiet and (now_so := line(detail)) != said:
            said = now_so
            say(said)
        if detail.rollout.state not in _MOVING:
            return detail
        time.sleep(_POLL_S)


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


def line(detail: RolloutDetail) -> str:
    """Return how far a rollout is, in one line."""
    found = detail.rollout
    groups = []
    for index, counts in enumerate(detail.groups):
        if found.groups[index].started_at is not None:
            nobody = "no further device" if found.groups[index].matching else "no device matches"
            text = ", ".join(f"{number} {state}" for state, number in sorted(counts.items())) or nobody
            groups.append(f"group {index + 1}: {text}")
        elif index == found.preparing and (size := found.groups[index].size) is not None:
            groups.append(f"group {index + 1}: preparing, {sum(counts.values()):,} of {size:,} devices chosen")
        elif index == found.preparing:
            groups.append(f"group {index + 1}: preparing, devices are counted")
    reason = f" ({found.reason})" if found.reason else ""
    trouble = [f"it cannot go on and tries again: {found.trouble}; the server's log says more"] if found.trouble else []
    waiting = [f"waits for {waits(found.waiting)}: {found.waiting.reason}"] if found.waiting else []
    parts = [f"{found.id} {found.plan.model} {found.plan.version} {found.state}{reason}", *waiting, *groups, *trouble]
    if found.waiting and (command := _ENDED_BY.get(found.waiting.kind)):
        parts.append(f"to go on: edgemm fleet rollout {command} {found.id}")
    return "; ".join(parts)


def waits(waiting: RolloutWait) -> str:
    """Return for what a rollout waits, since when and until when, and what comes then."""
    what = _WAITS_FOR.get(waiting.kind, waiting.kind.value)
    return f"{what} since {moment(waiting.since)}, until {moment(waiting.until)} (then halted: {waiting.then})"
