"""The demo's output: the steps while it runs, and the table of checked facts at its end."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich import box
from rich.console import Console  # noqa: TID251 - the story has colours; what devices say in it is escaped
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TimeElapsedColumn
from rich.table import Table  # noqa: TID251 - as above

from edgemm.outlet import escaping
from edgemm_demo.processes import DemoError

_SECRETS = ("emp1_", "emt1_")


class Narrator:
    """Prints each step as it happens, under a bar of all `steps`, and keeps the facts that were asserted."""

    def __init__(self, console: Console, *, steps: int) -> None:
        self._console = console
        self._started = time.monotonic()
        self._facts: list[tuple[str, str]] = []
        self._done = 0
        self._steps = steps
        self._progress = Progress(
            SpinnerColumn(),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._bar = self._progress.add_task("", total=steps)

    @contextmanager
    def bar(self) -> Iterator[None]:
        """Show the bar while the block runs; only where the output is a terminal."""
        if not self._console.is_terminal:
            yield
            return
        with self._progress:
            yield

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Say which step begins, then how long it took."""
        begun = time.monotonic()
        self._done += 1
        self._say(f"[bold cyan]{self._done}/{self._steps}[/] [bold]{title}[/]")
        yield
        self._progress.update(self._bar, completed=self._done)
        self._say(f"    [dim]{time.monotonic() - begun:.1f} s[/]")

    def command(self, command: Sequence[str]) -> None:
        """Show an `edgemm` command that is about to run."""
        self._say(f"    [dim]$ edgemm {_shorten(command[3:])}[/]")

    def check(self, fact: str, evidence: str, *, holds: bool) -> None:
        """Assert a fact from what devices and fleet manager report.

        Raises:
            DemoError: it does not hold.
        """
        self.require(fact, evidence, holds=holds)
        told = escape(escaping.one_line(evidence))
        self._facts.append((fact, told))
        self._say(f"    [green]✓[/] {fact}: {told}")

    def require(self, fact: str, evidence: str, *, holds: bool) -> None:
        """Assert a fact that is not worth a line.

        Raises:
            DemoError: it does not hold.
        """
        if not holds:
            raise DemoError(f"expected: {fact}; found: {evidence}")

    def close(self) -> None:
        """Print the table of all facts, and how long it took."""
        table = Table(title="What happened", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("asserted")
        table.add_column("as reported by the devices and the fleet manager")
        for fact, evidence in self._facts:
            table.add_row(f"[green]✓[/] {fact}", evidence)
        self._console.print()
        self._console.print(table)
        self._say(f"{len(self._facts)} facts in {time.monotonic() - self._started:.0f} s")

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False, soft_wrap=True)


def _shorten(arguments: Sequence[str]) -> str:
    """Leave the demo's folder out of paths, and the secrets out of tokens."""
    words = [word.rsplit("/", 1)[-1] if word.startswith("/") else word for word in arguments]
    return " ".join(f"{word[:9]}…" if word.startswith(_SECRETS) else shlex.quote(word) for word in words)
