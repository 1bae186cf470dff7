"""The command `edgemm fleet backup`: a fleet folder copied while its manager runs."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from edgemm.outlet import progress, say
from edgemm_fleet.commands.on_server import FOLDER, folder_option, note, open_folder
from edgemm_fleet.commands.output import as_json_option, print_json, size
from edgemm_fleet.server.fleet_backup import back_up
from edgemm_fleet.store.dialects.database_address import PostgresAddress


@click.command()
@folder_option
@click.option("--to", type=FOLDER, required=True, help="A new folder, best on another disk; its keys are secrets.")
@as_json_option
def backup(folder: Path, *, to: Path, as_json: bool) -> None:
    """Copy a fleet folder, also while its manager runs, into a folder that may be served in its place.

    It has its name once all of it is on the disk. After a restore, devices want `edgemm fleet keys rotate snapshot
    timestamp`.
    """
    own = open_folder(folder)
    shown = sys.stderr.isatty() and not as_json
    found = back_up(own, to, told=_tell if shown else lambda _: None)
    if shown:
        say("", err=True)
    note(own, "fleet.backup", str(found.folder), f"{found.files} files, {found.size} bytes")
    if as_json:
        print_json({
            "folder": str(found.folder), "files": found.files, "bytes": found.size, "offline_keys": found.offline_keys,
        })  # fmt: skip
        return
    say(f"{found.folder}: {found.files:,} files, {size(found.size)}")
    if isinstance(own.database_address(), PostgresAddress):
        say(f"the database is not in it: back {own.database_address()} up by pg_dump, before the folder", err=True)
    if found.offline_keys:
        say("root or targets keys are in it, since they are in the fleet folder: take them offline", err=True)


def _tell(so_far: int) -> None:
    progress(f"backed up {size(so_far)}")
