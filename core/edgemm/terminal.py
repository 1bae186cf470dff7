"""Terminal output of commands: plain text and tables, in which names are never taken for markup.

Names, labels and messages come from files and devices, so they may contain anything.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console, JustifyMethod
from rich.table import Table

_PIPE_WIDTH = 10_000


def plain_console(*, stderr: bool = False) -> Console:
    """Return a console that prints text as it is; a pipe has no width, so nothing is folded there."""
    console = Console(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = _PIPE_WIDTH
    return console


def plain_table(*headings: str, title: str | None = None, right: Sequence[str] = ()) -> Table:
    """Return an empty table; the first column is never folded, those in `right` are aligned to the right."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for index, heading in enumerate(headings):
        justify: JustifyMethod = "right" if heading in right else "left"
        table.add_column(heading, overflow="fold", no_wrap=index == 0, justify=justify)
    return table
