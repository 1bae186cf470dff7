"""Many numbers in TensorFlow Serving's JSON, read and written in pieces. Pure."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET, Struct, UnsetType

from edgemm.bundle.manifest import Signature
from edgemm_runtime.http import json_faults
from edgemm_runtime.tensors import pieces
from edgemm_runtime.tensors.named_arrays import Array, Arrays
from edgemm_runtime.tensors.named_inputs import are_names
from edgemm_runtime.tensors.numbers import read_nested

_SIGNATURES = {"serving_default", "", None}
_MOST_OBJECTS, _FIRST_BYTES = 4096, 16


class _Request(Struct, frozen=True):
    instances: msgspec.Raw | UnsetType = UNSET
    inputs: msgspec.Raw | UnsetType = UNSET
    signature_name: str | None = None


def read(body: bytes, signature: Signature) -> tuple[dict[str, Array], bool] | None:
    """Return the inputs of a large request of `:predict`, and whether it lists samples.

    None for everything else, right or wrong.
    """
    if len(body) <= pieces.PIECE_BYTES:
        return None
    specs = signature.inputs
    try:
        found = msgspec.json.decode(json_faults.without_mark(body), type=_Request)
        given = {name: bytes(raw) for name in ("instances", "inputs") if (raw := getattr(found, name)) is not UNSET}
        given = {name: raw for name, raw in given.items() if raw != b"null"}
        if len(given) != 1 or found.signature_name not in _SIGNATURES:
            return None
        [(key, raw)] = given.items()
        if raw[:1] == b"{":
            named = {} if key == "instances" else _parts(raw)
        else:
            named = _rows(raw) if key == "instances" and b"{" in raw[:_FIRST_BYTES] else {specs[0].name: raw}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not are_names(named, specs):
        return None
    read = {spec.name: read_nested(named[spec.name], spec, batched=True) for spec in specs}
    arrays = {name: array for name, array in read.items() if array is not None}
    return (arrays, key == "instances") if len(arrays) == len(read) else None


def _parts(raw: bytes) -> dict[str, bytes]:
    return {name: bytes(value) for name, value in msgspec.json.decode(raw, type=dict[str, msgspec.Raw]).items()}


def _rows(raw: bytes) -> dict[str, bytes]:
    """Return a list of samples with their inputs by name as a list of each input; empty where they are too many."""
    if raw.count(b"{") > _MOST_OBJECTS:
        return {}
    rows = msgspec.json.decode(raw, type=list[dict[str, msgspec.Raw]])
    if any(row.keys() != rows[0].keys() for row in rows):
        return {}
    return {name: b"[" + b",".join([bytes(row[name]) for row in rows]) + b"]" for name in rows[0]}


def listed(array: Array) -> Any:
    """Return an array as lists, or as JSON where it is large or has the tokens NaN and Infinity."""
    encode = encoder({"": array})
    return pieces.listed(array) if encode is msgspec.json.encode else msgspec.Raw(pieces.json_of(array, encode))


def encoder(outputs: Arrays) -> pieces.Encode:
    """Return what writes these outputs."""
    finite = all(array.dtype.kind != "f" or np.isfinite(array).all() for array in outputs.values())
    return msgspec.json.encode if finite else _with_tokens


def _with_tokens(values: Any) -> bytes:
    return json.dumps(values).encode()
