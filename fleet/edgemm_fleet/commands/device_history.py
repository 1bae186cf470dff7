"""The command `edgemm fleet devices history`: how a device was, hour by hour."""

from __future__ import annotations

from itertools import islice

import click

from edgemm_fleet.api.telemetry import HealthHour
from edgemm_fleet.commands.output import as_json_option, moment, print_json, print_table, size
from edgemm_fleet.commands.parameters import DURATION, MOST_LISTED, connect


@click.command("history")
@click.argument("device")
@click.option("--since", type=DURATION, default="1d", show_default=True, help="How far back; 30d at most is kept.")
@click.option("--limit", type=click.IntRange(1, MOST_LISTED), default=1000, show_default=True, help="Hours at most.")
@as_json_option
def history(device: str, *, since: float, limit: int, as_json: bool) -> None:
    """Show how a device was, hour by hour, newest first: the first window that was kept of each hour."""
    with connect() as client:
        after = client.now() - since
        found = list(islice(client.history(device, since=after), limit))
    if as_json:
        print_json(found)
        return
    headings = ("hour", "boot", "up", "requests", "errors", "temperature", "memory left", "disk left", "windows lost")
    print_table(headings, map(_row, found), empty="nothing yet: a device that measures is here within an hour")


def _row(one: HealthHour) -> tuple[str, ...]:
    return (
        moment(one.started_at),
        one.boot[:8],
        f"{one.uptime_s / 3600:.1f} h",
        f"{one.requests:,}",
        f"{one.errors:,}",
        "–" if one.temperature_c is None else f"{one.temperature_c:.1f} °C",
        "–" if one.memory_available_bytes is None else size(one.memory_available_bytes),
        "–" if one.disk_free_bytes is None else size(one.disk_free_bytes),
        f"{one.spool_dropped:,}",
    )
