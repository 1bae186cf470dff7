"""The command `edgemm demo`: shows the product from training to a refused bad version, on one machine."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click
from rich.console import Console  # noqa: TID251 - the story has colours

from edgemm.errors import EdgemmError
from edgemm.outlet import say
from edgemm_demo.narration import Narrator
from edgemm_demo.processes import Processes
from edgemm_demo.story import Story


@click.command()
@click.option("--keep", is_flag=True, help="Leave the fleet running until Ctrl-C, and print the address of its page.")
def demo(*, keep: bool) -> None:
    """See the whole story on this machine, in a minute or two.

    Trains a small Keras model on real handwritten digits, converts and publishes it, starts a fleet manager and three
    devices as processes of their own, rolls out a good version, a better one, and a broken one that the first device
    refuses. Every step is asserted. Nothing outside a temporary folder is touched, and nothing listens beyond this
    machine.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    console = Console()
    narrator = Narrator(console, steps=Story.STEPS)
    with _scratch() as folder, Processes(folder) as processes:
        with narrator.bar():
            page = Story(folder, processes=processes, narrator=narrator).tell()
        narrator.close()
        if keep:
            console.print(f"\nThe fleet is running. Its page: {page}", highlight=False, soft_wrap=True)
            console.print("Its certificate is its own, so the browser asks once. Ctrl-C ends everything.")
            processes.watch()


@contextmanager
def _scratch() -> Iterator[Path]:
    """Give a temporary folder; it stays for a look at the logs when the demo fails."""
    folder, keep = Path(tempfile.mkdtemp(prefix="edgemm-demo-")), False
    try:
        yield folder
    except EdgemmError:
        keep = True
        say(f"the logs are in {folder}", err=True)
        raise
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def _interrupt(signal_number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a handler
    raise KeyboardInterrupt
