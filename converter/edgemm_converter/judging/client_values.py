"""Values that clients choose, and what they may do to a device: deadly divisions, lengths without a bound. Pure.

`python -m simulators.fatal_values` measures which operations do so.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

from edgemm_converter.judging.reachability import Flow, GraphOperation

SHAPES = frozenset({"SHAPE", "Shape", "Size", "RANK"})
"""Operations that tell a shape: the values in what they take do not matter."""

_NAMED = 3


def chosen(flow: Flow, inputs: Iterable[Hashable], taken: Sequence[Hashable]) -> bool:
    """Tell whether values of a model's inputs decide one of some values."""
    return not flow.reached(taken, beyond=SHAPES).isdisjoint(inputs)


def lengths(
    flow: Flow, inputs: Iterable[Hashable], operations: Iterable[tuple[GraphOperation, Sequence[Hashable]]]
) -> list[GraphOperation]:
    """Return the operations, of those with what says how long their results are, whose length inputs decide."""
    asked = frozenset(inputs)
    return [operation for operation, taken in operations if chosen(flow, asked, taken)]


def notes(guarded: Sequence[GraphOperation], lengths_of: Sequence[GraphOperation]) -> tuple[str, ...]:
    """Return what to tell the user of guarded divisions, and of lengths that clients choose."""
    found = []
    if guarded:
        found.append(
            f"{_names(guarded)}: a request with the smallest integer and the divisor -1 would kill the process that "
            "serves the file, so it is packaged with a guard there and is not the given file byte for byte; its "
            "answers are the same"
        )
    if lengths_of:
        found.append(
            f"{_names(lengths_of)}: values of an input decide how much memory this takes, which the engine does not "
            "bound: one request can fill a device's memory; limit those values in the model, as with Clip or Minimum"
        )
    return tuple(found)


def _names(operations: Sequence[GraphOperation]) -> str:
    names = list(dict.fromkeys(f"{o.kind} ({o.name!r})" for o in operations))
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"
