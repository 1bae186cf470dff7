"""The command `edgemm fleet status`: how a fleet is, and what ends soon."""

from __future__ import annotations

import click

from edgemm.outlet import say
from edgemm_fleet.commands.output import as_json_option, due, print_json, print_table
from edgemm_fleet.commands.parameters import connect


@click.command()
@as_json_option
def status(*, as_json: bool) -> None:
    """Show how the fleet is, and which signatures, certificates and tokens end within 30 days."""
    with connect() as client:
        found = client.status()
        now = client.now()
    if as_json:
        print_json(found)
        return
    rollouts = ", ".join(f"{number} {state}" for state, number in sorted(found.rollouts.items())) or "none"
    facts = {
        "fleet": f"{found.fleet} at {found.public_url}, edgemm {found.version}",
        "broker": "connected" if found.broker_connected else "not connected",
        "devices": f"{found.online} online, {found.offline} offline",
        "rollouts": rollouts,
    }
    for name, value in facts.items():
        say(f"{name:<10} {value}")
    if found.ending:
        rows = [(one.kind, one.name, due(one.ends_at, now=now), one.advice) for one in found.ending]
        print_table(("ends", "which", "when", "what to do"), rows, empty="")
