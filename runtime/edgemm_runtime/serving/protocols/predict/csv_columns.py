"""CSV as a table: the first line has the inputs' names, in any order, and each other line is a row. Pure.

It is read so for a model of several inputs, and for one that takes strings. Each input is then a column, [n] or [n, 1].
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from edgemm.bundle.manifest import DType, Signature, TensorSpec
from edgemm.errors import BadRequestError
from edgemm_runtime.memory.memory_budget import hold
from edgemm_runtime.tensors import csv_table
from edgemm_runtime.tensors.element_types import numpy_dtype
from edgemm_runtime.tensors.inputs import batched, describe, is_column
from edgemm_runtime.tensors.json_memory import hold_csv
from edgemm_runtime.tensors.named_arrays import Array
from edgemm_runtime.tensors.named_inputs import missing_names, unknown_names
from edgemm_runtime.tensors.numbers import to_array

_LOOKED_AT = 4096
_CELL, _NAMES = 40, 200
_ENGINE_BYTES = 40
"""What the engine's copy of a cell takes beside its characters."""


def takes_table(signature: Signature) -> bool:
    """Tell whether CSV for a model has its inputs as columns, by name."""
    return len(signature.inputs) > 1 or signature.inputs[0].dtype is DType.STRING


def seems_table(data: bytes, signature: Signature) -> bool:
    """Tell whether bytes that say nothing of themselves are such a table: the first line names all inputs."""
    first, end, _ = csv_table.decode(data[:_LOOKED_AT]).lstrip().partition("\n")
    found = {cell.strip().strip('"') for cell in first.strip().replace("\t", ",").replace(";", ",").split(",")}
    return bool(end) and {spec.name for spec in signature.inputs} <= found


def read(body: bytes, signature: Signature) -> dict[str, Array]:
    """Return the inputs of a table.

    Raises:
        BadRequestError: it is no CSV of UTF-8, its columns are not the inputs, or a cell is not what its column takes.
    """
    for spec in signature.inputs:
        if not is_column(spec):
            found = describe((spec,))
            raise BadRequestError(f"expected JSON: in CSV each input is a column, and the model takes {found}")
    hold_csv(body)
    table = csv_table.read_named(csv_table.decode_strictly(body))
    hold(len(table.rows) * len(table.header or []) * _ENGINE_BYTES + len(body))
    places = _places(table.header or [], signature)
    if not table.rows:
        raise BadRequestError("expected at least one line below the names of columns, found none")
    width = len(table.header or [])
    for row, line in zip(table.rows, table.numbers, strict=True):
        if len(row) != width:
            raise BadRequestError(f"line {line}: expected {width} cells, as many as there are names, found {len(row)}")
    columns = {spec.name: [row[places[spec.name]] for row in table.rows] for spec in signature.inputs}
    if table.decimal_commas:
        numbers = [spec.name for spec in signature.inputs if spec.dtype is not DType.STRING]
        columns |= csv_table.with_points({name: columns[name] for name in numbers})
    return {spec.name: _array(columns[spec.name], table.numbers, spec) for spec in signature.inputs}


def _places(header: Sequence[str], signature: Signature) -> dict[str, int]:
    """Return in which place each input's column stands."""
    doubled = [name for name, count in Counter(header).items() if count > 1]
    unknown, missing = unknown_names(header, signature.inputs), missing_names(header, signature.inputs)
    wrong = [
        f"{what} {', '.join(repr(name[:_CELL]) for name in names)[:_NAMES]}"
        for what, names in (("there twice:", doubled), ("unknown:", unknown), ("missing:", missing))
        if names
    ]
    if wrong:
        nameless = "" if "" not in header else " (a column without a name, such as an index, is left out)"
        raise BadRequestError(
            f"the first line: expected columns named as the inputs, {describe(signature.inputs)}, found "
            f"{'; '.join(wrong)}{nameless}"
        )
    return {name: place for place, name in enumerate(header)}


def _array(cells: list[str], lines: Sequence[int], spec: TensorSpec) -> Array:
    if spec.dtype is DType.STRING:
        return batched(to_array([cell or None for cell in cells] if spec.missing else cells, spec), spec)
    kind = numpy_dtype(spec.dtype).kind
    found = csv_table.column(cells, kind=kind, missing=bool(spec.missing))
    if isinstance(found, int):
        cell, expected = cells[found].strip(), csv_table.EXPECTED[kind]
        what = repr(cell[:_CELL]) if cell else "an empty cell"
        why = ", and the model takes no missing values" if not cell and kind == "f" else ""
        raise BadRequestError(f"line {lines[found]}, column {spec.name!r}: expected {expected}, found {what}{why}")
    return batched(to_array(found, spec), spec)
