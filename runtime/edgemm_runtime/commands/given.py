"""Inputs on the command line: a `.npy`, `.npz` or `.json` file, `-` for stdin, or inline JSON."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edgemm.bundle.manifest import Signature, TensorSpec
from edgemm.errors import BadRequestError, InputError
from edgemm_runtime.serving.protocols.predict import codec as predict_codec
from edgemm_runtime.tensors import npy
from edgemm_runtime.tensors.inputs import describe
from edgemm_runtime.tensors.named_arrays import Array
from edgemm_runtime.tensors.named_inputs import by_name

STDIN = "-"


def read_given(text: str, signature: Signature) -> dict[str, Array]:
    """Return the arrays that `text` stands for, as the signature takes them.

    Raises:
        InputError: no such file, or not what the model takes.
    """
    try:
        if text == STDIN:
            return predict_codec.decode_request(sys.stdin.buffer.read(), signature)
        if text.lstrip()[:1] in {"[", "{"}:
            return predict_codec.decode_request(text.encode(), signature)
        return _read_file(Path(text), signature)
    except BadRequestError as err:
        what = "the given JSON" if text.lstrip()[:1] in {"[", "{"} else text
        raise InputError(f"{what}: {err}") from err


def _read_file(path: Path, signature: Signature) -> dict[str, Array]:
    try:
        if path.suffix in {".npy", ".npz"}:
            return _from_arrays(npy.load(path), signature)
        return predict_codec.decode_request(path.read_bytes(), signature)
    except OSError as err:
        raise InputError(f"cannot read input {path}: {err.strerror or err}") from err


def _from_arrays(arrays: Mapping[str, Array], signature: Signature) -> dict[str, Array]:
    """Match arrays with inputs by name; a single one needs no name."""
    if (named := by_name(arrays, signature.inputs)) is None:
        names = ", ".join(sorted(arrays)) or "none"
        raise BadRequestError(f"expected the arrays {describe(signature.inputs)}, found {names}")
    return {spec.name: predict_codec.batched(_same_kind(named[spec.name], spec), spec) for spec in signature.inputs}


def _same_kind(array: Array, spec: TensorSpec) -> Array:
    """Return a file's array in the input's dtype where that is the same kind of number: NumPy saves float64."""
    if np.can_cast(array.dtype, spec.dtype.value, casting="same_kind"):
        with np.errstate(over="ignore"):
            return array.astype(spec.dtype.value)
    return array
