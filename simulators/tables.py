"""Bundles whose inputs are columns of several types, strings among them: what a pipeline of scikit-learn becomes.

make_table(tmp_path / "visits-1.0.0.edgemm")
answer(rows)        # what it answers, computed without an engine
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from edgemm.bundle import write_bundle
from edgemm.bundle.engine_facts import Engine
from edgemm.bundle.manifest import (
    FORMAT,
    Blob,
    DType,
    GoldenSamples,
    Lineage,
    Manifest,
    Precision,
    Signature,
    TensorSpec,
    Tolerance,
    Variant,
    VariantTensor,
)
from edgemm_runtime.tensors.named_arrays import Array
from edgemm_runtime.tensors.npy import write_npy

VARIANT = "onnx:float32"
CITIES: Mapping[str, float] = {"Graz": 1.0, "Wien": 2.0, "Linz, Donau": 3.0, "": 4.0}
UNKNOWN_CITY = -1.0
USUAL_AGE = 40.0
LABELS = ("bleibt", "geht ✓")
NEEDS = "0.3.0"
INPUTS = (
    TensorSpec(name="age", dtype=DType.FLOAT32, shape=(-1, 1), missing=True),
    TensorSpec(name="visits", dtype=DType.INT64, shape=(-1, 1)),
    TensorSpec(name="city", dtype=DType.STRING, shape=(-1, 1)),
    TensorSpec(name="member", dtype=DType.BOOL, shape=(-1,)),
)
OUTPUTS = (
    TensorSpec(name="label", dtype=DType.STRING, shape=(-1,)),
    TensorSpec(name="score", dtype=DType.FLOAT32, shape=(-1, 1)),
    TensorSpec(name="seen", dtype=DType.STRING, shape=(-1, 1)),
)
_TYPES = {
    DType.FLOAT32: TensorProto.FLOAT, DType.INT64: TensorProto.INT64, DType.STRING: TensorProto.STRING,
    DType.BOOL: TensorProto.BOOL,
}  # fmt: skip


class Row(NamedTuple):
    """One row of the table; an age of None is missing."""

    age: float | None
    visits: int
    city: str
    member: bool


ROWS = (Row(31.0, 2, "Graz", member=True), Row(None, 40, "Wien", member=False), Row(27.5, 0, "Berlin", member=False))


def answer(rows: Sequence[Row]) -> dict[str, Any]:
    """Return what the model answers to rows, as nested lists; scores as float64 has them."""
    scores = [
        (USUAL_AGE if row.age is None or math.isnan(row.age) else row.age) / 8
        + row.visits / 4
        + CITIES.get(row.city, UNKNOWN_CITY)
        + row.member
        for row in rows
    ]
    return {
        "label": [LABELS[score > 8] for score in scores],
        "score": [[score] for score in scores],
        "seen": [[row.city] for row in rows],
    }


def arrays(rows: Sequence[Row]) -> dict[str, Array]:
    """Return rows as the model's inputs."""
    ages = [math.nan if row.age is None else row.age for row in rows]
    return {
        "age": np.array(ages, np.float32).reshape(-1, 1),
        "visits": np.array([row.visits for row in rows], np.int64).reshape(-1, 1),
        "city": np.array([row.city for row in rows], object).reshape(-1, 1),
        "member": np.array([row.member for row in rows]),
    }


def make_table(path: Path, name: str = "visits", *, version: str = "1.0.0", member: bool = True) -> Manifest:
    """Write the bundle and return its manifest; without `member`, that is no input and counts as false."""
    inputs = INPUTS if member else INPUTS[:-1]
    rows = ROWS if member else tuple(row._replace(member=False) for row in ROWS)
    told = answer(rows)
    golden = {key: array[:, np.newaxis] for key, array in arrays(rows).items()} | {
        "label": np.array(told["label"], object)[:, np.newaxis],
        "score": np.array(told["score"], np.float32)[:, np.newaxis],
        "seen": np.array(told["seen"], object)[:, np.newaxis],
    }
    golden = {spec.name: golden[spec.name] for spec in (*inputs, *OUTPUTS)}
    files = {"": _model(inputs), **{key: write_npy(array) for key, array in golden.items()}}
    digests = {key: hashlib.sha256(data).hexdigest() for key, data in files.items()}
    manifest = Manifest(
        format=FORMAT,
        name=name,
        version=version,
        minimum_runtime=NEEDS,
        signature=Signature(inputs=inputs, outputs=OUTPUTS),
        variants=(
            Variant(
                id=VARIANT, engine=Engine.ONNX, precision=Precision.FLOAT32, minimum_engine="1.17.0.0",
                blob=digests[""], inputs=_tensors(inputs), outputs=_tensors(OUTPUTS),
            ),
        ),
        golden=GoldenSamples(
            samples=len(ROWS),
            inputs={spec.name: digests[spec.name] for spec in inputs},
            outputs={spec.name: digests[spec.name] for spec in OUTPUTS},
            tolerance={VARIANT: {spec.name: Tolerance(max_abs=0 if _is_text(spec) else 1e-4) for spec in OUTPUTS}},
        ),
        parity=(),
        lineage=Lineage(
            source_name="visits.skops", source_digest="0" * 64, source_format="sklearn", libraries={}, options={},
        ),
        blobs={
            digests[key]: Blob(size=len(data), media_type="application/octet-stream") for key, data in files.items()
        },
    )  # fmt: skip
    write_bundle(path, manifest, {digests[key]: data for key, data in files.items()})
    return manifest


def _model(inputs: Sequence[TensorSpec]) -> bytes:
    """Return score = age / 8 + visits / 4 + code of the city + member, and a label for more than 8."""
    weights = {
        "usual": np.array(USUAL_AGE, np.float32), "eighth": np.array(0.125, np.float32),
        "quarter": np.array(0.25, np.float32), "limit": np.array(8, np.float32), "column": np.array([-1, 1]),
        "flat": np.array([-1]),
    }  # fmt: skip
    has_member, summands = len(inputs) == len(INPUTS), ("of_age", "of_visits", "of_city")
    of_member = [
        helper.make_node("Cast", ["member"], ["ones"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["ones", "column"], ["of_member"]),
    ]
    nodes = [
        helper.make_node("IsNaN", ["age"], ["unknown"]),
        helper.make_node("Where", ["unknown", "usual", "age"], ["filled"]),
        helper.make_node("Mul", ["filled", "eighth"], ["of_age"]),
        helper.make_node("Cast", ["visits"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["floats", "quarter"], ["of_visits"]),
        helper.make_node(
            "LabelEncoder", ["city"], ["of_city"], domain="ai.onnx.ml", keys_strings=list(CITIES),
            values_floats=list(CITIES.values()), default_float=UNKNOWN_CITY,
        ),
        *(of_member if has_member else []),
        helper.make_node("Sum", [*summands, *["of_member"] * has_member], ["score"]),
        helper.make_node("Greater", ["score", "limit"], ["high"]),
        helper.make_node("Reshape", ["high", "flat"], ["each"]),
        helper.make_node("Cast", ["each"], ["class"], to=TensorProto.INT64),
        helper.make_node(
            "LabelEncoder", ["class"], ["label"], domain="ai.onnx.ml", keys_int64s=[0, 1], values_strings=list(LABELS),
        ),
        helper.make_node("Identity", ["city"], ["seen"]),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes, "visits", *([_described(spec) for spec in specs] for specs in (inputs, OUTPUTS)),
        [numpy_helper.from_array(array, key) for key, array in weights.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString())


def _described(spec: TensorSpec) -> Any:
    return helper.make_tensor_value_info(spec.name, _TYPES[spec.dtype], ["batch", *spec.shape[1:]])


def _tensors(specs: Sequence[TensorSpec]) -> tuple[VariantTensor, ...]:
    return tuple(VariantTensor(name=s.name, tensor=s.name, dtype=s.dtype, shape=s.shape) for s in specs)


def _is_text(spec: TensorSpec) -> bool:
    return spec.dtype is DType.STRING
