"""Inputs on the command line: a `.npy`, `.npz` or `.json` file, `-` for stdin, or inline JSON."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edgemm import plain_text
from edgemm.bundle.manifest import Manifest, TensorSpec
from edgemm.errors import BadRequestError, InputError
from edgemm_runtime.preprocessing import class_indices
from edgemm_runtime.serving.protocols.predict import codec as predict_codec
from edgemm_runtime.tensors import npy
from edgemm_runtime.tensors.inputs import describe
from edgemm_runtime.tensors.named_arrays import Array
from edgemm_runtime.tensors.named_inputs import by_name

STDIN = "-"


def read_given(text: str, manifest: Manifest) -> dict[str, Array]:
    """Return the arrays that `text` stands for, as the bundle's signature takes them.

    Raises:
        InputError: no such file, or not what the model takes.
    """
    try:
        if text == STDIN:
            body = plain_text.without_mark(sys.stdin.buffer.read(), name="stdin")
            return _decoded(body, manifest)
        if text.lstrip()[:1] in {"[", "{"}:
            return _decoded(text.encode(), manifest)
        return _read_file(Path(text), manifest)
    except BadRequestError as err:
        what = "the given JSON" if text.lstrip()[:1] in {"[", "{"} else text
        raise InputError(f"{what}: {err}") from err


def _decoded(body: bytes, manifest: Manifest) -> dict[str, Array]:
    return predict_codec.decode_request(body, manifest.signature, declared=manifest.preprocessing)


def _read_file(path: Path, manifest: Manifest) -> dict[str, Array]:
    try:
        if path.suffix in {".npy", ".npz"}:
            return _from_arrays(npy.load(path), manifest)
        return _decoded(plain_text.without_mark(path.read_bytes(), name=str(path)), manifest)
    except OSError as err:
        raise InputError(f"cannot read input {path}: {err.strerror or err}") from err


def _from_arrays(arrays: Mapping[str, Array], manifest: Manifest) -> dict[str, Array]:
    """Match arrays with inputs by name; a single one needs no name."""
    signature = manifest.signature
    if (named := by_name(arrays, signature.inputs)) is None:
        names = ", ".join(sorted(arrays)) or "none"
        raise BadRequestError(f"expected the arrays {describe(signature.inputs)}, found {names}")
    return {
        spec.name: predict_codec.batched(_made(named[spec.name], spec, manifest), spec) for spec in signature.inputs
    }


def _made(array: Array, spec: TensorSpec, manifest: Manifest) -> Array:
    same = _same_kind(array, spec)
    return class_indices.rows(same, spec, (manifest.preprocessing or {}).get(spec.name))


def _same_kind(array: Array, spec: TensorSpec) -> Array:
    """Return a file's array in the input's dtype where that is the same kind of number: NumPy saves float64."""
    if np.can_cast(array.dtype, spec.dtype.value, casting="same_kind"):
        with np.errstate(over="ignore"):
            return array.astype(spec.dtype.value)
    return array
