"""Inputs by name: what is given for a model, in Python, a file, a form or JSON, matched with its signature. Pure.

* The names are those of the signature, each of them, and no other.
* Where names come along with what is given, but nobody had to choose them, as in an array file, a model of one input
  takes a lone one whatever it is called (`by_name`).

A refusal is in the words of the caller, who knows where the names come from.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TypeVar

from edgemm.bundle.manifest import TensorSpec

T = TypeVar("T")


def are_names(names: Collection[str], inputs: Collection[TensorSpec]) -> bool:
    """Tell whether these are the names of the inputs, all of them and no other; asked for every request."""
    return len(names) == len(inputs) and all(spec.name in names for spec in inputs)


def unknown_names(names: Iterable[str], inputs: Collection[TensorSpec]) -> list[str]:
    """Return the names that no input has, in order."""
    return sorted(set(names) - {spec.name for spec in inputs})


def missing_names(names: Iterable[str], inputs: Collection[TensorSpec]) -> list[str]:
    """Return the names of inputs that are not among `names`, in order."""
    return sorted({spec.name for spec in inputs} - set(names))


def by_name(given: Mapping[str, T], inputs: Collection[TensorSpec]) -> dict[str, T] | None:
    """Return what is given for each input, in the order of the inputs; None where the names are not theirs."""
    if len(given) == len(inputs) == 1:
        return {spec.name: value for spec, value in zip(inputs, given.values(), strict=True)}
    return {spec.name: given[spec.name] for spec in inputs} if are_names(given, inputs) else None
