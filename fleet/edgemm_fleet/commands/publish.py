"""The command `edgemm fleet publish`: verifies, uploads and signs a bundle as a version of its model."""

from __future__ import annotations

from pathlib import Path

import click
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from edgemm.outlet import say
from edgemm.terminal import plain_console
from edgemm_fleet.client import publishing
from edgemm_fleet.commands.output import as_json_option, print_json, size
from edgemm_fleet.commands.parameters import connect


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--minimum-version",
    "minimum",
    metavar="V",
    help="Devices install no version of this model below V from now on; only `models withdraw` lowers it.",
)
@as_json_option
def publish(bundle: Path, *, minimum: str | None, as_json: bool) -> None:
    """Verify BUNDLE, upload what the server lacks, and sign it as a version of its model on this machine."""
    columns = (TextColumn("uploading"), BarColumn(), DownloadColumn())
    console = plain_console(stderr=True)
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    with connect() as client, bar as progress:
        task = progress.add_task("upload", total=None)
        published = publishing.publish(
            client,
            bundle,
            minimum=minimum,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    record = published.record
    if as_json:
        print_json(published)
        return
    did = "was published before" if published.existed else f"published, {size(published.uploaded_bytes)} uploaded"
    say(f"{record.model} {record.version} {did}; sha256 {record.digest}")
    say(f"next: edgemm fleet rollout create {record.model} {record.version}", err=True)
