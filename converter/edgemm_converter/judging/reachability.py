"""The flow of values through a graph of any format: which operations an output needs, and which are random. Pure.

A value is a name; names that stand for several tensors of one operation are enough where all of them need the same.
Functions, loops and branches are part of the same flow: what they return needs what is computed in them.

    flow = Flow()
    flow.add(GraphOperation("noise", "RandomStandardNormal"), gives=["noise"], takes=["shape"])
    flow.add(GraphOperation("sum", "AddV2"), gives=["sum"], takes=["x", "noise"])
    flow.random(["sum"])  # the operation "noise"
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgemm.errors import InputError

_NAMED = 3


@dataclass(frozen=True)
class GraphOperation:
    """One operation of a graph, by its name and kind in that graph's format."""

    name: str
    kind: str
    random: bool = False
    """Whether it answers anew each time, from a state that is not among the values that it takes."""


@dataclass(frozen=True)
class Flow:
    """Which values each value is computed from, and by which operation."""

    _needs: dict[Hashable, list[Hashable]] = field(default_factory=dict)
    _sources: dict[Hashable, GraphOperation] = field(default_factory=dict)

    def add(self, operation: GraphOperation, *, gives: Iterable[Hashable], takes: Iterable[Hashable]) -> None:
        """Add an operation, each of whose results needs all that it takes."""
        taken = list(takes)
        for value in gives:
            self._sources[value] = operation
            self._needs.setdefault(value, []).extend(taken)

    def need(self, value: Hashable, *needed: Hashable) -> None:
        """Have a value need others, as a result of a function needs what the function returns."""
        self._needs.setdefault(value, []).extend(needed)

    def reached(self, ends: Iterable[Hashable], *, beyond: frozenset[str] = frozenset()) -> set[Hashable]:
        """Return all values that `ends` need, these included; a state that is not among them reaches no output.

        What operations of the kinds in `beyond` take does not count, as that of one which tells a tensor's shape.
        """
        found: set[Hashable] = set()
        waiting = list(ends)
        while waiting:
            value = waiting.pop()
            if value not in found:
                found.add(value)
                if (source := self._sources.get(value)) is not None and source.kind in beyond:
                    continue
                waiting.extend(self._needs.get(value, ()))
        return found

    def random(self, ends: Iterable[Hashable]) -> tuple[GraphOperation, ...]:
        """Return the random operations that `ends` need, in the order in which they were added."""
        found = self.reached(ends)
        drawn = (o for value, o in self._sources.items() if value in found and o.random)
        return tuple(dict.fromkeys(drawn))


def check(random: Sequence[GraphOperation], *, path: Path, place: Callable[[str], str] = repr) -> None:
    """Check that outputs need no random operation, however small the numbers are that it draws.

    Two runs that agree show nothing: noise may be as small as rounding. `place` tells the user where an operation
    stands, by its name.

    Raises:
        InputError: there are some; names them.
    """
    if not random:
        return
    names = list(dict.fromkeys(f"{o.kind} ({place(o.name)})" for o in random))
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    raise InputError(
        f"{path}: {', '.join(names[:_NAMED])}{more} draws random numbers when it runs, so that no two answers are "
        "alike: draw only where training is true, leave the noise out, or take the random numbers as an input"
    )
