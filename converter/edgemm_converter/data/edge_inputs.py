"""The edge inputs of a model: what its inputs take together where functions go wrong. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from edgemm_converter.data import edge_values
from edgemm_converter.data.arrays import Array
from edgemm_converter.data.edge_values import USUAL, EdgeTensor, EdgeValue

_ALONE_AFTER, _ALONE_EACH = 8, 4
"""So many edge inputs of all tensors come before those in which one tensor alone is at an edge, so many of each."""

_USUAL_SEED = 1000


@dataclass(frozen=True)
class EdgeInput:
    """Inputs of one run by name, what they are in words, and their family: see `EdgeValue`."""

    name: str
    family: str
    arrays: Mapping[str, Array]


def of_inputs(tensors: Sequence[EdgeTensor], *, limit: int) -> tuple[EdgeInput, ...]:
    """Return at most `limit` edge inputs of a model, the most telling first.

    All inputs take the value of one name, those without it a usual one. With several inputs there are besides edge
    inputs in which one alone is at an edge, and the others are usual.
    """
    values = [edge_values.of_tensor(tensor, seed=position) for position, tensor in enumerate(tensors)]
    usual = [edge_values.usual(tensor, seed=_USUAL_SEED + position) for position, tensor in enumerate(tensors)]
    together = list(_together(tensors, values, usual))
    alone = list(_alone(tensors, values, usual)) if len(tensors) > 1 else []
    result: list[EdgeInput] = []
    seen: set[bytes] = set()
    for given in (*together[:_ALONE_AFTER], *alone, *together[_ALONE_AFTER:]):
        key = b"".join(given.arrays[tensor.name].tobytes() for tensor in tensors)
        if key not in seen:
            seen.add(key)
            result.append(given)
    return tuple(result[:limit])


def _together(
    tensors: Sequence[EdgeTensor], values: Sequence[Mapping[str, EdgeValue]], usual: Sequence[Array]
) -> Iterator[EdgeInput]:
    longest = sorted(range(len(tensors)), key=lambda i: -len(values[i]))
    for name in dict.fromkeys(name for i in longest for name in values[i]):
        family = next(of[name].family for of in values if name in of)
        arrays = {
            tensor.name: of[name].values if name in of else common
            for tensor, of, common in zip(tensors, values, usual, strict=True)
        }
        yield EdgeInput(name, family, arrays)


def _alone(
    tensors: Sequence[EdgeTensor], values: Sequence[Mapping[str, EdgeValue]], usual: Sequence[Array]
) -> Iterator[EdgeInput]:
    common = dict(zip((tensor.name for tensor in tensors), usual, strict=True))
    yield EdgeInput("usual values", USUAL, common)
    for names in zip(*(list(of)[:_ALONE_EACH] for of in values), strict=False):
        for tensor, of, name in zip(tensors, values, names, strict=True):
            arrays = {**common, tensor.name: of[name].values}
            yield EdgeInput(f"{name} in {tensor.name!r} alone", of[name].family, arrays)
