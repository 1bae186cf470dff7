"""The values in a graph that is being rewritten: tensors, and complex numbers as pairs of real tensors.

Imports TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Pair:
    """A complex tensor as its real and its imaginary part."""

    real: Any
    imag: Any


@dataclass(frozen=True)
class Outside:
    """What a graph takes from outside it and no file can hold, such as a table; its values can be read."""

    handle: Any


Value = Any
"""A tensor, a `Pair`, or something `Outside`."""

Copy = Callable[[Sequence[Any]], Sequence[Any]]
"""Repeats the operation at hand on other inputs of the same kind, and returns its outputs."""

Rule = Callable[[Any, Sequence[Value], Copy], Sequence[Value] | None]
"""Takes an operation, what flows into it and its `Copy`; returns what comes out, or None to leave it as it is."""

Rules = Mapping[str, Rule]
"""By type of operation."""
