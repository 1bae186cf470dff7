"""One operation of an engine, on values that a client may send."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
ONE = np.ones((1,), np.float32)
FOUR = np.ones((4,), np.float32)
PLACES = (99, -99, 2**31 - 1)
"""Indices and axes that are none of the arrays here."""
LONG = 2**26
"""So many floats take 256 MiB."""


@dataclass(frozen=True)
class Case:
    """An operation, whose inputs are all inputs of its model."""

    operation: str
    inputs: Sequence[Any]
    """Arrays and scalars of NumPy; None for one that is left out."""
    options: Mapping[str, Any] = field(default_factory=dict)
    gives: str | None = None
    """The dtype of what it gives, where that is not the first input's."""
    second: bool = False
    """Whether it gives a second result, which is not looked at."""


def integers(*values: int, dtype: str) -> Array:
    """Return a list of integers."""
    return np.array(values, dtype)


def divisions(kinds: Sequence[tuple[str, Mapping[str, Any]]], dtypes: Sequence[str]) -> dict[str, Case]:
    """Return divisions by 0, and the one whose quotient no integer of its width holds."""
    found = {}
    for kind, options in kinds:
        for dtype in dtypes:
            least, name = int(np.iinfo(dtype).min), " ".join([kind, *options, dtype])
            operands = [integers(1, 7, dtype=dtype), integers(1, 0, dtype=dtype)]
            found[f"{name}: 7 by 0"] = Case(kind, operands, options)
            if least:
                operands = [integers(1, least, dtype=dtype), integers(1, -1, dtype=dtype)]
                found[f"{name}: least by -1"] = Case(kind, operands, options)
    return found
