"""The output of the fleet's commands: JSON for programs, tables and ages for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import click
import msgspec

from edgemm.outlet import say, say_json
from edgemm.terminal import plain_console, plain_table
from edgemm.times import span
from edgemm_fleet.clock import SLACK_S

as_json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
INTERRUPTED = 130
"""The exit status of Ctrl-C."""
_SHOWN = 8


def print_json(value: Any) -> None:
    """Print one of our messages as JSON."""
    say_json(msgspec.json.encode(value))


def report(text: str, *, as_json: bool, **facts: str | int) -> None:
    """Say what was done: `text` for people, the facts for programs."""
    if as_json:
        print_json(facts)
    else:
        say(text)


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, empty: str) -> None:
    """Print a table, or `empty` where there is nothing in it."""
    table = plain_table(*headings)
    for row in rows:
        table.add_row(*row)
    if table.row_count == 0:
        say(empty)
    else:
        plain_console().print(table)


@contextmanager
def goes_on(what: str) -> Iterator[None]:
    """Wait for something that does not depend on the waiting: Ctrl-C ends the wait alone, and says `what`."""
    try:
        yield
    except KeyboardInterrupt:
        say(f"interrupted: {what}", err=True)
        raise click.exceptions.Exit(INTERRUPTED) from None


def listed(names: Sequence[str], *, number: int | None = None) -> str:
    """Return the first few names, and how many more there are, of `number` in all where not all are known."""
    shown = names[:_SHOWN]
    left = max(number or 0, len(names)) - len(shown)
    return " and ".join(filter(None, (", ".join(shown), f"{left:,} {'more' if shown else 'others'}" if left else "")))


def age(then: float | None, *, now: float) -> str:
    """Return how long before `now`, the time at the server, something was: `3 min ago`.

    What is dated later than now was dated by a clock that was ahead of what the server's shows now.
    """
    if then is None:
        return "never"
    if then > now + SLACK_S:
        return f"by a clock {span(then - now)} ahead"
    return f"{span(max(0.0, now - then))} ago"


def due(then: float, *, now: float) -> str:
    """Return when something ends that may be over: `in 3 d`, or `3 d ago`."""
    return f"in {span(then - now)}" if then > now else age(then, now=now)


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
