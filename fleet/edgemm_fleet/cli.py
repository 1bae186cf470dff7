"""The command group `edgemm fleet`: the server, and an operator's client of its API.

Each command is loaded when it is asked for.
"""

from __future__ import annotations

import click

from edgemm.cli import LazyCommand, LazyGroup

_HERE = "edgemm_fleet.commands"
COMMANDS = {
    "init": LazyCommand(f"{_HERE}.serve:init", "Make a fleet: keys, certificate, database, administrator.", "fleet"),
    "serve": LazyCommand(f"{_HERE}.serve:serve", "Run the fleet manager.", "fleet"),
    "backup": LazyCommand(f"{_HERE}.backup:backup", "Copy a fleet folder while its manager runs.", "fleet"),
    "login": LazyCommand(f"{_HERE}.people:login", "Work with a fleet from this machine.", "fleet"),
    "status": LazyCommand(f"{_HERE}.fleet_status:status", "Whether the manager is healthy; what ends soon.", "fleet"),
    "token": LazyCommand(f"{_HERE}.people:token", "Tokens by which devices join.", "fleet"),
    "people": LazyCommand(f"{_HERE}.people:people", "Tokens of people.", "fleet"),
    "publish": LazyCommand(f"{_HERE}.publish:publish", "Sign a bundle and publish it as a version.", "fleet"),
    "models": LazyCommand(f"{_HERE}.models:models", "Models and their versions; who may publish them.", "fleet"),
    "devices": LazyCommand(f"{_HERE}.devices:devices", "Devices: list, show, label, ask to act, remove.", "fleet"),
    "rollout": LazyCommand(f"{_HERE}.rollout:rollout", "Bring a version to devices, group after group.", "fleet"),
    "shadow": LazyCommand(f"{_HERE}.shadow:shadow", "Run a version beside the active one.", "fleet"),
    "keys": LazyCommand(f"{_HERE}.fleet_keys:keys", "Keys that devices trust: list, replace, sign elsewhere.", "fleet"),
    "cert": LazyCommand(f"{_HERE}.fleet_certificate:cert", "The server's certificate: renew it.", "fleet"),
    "addresses": LazyCommand(f"{_HERE}.fleet_addresses:addresses", "Where devices look for their fleet.", "fleet"),
    "db": LazyCommand(f"{_HERE}.fleet_database:db", "The fleet's database: move it to another one.", "fleet"),
    "audit": LazyCommand(f"{_HERE}.people:audit", "Who did what, newest first.", "fleet"),
}


@click.group(cls=LazyGroup, table=COMMANDS)
def fleet() -> None:
    """Serve and operate a fleet of devices.

    On the server: `init`, then `serve`. From anywhere: `login`, then the others.
    """
