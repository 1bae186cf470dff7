"""The command `edgemm fleet status`: whether a manager is healthy, what limits it, and what ends soon; on one screen.

Exit status 0: healthy; 1: not, or it does not answer.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

import click

from edgemm.errors import EdgemmError, EnvironmentFailure, RequestError, UnavailableError
from edgemm.outlet import say
from edgemm.outlet.escaping import shortened
from edgemm.times import span
from edgemm_fleet.api.messages import FleetStatus
from edgemm_fleet.client import read_profile
from edgemm_fleet.client.api_connection import LITTLE_PATIENCE
from edgemm_fleet.client.fleet import FleetClient
from edgemm_fleet.commands.output import as_json_option, due, print_json, size
from edgemm_fleet.health.health_findings import Finding, FindingName
from edgemm_fleet.health.measures import ManagerMeasures

_WIDTH = 80
_MOST_FINDINGS, _MOST_LINES = 3, 2
_MOST_ENDINGS = 2
_OF_DATABASE = "fleet database "
"""How errors of the store begin."""


@click.command()
@as_json_option
def status(*, as_json: bool) -> None:
    """Show whether the manager is healthy, what limits it, and what ends within 30 days.

    Exit status 0 if it is, 1 if it is not or does not answer.
    """
    profile = read_profile()
    try:
        with FleetClient(profile, patience=LITTLE_PATIENCE) as client:
            found = client.status()
            now = client.now()
    except (EnvironmentFailure, RequestError) as err:
        down = _down(err)
        if as_json:
            print_json({"healthy": False, "findings": [down]})
        else:
            say(f"{profile.url}: NOT HEALTHY", *_told([down]))
        raise click.exceptions.Exit(1) from None
    if as_json:
        print_json(found)
    else:
        say(*_screen(found, now=now))
    if found.healthy is False:
        raise click.exceptions.Exit(1)


def _down(err: EdgemmError) -> Finding:
    if isinstance(err, UnavailableError) and str(err).startswith(_OF_DATABASE):
        return Finding(  # the manager answers, but by whom it is asked is in the database
            name=FindingName.DATABASE_FAILS.value,
            urgent=True,
            text=f"the database fails: {err}",
            next="make it work again; what devices send waits, and nothing is lost: docs/databases.md",
        )
    return Finding(
        name=FindingName.MANAGER_DOWN.value,
        urgent=True,
        text=f"the manager does not tell how it is: {err}",
        next="on the server, see whether it runs and what its log says; start it with: edgemm fleet serve FOLDER",
    )


def _screen(found: FleetStatus, *, now: float) -> Iterator[str]:
    """Yield the lines: 80 columns and at most 24 of them."""
    verdict = {None: "health not told, by an earlier edgemm", True: "healthy", False: "NOT HEALTHY"}
    yield f"{found.fleet}: {verdict[found.healthy]}"
    yield from _told(found.findings)
    told = found.measures
    refuse = f", {told.devices_refusing:,} refuse what they are told" if told is not None else ""
    facts = {
        "server": f"edgemm {found.version} at {found.public_url}",
        "devices": f"{found.online:,} online, {found.offline:,} offline{refuse}",
        "rollouts": ", ".join(f"{number} {state}" for state, number in sorted(found.rollouts.items())) or "none",
        "broker": "connected" if found.broker_connected else "not connected",
    }
    if told is not None:
        facts["server"] = f"edgemm {found.version}, {told.http_connections:,} connections, at {found.public_url}"
        facts["broker"] += "" if told.broker_gone_s is None else _for(told.broker_gone_s)
        facts["broker"] += f"; {told.outbox_waiting:,} devices still to be told something{_for(told.outbox_behind_s)}"
        facts |= _measured(told)
    for name, value in facts.items():
        yield _line(name, value)
    for one in found.ending[:_MOST_ENDINGS]:
        yield _line("ends", f"{one.kind} {one.name} {due(one.ends_at, now=now)}: {one.advice}")
    if (more := len(found.ending) - _MOST_ENDINGS) > 0:
        yield _line("", f"and {more} more: --json")


def _line(name: str, value: str) -> str:
    return shortened(f"{name:<9} {value}", most=_WIDTH)


def _for(seconds: float) -> str:
    return f", for {span(seconds)}" if seconds >= 1.0 else ""


def _told(findings: Sequence[Finding]) -> Iterator[str]:
    """Yield what was found, the urgent first, as much of it as fits."""
    for one in findings[:_MOST_FINDINGS]:
        mark = "!" if one.urgent else "-"
        yield from _wrapped(f"{mark} ", one.text)
        yield from _wrapped("  -> ", one.next)
    if (more := len(findings) - _MOST_FINDINGS) > 0:
        yield f"  and {more} more: --json"


def _wrapped(mark: str, text: str) -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=mark,
        subsequent_indent=" " * len(mark),
        max_lines=_MOST_LINES,
        break_on_hyphens=False,
    )


def _measured(found: ManagerMeasures) -> dict[str, str]:
    behind = f", {found.ingest_lag_s:,.1f} s behind" if found.ingest_waiting else ""
    large = "" if found.database_size_bytes is None else f", {size(found.database_size_bytes)}"
    facts = {
        "ingest": f"{found.ingest_per_s:,.0f} messages a second, {found.ingest_waiting:,} wait{behind}",
        "database": f"{found.database}{large}; writes wait {_ms(found.write_wait_s)}, work {_ms(found.write_s)}, "
        f"commit {_ms(found.commit_s)} ms; busy {found.writer_share * 100:.0f} %",
    }
    if found.disk_size_bytes and found.disk_free_bytes is not None:
        used = 100 * (1 - found.disk_free_bytes / found.disk_size_bytes)
        facts["disk"] = f"{used:.0f} % full, {size(found.disk_free_bytes)} left"
    return facts


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:,.0f}"
