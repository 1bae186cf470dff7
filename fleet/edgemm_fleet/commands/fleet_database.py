"""The commands `edgemm fleet db`: the fleet's database, and its move from SQLite to PostgreSQL or back."""

from __future__ import annotations

from pathlib import Path

import click

from edgemm.outlet import say
from edgemm_fleet.commands.on_server import FOLDER, open_folder
from edgemm_fleet.commands.output import as_json_option, print_json
from edgemm_fleet.server.database_of_folder import expect_own
from edgemm_fleet.store.dialects.database_address import DatabaseAddress, PostgresAddress
from edgemm_fleet.store.transfer import Moved, has_no_tables, move_fleet
from edgemm_fleet.trust.fleet_folder import FleetFolder, FolderLock

SQLITE = "sqlite"
_SAID_EVERY = 100_000


@click.group()
def db() -> None:
    """The fleet's database: SQLite's file in the folder, or PostgreSQL's."""


@db.command("copy")
@click.option("--folder", type=FOLDER, required=True, help="The fleet folder, on the server; its manager is stopped.")
@click.option(
    "--from",
    "source",
    metavar="URL",
    help=f"postgresql://…, or {SQLITE}: fleet.db in the folder; the one in use unless given.",
)
@click.option("--to", "target", metavar="URL", required=True, help="Likewise; an empty database.")
@as_json_option
def copy(folder: Path, *, source: str | None, target: str, as_json: bool) -> None:
    """Move the whole fleet to another database; its manager uses that one from the next start on.

    What was copied is compared row by row. The database of before stays as it is, and no manager takes it any more.
    Killed in between, give the same command again.
    """
    own = open_folder(folder)
    there = _address(own, target, what="--to")
    here = own.database_address() if source is None else _address(own, source, what="--from")
    with FolderLock(own):
        expect_own(own, here)
        already = source is None and here == there and not has_no_tables(there)
        moved = Moved({}, "") if already else move_fleet(here, there, told=_tell)
        own.note_database(there)
    if as_json:
        print_json({"from": str(here), "to": str(there), "rows": moved.rows, "sha256": moved.digest})
        return
    if not moved.rows:
        say(f"the fleet is in {there} already; next: edgemm fleet serve {own.root}")
        return
    say(f"moved {sum(moved.rows.values())} rows of {len(moved.rows)} tables, compared by sha256 {moved.digest[:12]}…")
    say(f"the fleet is in {there} from now on; next: edgemm fleet serve {own.root}")


def _address(folder: FleetFolder, text: str, *, what: str) -> DatabaseAddress:
    return folder.database if text == SQLITE else PostgresAddress.parse(text, what=what)


def _tell(table: str, done: int, total: int) -> None:
    if done == total or done % _SAID_EVERY == 0:
        say(f"{table}: {done} of {total} rows", err=True)
