"""Values that are no finite numbers, for people: JSON has none of them, and would show `null`. Pure."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from edgemm_runtime.tensors.named_arrays import Array, Arrays


def described(outputs: Arrays) -> str:
    """Say which outputs have values that are NaN or infinite, how many and where the first is; "" where none has."""
    return "; ".join(_described(name, array) for name, array in outputs.items() if _count(array))


def spelled(values: Any) -> Any:
    """Return nested lists with NaN and infinities as the strings "NaN", "Infinity" and "-Infinity"."""
    if isinstance(values, list):
        return [spelled(value) for value in values]
    if isinstance(values, float) and not math.isfinite(values):
        return "NaN" if math.isnan(values) else "Infinity" if values > 0 else "-Infinity"
    return values


def _count(array: Array) -> int:
    return int((~np.isfinite(array)).sum()) if array.dtype.kind == "f" else 0


def _described(name: str, array: Array) -> str:
    first = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
    where = f" at {list(first)}" if first else ""
    count = f"{_count(array)} of {array.size} values {'is' if array.size == 1 else 'are'}"
    return f"output {name!r}: {count} no finite number, {spelled(float(array[first]))} first{where}"
