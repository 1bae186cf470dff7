"""The check of arrays against a signature, made before anything reaches an engine. Pure."""

from __future__ import annotations

from collections.abc import Collection

from edgemm.bundle.manifest import Signature, TensorSpec
from edgemm.errors import BadRequestError
from edgemm_runtime.tensors.element_types import OBJECT, numpy_dtype
from edgemm_runtime.tensors.named_arrays import Array, Arrays
from edgemm_runtime.tensors.named_inputs import are_names, missing_names, unknown_names


def check_inputs(signature: Signature, inputs: Arrays) -> None:
    """Compare names, dtypes and shapes with the signature; a variable first dimension is the batch, one for all inputs.

    It is not where the signature says that rows have a part in each other.

    Raises:
        BadRequestError: one differs; the message says what was expected and found.
    """
    check_names(signature, inputs)
    for spec in signature.inputs:
        check_array(spec, inputs[spec.name])
    batches = {spec.name: len(inputs[spec.name]) for spec in signature.inputs if spec.shape[:1] == (-1,)}
    if signature.row_by_row and len(set(batches.values())) > 1:
        raise BadRequestError(f"expected one length of the first dimension of all inputs, found {batches}")


def check_names(signature: Signature, names: Collection[str]) -> None:
    """Compare the names of inputs with the signature.

    Raises:
        BadRequestError: one is unknown or missing.
    """
    if are_names(names, signature.inputs):
        return
    if unknown := unknown_names(names, signature.inputs):
        raise BadRequestError(f"unknown input {unknown[0]!r}; the model takes {describe(signature.inputs)}")
    [first, *_] = missing_names(names, signature.inputs)
    raise BadRequestError(f"input {first!r} is missing; the model takes {describe(signature.inputs)}")


def check_array(spec: TensorSpec, array: Array) -> None:
    """Compare one array with its tensor.

    Raises:
        BadRequestError: its dtype or shape differs.
    """
    if array.dtype != numpy_dtype(spec.dtype):
        found = "string" if array.dtype is OBJECT else array.dtype
        raise BadRequestError(f"input {spec.name!r}: expected {spec.dtype}, found {found}")
    if not fits(spec.shape, array.shape):
        empty = "" if array.size else ", which has no values: send at least one sample"
        expected = f"expected shape {list(spec.shape)}"
        raise BadRequestError(f"input {spec.name!r}: {expected}, found {list(array.shape)}{empty}")


def batched(array: Array, spec: TensorSpec) -> Array:
    """Return an array with the batch dimension that a single sample may leave out; a column may have one axis or two.

    Raises:
        BadRequestError: it is not of the signature's dtype and shape.
    """
    if array.ndim != len(spec.shape):
        if is_column(spec):
            array = as_column(array, spec)
        elif array.ndim == len(spec.shape) - 1 and spec.shape[0] in {-1, 1}:
            array = array[None]
    check_array(spec, array)
    return array


def is_column(spec: TensorSpec) -> bool:
    """Tell whether an input has one value a row: [n] or [n, 1], where n is variable or 1."""
    shape = spec.shape
    return bool(shape) and shape[0] in {-1, 1} and (len(shape) == 1 or shape[1:] == (1,))


def as_column(array: Array, spec: TensorSpec) -> Array:
    """Return the values of a column with the axes that it has; a single value is a batch of one row."""
    if array.ndim <= 1 or (array.ndim == 2 and array.shape[1] == 1):
        return array.reshape(-1, *spec.shape[1:])
    return array


def fits(shape: tuple[int, ...], found: tuple[int, ...], *, least: int = 1) -> bool:
    """Tell whether a concrete shape is one of `shape`, where −1 stands for any length from `least`."""
    same_rank = len(shape) == len(found)
    return same_rank and all((n == m >= 0) or (n == -1 and m >= least) for n, m in zip(shape, found, strict=True))


def describe(specs: tuple[TensorSpec, ...]) -> str:
    """Return tensors as text for a message: `image float32[-1, 8, 8]`."""
    return ", ".join(f"{s.name} {s.dtype}{list(s.shape)}" for s in specs)
