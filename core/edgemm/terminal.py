"""Tables and styled lines on the terminal, in which text is never taken for markup, nor obeyed by the terminal.

Names, labels and messages come from files and devices, so they may contain anything: every string and every cell is
escaped on its way out (`escaping.one_line`). What needs no table goes through `edgemm.outlet`, without this library.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console, JustifyMethod
from rich.table import Table

from edgemm.outlet import escaping, stdout

_PIPE_WIDTH = 10_000


class PlainConsole(Console):
    """A console whose strings are text alone."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print strings as one line each, and tables as they are."""
        super().print(*(escaping.one_line(one) if isinstance(one, str) else one for one in objects), **options)


class PlainTable(Table):
    """A table whose cells are text alone."""

    def add_row(self, *cells: Any, **options: Any) -> None:
        """Add a row; what would begin a line within a cell is escaped."""
        super().add_row(*(escaping.one_line(str(cell)) for cell in cells), **options)


def plain_console(*, stderr: bool = False) -> PlainConsole:
    """Return a console that prints text as it is; a pipe has no width, so nothing is folded there.

    Raises:
        OSError: it is to print on stdout, which is closed.
    """
    if not stderr:
        stdout.require()
    console = PlainConsole(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = _PIPE_WIDTH
    return console


def plain_table(*headings: str, title: str | None = None, right: Sequence[str] = ()) -> PlainTable:
    """Return an empty table; the first column is never folded, those in `right` are aligned to the right.

    A title stands below an empty line.
    """
    above = None if title is None else f"\n{escaping.one_line(title)}"
    table = PlainTable(title=above, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for index, heading in enumerate(headings):
        justify: JustifyMethod = "right" if heading in right else "left"
        table.add_column(escaping.one_line(heading), overflow="fold", no_wrap=index == 0, justify=justify)
    return table
