"""Sample sets of one kind as one, where outputs whose length depends on the data part them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
import numpy as np

from edgemm_converter.children.protocol import SetKind
from edgemm_converter.data.arrays import Array
from edgemm_converter.judging.assembly import Measured, Outputs

_OF_DATA = (SetKind.CALIBRATION, SetKind.EVALUATION)


def of_data(measured: Iterable[Measured]) -> dict[SetKind, Measured]:
    """Return the user's data by kind, with the source's answers alone where there are several sets.

    Of an output that has several shapes there are the numbers, one after the other.
    """
    found: dict[SetKind, list[Measured]] = {}
    for one in measured:
        if one.set.kind in _OF_DATA:
            found.setdefault(one.set.kind, []).append(one)
    return {kind: _joined(sets) if len(sets) > 1 else sets[0] for kind, sets in found.items()}


def _joined(sets: Sequence[Measured]) -> Measured:
    runs, count = sum(one.set.runs for one in sets), sum(one.set.samples for one in sets)
    whole = msgspec.structs.replace(sets[0].set, runs=runs, samples=count)
    return Measured(whole, _together([one.inputs for one in sets]), _together([one.source for one in sets]), {})


def _together(parts: Sequence[Outputs]) -> dict[str, Array]:
    def joined(arrays: Sequence[Array]) -> Array:
        alike = len({array.shape[1:] for array in arrays}) == 1
        return np.concatenate(arrays if alike else [array.reshape(-1) for array in arrays])

    return {name: joined([part[name] for part in parts]) for name in parts[0]}
