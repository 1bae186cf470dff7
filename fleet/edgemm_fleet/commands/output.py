"""The output of the fleet's commands: JSON for programs, tables and ages for people."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import click
import msgspec

from edgemm.terminal import plain_console, plain_table
from edgemm.times import span

as_json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")


def print_json(value: Any) -> None:
    """Print one of our messages as JSON."""
    click.echo(msgspec.json.encode(value))


def report(text: str, *, as_json: bool, **facts: str) -> None:
    """Say what was done: `text` for people, the facts for programs."""
    if as_json:
        print_json(facts)
    else:
        click.echo(text)


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, empty: str) -> None:
    """Print a table, or `empty` where there is nothing in it."""
    table = plain_table(*headings)
    for row in rows:
        table.add_row(*row)
    if table.row_count == 0:
        click.echo(empty)
    else:
        plain_console().print(table)


def age(then: float | None, *, now: float | None = None) -> str:
    """Return how long ago a time was, or how far ahead it is: `3 min ago`, `in 2 d`."""
    if then is None:
        return "never"
    passed = (time.time() if now is None else now) - then
    text = span(abs(passed))
    return f"{text} ago" if passed >= 0 else f"in {text}"


def moment(then: float) -> str:
    """Return a time as people write it, in this machine's time zone."""
    return datetime.fromtimestamp(then).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


def size(count: int) -> str:
    """Return a number of bytes for people."""
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count} B"


def pairs(labels: dict[str, str]) -> str:
    """Return labels as `a=1 b=2`."""
    return " ".join(f"{name}={value}" for name, value in sorted(labels.items()))
