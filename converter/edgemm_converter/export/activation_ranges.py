"""The ranges that calibration found for the tensors of a TFLite file, and which of them integers can stand for.

A range is the smallest and the largest value of a tensor, by the tensor's name. Needs LiteRT, and no TensorFlow.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgemm.errors import ConversionError
from edgemm_converter.data.arrays import Array
from edgemm_converter.data.datasets import widened
from edgemm_converter.job import naming


def usable(ranges: dict[str, dict[str, Array]], file: bytes) -> Any:
    """Return the ranges as the quantizer is to take them.

    Raises:
        ConversionError: a tensor became infinite or NaN.
    """
    _check_finite(ranges)
    return _widened(ranges, file)


def _check_finite(ranges: Mapping[str, Mapping[str, Array]]) -> None:
    """Check that no tensor became infinite or NaN on the calibration data: there is no scale for that.

    Raises:
        ConversionError: one did; names the first.
    """
    for name, found in ranges.items():
        ends = [np.asarray(found[end], np.float32) for end in ("min", "max") if found.get(end) is not None]
        with np.errstate(over="ignore", invalid="ignore"):
            width = ends[-1] - ends[0] if ends else np.float32(0)  # in which the quantizer computes the scale
        if not np.isfinite(width).all():
            raise ConversionError(
                f"TFLite: {naming.readable(name)} becomes infinite or NaN on the calibration data, so that no integers "
                "can stand for it: scale the inputs, bound what comes before it, or leave integer precisions out"
            )


def _widened(ranges: dict[str, dict[str, Array]], file: bytes) -> Any:
    """Give an input that was one number in all samples the range in which it is said to be taken.

    Of that number alone, as of an initial state of zeros, no other value would be left.
    """
    graph = schema.ModelT.InitFromPackedBuf(file, 0).subgraphs[0]
    for name in (graph.tensors[index].name.decode() for index in graph.inputs):
        found = ranges.get(name, {})
        low, high = found.get("min"), found.get("max")
        if low is not None and high is not None and np.size(low) == 1 and np.array_equal(low, high):
            reach = widened(float(np.reshape(low, -1)[0]))
            ranges[name] = {**found, "min": np.full_like(low, -reach), "max": np.full_like(high, reach)}
    return ranges
