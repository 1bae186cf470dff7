"""The user's data in a child process: `.npz` files that the parent wrote, matched to the model's inputs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgemm.bundle.manifest import TensorSpec
from edgemm_converter.children.protocol import ExportRequest, StagedData
from edgemm_converter.data import arrays, column_data, datasets, preprocessing
from edgemm_converter.data.arrays import Array
from edgemm_converter.data.datasets import LABELS


def matched(
    request: ExportRequest, inputs: tuple[TensorSpec, ...], *, order: Sequence[str] = ()
) -> tuple[dict[str, Array] | None, dict[str, Array] | None]:
    """Return the calibration and the evaluation inputs [samples, …] by name, None where there are none.

    Named columns of numbers become the columns of one input, in the `order` of its names where these are known.

    Raises:
        InputError: data or declared pre-processing do not fit the model, or one another.
    """
    preprocessing.check(request.preprocessing, inputs)
    calibration, evaluation = (_read(data, inputs, order) for data in (request.calibration, request.evaluation))
    if calibration is not None and request.calibration is not None:
        datasets.check_scales(calibration, evaluation or {}, path=request.calibration.shown)
    return calibration, evaluation


def _read(data: StagedData | None, inputs: tuple[TensorSpec, ...], order: Sequence[str]) -> dict[str, Array] | None:
    if data is None:
        return None
    found = arrays.read(Path(data.file))
    if LABELS not in {spec.name for spec in inputs}:
        found.pop(LABELS, None)
    return arrays.match(column_data.for_inputs(found, inputs, order, path=data.shown), inputs, path=data.shown)
