"""A user's data by columns, matched to the inputs of a model of tables: cells of text become what an input takes. Pure.

Data of columns are arrays [samples] by name: text of fixed width as a CSV has it, or numbers, texts and truth values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgemm.bundle.manifest import MISSING_TEXT, DType, TensorSpec
from edgemm.errors import InputError
from edgemm_converter.data.arrays import Array
from edgemm_runtime.tensors import csv_table
from edgemm_runtime.tensors.element_types import OBJECT, numpy_dtype

_SHOWN = 40


def for_inputs(
    found: Mapping[str, Array], inputs: Sequence[TensorSpec], order: Sequence[str], *, path: str
) -> Mapping[str, Array]:
    """Return data by the names of inputs: columns of one table together, others each as its input takes it.

    Columns that no input has are left out where all inputs are columns. Data that are no columns stay as they are.

    Raises:
        InputError: a cell is not what its input takes.
    """
    if not found or any(array.ndim != 1 for array in found.values()):
        return found
    if len(inputs) == 1 and len(inputs[0].shape) == 2:
        return _together(found, inputs[0], order, path=path)
    if any(spec.shape != (-1,) for spec in inputs):
        return found
    if len(inputs) == len(found) == 1:
        return {spec.name: _column(array, spec, path=path) for spec, array in zip(inputs, found.values(), strict=True)}
    if missing := [spec.name for spec in inputs if spec.name not in found]:
        raise InputError(
            f"{path}: expected a column for each input, {', '.join(spec.name for spec in inputs)[:200]}; missing: "
            f"{', '.join(map(repr, missing))[:200]}"
        )
    return {spec.name: _column(found[spec.name], spec, path=path) for spec in inputs}


def as_rows(columns: Sequence[Array]) -> Array | None:
    """Return columns of numbers as one table, those that are missing as NaN; None where some are no numbers."""
    try:
        told = [np.where(one == "", "nan", one) if one.dtype.kind == "U" else one for one in columns]
        return np.stack([one.astype(np.float64) for one in told], axis=1)
    except ValueError:
        return None


def _together(found: Mapping[str, Array], spec: TensorSpec, order: Sequence[str], *, path: str) -> Mapping[str, Array]:
    spelled = {name.replace(" ", "_"): array for name, array in found.items()}  # as LightGBM keeps names
    if set(order) <= set(spelled) and len(spelled) == len(found):
        found = found if set(order) <= set(found) else spelled
    names = list(order) if order and set(order) <= set(found) else list(found)
    if names != list(order) and (known := set(order) & set(found)):
        missing = ", ".join(repr(name) for name in order if name not in known)
        raise InputError(
            f"{path}: expected the columns that the model was fitted on, {', '.join(order)[:200]}; missing: "
            f"{missing[:200]}: name them as there, or leave the line of names out where they stand in that order"
        )
    if len(names) != spec.shape[1] or len(names) == len(found) == 1:
        return found
    columns = [_numbers(found[name], name, missing=bool(spec.missing), path=path) for name in names]
    return {spec.name: np.stack(columns, axis=1)}


def _column(array: Array, spec: TensorSpec, *, path: str) -> Array:
    if spec.dtype is DType.STRING:
        if array.dtype.kind != "U":
            raise InputError(f"{path}: column {spec.name!r}: expected texts, found {array.dtype}")
        texts = array.astype(OBJECT)
        return np.where(texts == "", MISSING_TEXT, texts) if spec.missing else texts
    if array.dtype.kind != "U":
        return array
    kind = numpy_dtype(spec.dtype).kind
    if kind == "f":
        return _numbers(array, spec.name, missing=bool(spec.missing), path=path)
    cells = array.tolist()
    values = csv_table.column(cells, kind=kind, missing=False)
    if isinstance(values, int):
        raise _wrong(cells, values, spec.name, csv_table.EXPECTED[kind], path=path)
    return np.array(values, numpy_dtype(spec.dtype))


def _numbers(array: Array, name: str, *, missing: bool, path: str) -> Array:
    if array.dtype.kind != "U":
        return array
    cells = array.tolist()
    values = csv_table.column(cells, kind="f", missing=missing)
    if isinstance(values, int):
        expected = "a number" if cells[values].strip() else "a number, for the model takes no missing values there"
        raise _wrong(cells, values, name, expected, path=path)
    return np.array(values, np.float64)


def _wrong(cells: Sequence[str], place: int, name: str, expected: str, *, path: str) -> InputError:
    found = repr(cells[place][:_SHOWN]) if cells[place].strip() else "an empty cell"
    return InputError(f"{path}, sample {place + 1}, column {name!r}: expected {expected}, found {found}")
