"""What the demo tells while it runs, and the table at its end."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.table import Table

from edgemm_demo.processes import DemoError


class Narrator:
    """Prints each step as it happens and keeps the facts that were asserted."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = time.monotonic()
        self._facts: list[tuple[str, str]] = []

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Show that a step is under way, then how long it took."""
        begun = time.monotonic()
        with self._console.status(title):
            yield
        took = time.monotonic() - begun
        self._console.print(f"[green]✓[/] {title} [dim]({took:.1f} s)[/]", highlight=False, soft_wrap=True)

    def command(self, command: Sequence[str]) -> None:
        """Show an `edgemm` command that is about to run."""
        self._console.print(f"  [dim]$ edgemm {_shorten(command[3:])}[/]", highlight=False, soft_wrap=True)

    def check(self, fact: str, evidence: str, *, holds: bool) -> None:
        """Assert a fact from what devices and fleet manager report.

        Raises:
            DemoError: it does not hold.
        """
        self.require(fact, evidence, holds=holds)
        self._facts.append((fact, evidence))
        self._console.print(f"  [bold]{fact}[/]: {evidence}", highlight=False, soft_wrap=True)

    def require(self, fact: str, evidence: str, *, holds: bool) -> None:
        """Assert a fact that is not worth a line.

        Raises:
            DemoError: it does not hold.
        """
        if not holds:
            raise DemoError(f"expected: {fact}; found: {evidence}")

    def close(self) -> None:
        """Print the table of all facts, and how long it took."""
        table = Table(title="What happened", title_justify="left", box=box.SIMPLE, show_header=False)
        table.add_column()
        table.add_column()
        for fact, evidence in self._facts:
            table.add_row(f"[green]✓[/] {fact}", evidence)
        self._console.print()
        self._console.print(table)
        self._console.print(
            f"{len(self._facts)} facts, each asserted from what devices and fleet manager reported; "
            f"{time.monotonic() - self._started:.0f} s in all"
        )


def _shorten(arguments: Sequence[str]) -> str:
    """Leave the demo's folder out of paths and the secrets out of tokens."""
    words = [word.rsplit("/", 1)[-1] if word.startswith("/") else word for word in arguments]
    return shlex.join(f"{word[:9]}…" if word.startswith(("emp1_", "emt1_")) else word for word in words)
