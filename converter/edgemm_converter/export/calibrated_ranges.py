"""The ranges of the tensors of a float TFLite file on calibration data, as ai-edge-quantizer takes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from ai_edge_quantizer import calibrator, recipe_manager
from ai_edge_quantizer.quantizer import Quantizer
from ai_edge_quantizer.utils import qsv_utils

from edgemm_converter.children import array_files
from edgemm_converter.data.arrays import Array
from edgemm_converter.export import activation_ranges
from edgemm_converter.export.learned_ranges import Learned

_SIGNATURE = "serving_default"


def of(learned: Learned, quantizer: Quantizer, calibration: Mapping[str, Array] | None) -> Any:
    """Return the range of each tensor: what was learned, else that over all calibration samples.

    The quantizer's own choice, a moving average of each sample's range, cuts off most of a small tensor's values.
    """
    assert calibration is not None
    recipes = recipe_manager.RecipeManager()
    recipes.load_quantization_recipe(quantizer.get_quantization_recipe())
    samples = list(array_files.each_run(calibration))
    watcher = calibrator.Calibrator(learned.file, num_threads=1, qsv_update_func=qsv_utils.min_max_update)
    watcher._tfl_interpreter = _Readable(watcher._tfl_interpreter)  # noqa: SLF001 - it takes no interpreter
    watcher.calibrate({_SIGNATURE: samples}, recipes)
    ranges = watcher.get_model_qsvs()
    for name, limits in learned.ranges.items():
        if name in ranges:
            ranges[name] |= {
                end: np.full_like(ranges[name][end], x) for end, x in zip(("min", "max"), limits, strict=True)
            }
    return activation_ranges.usable(ranges, learned.file)


class _Readable:
    """An interpreter that tells of no tensor without values, as what a loop leaves unused is."""

    def __init__(self, interpreter: Any) -> None:
        self._interpreter = interpreter

    def __getattr__(self, name: str) -> Any:
        return getattr(self._interpreter, name)

    def get_tensor_details(self, subgraph_index: int = 0) -> list[Any]:
        """Return what the interpreter tells of the tensors that hold values."""
        return [d for d in self._interpreter.get_tensor_details(subgraph_index) if self._has_values(d, subgraph_index)]

    def _has_values(self, detail: Mapping[str, Any], subgraph_index: int) -> bool:
        try:
            self._interpreter.get_tensor(detail["index"], subgraph_index)
        except ValueError:
            return False
        return True
