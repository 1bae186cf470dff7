"""The runs of the sweep: cases of the same inputs are converted together, in one process. Imports TensorFlow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import keras
import numpy as np

from edgemm.bundle.manifest import Precision, Variant
from edgemm.canonical import sha256
from edgemm.errors import EdgemmError
from edgemm_converter.job import targets
from edgemm_converter.sources import keras3
from edgemm_converter.sources.served_function import SourceFunction
from edgemm_runtime import engines
from edgemm_runtime.engines import LoadedModel
from simulators.sweep import gaps
from simulators.sweep.case import Case, Table, fault
from simulators.sweep.given import SETS

REFUSED = "refused: "
ENGINES = ("tflite", "onnx")
_TOGETHER = 24


def measured(table: Table) -> dict[str, dict[str, str | None]]:
    """Return by engine and case what is wrong, None where all is right; what may be refused is tried alone."""
    found: dict[str, dict[str, str | None]] = {engine: {} for engine in ENGINES}
    for engine in ENGINES:
        apart = {**gaps.REFUSED[engine], **gaps.RANDOM}
        for group in _groups({name: case for name, case in table.items() if name not in apart}):
            found[engine] |= _tried(group, engine)
        for name in (name for name in table if name in apart):
            found[engine] |= _tried({name: table[name]}, engine)
    return found


def _groups(table: Table) -> Iterable[Table]:
    def alike(item: tuple[str, Case]) -> tuple[str, bool]:
        name, case = item
        return (case.given if isinstance(case.given, str) else name), case.fixed

    for _, same in groupby(sorted(table.items(), key=alike), key=alike):
        cases = list(same)
        for start in range(0, len(cases), _TOGETHER):
            yield dict(cases[start : start + _TOGETHER])


def _tried(group: Table, engine: str) -> dict[str, str | None]:
    """Convert cases as one model; where that is refused, halve them until it is known whose fault it is."""
    arrays = inputs(next(iter(group.values())))
    runs = [{f"x{i}": array[r : r + 1] for i, array in enumerate(arrays)} for r in range(len(arrays[0]))]
    try:
        model = served(group, arrays)
        opened = _opened(model, engine)
        found = [opened.run(one) for one in runs]
    except EdgemmError as err:
        if len(group) == 1:
            return dict.fromkeys(group, f"{REFUSED}{err}")
        names, half = list(group), len(group) // 2
        return {
            name: verdict
            for part in (names[:half], names[half:])
            for name, verdict in _tried({name: group[name] for name in part}, engine).items()
        }
    function = model.concrete(batch=None)
    wanted = [model.run(function, one) for one in runs]
    floats = arrays[0].dtype.kind == "f"
    return {
        name: fault(case, *(np.stack([o[f"y{i}"] for o in of]) for of in (wanted, found)), floats=floats)
        for i, (name, case) in enumerate(group.items())
    }


def inputs(case: Case) -> Sequence[Any]:
    return SETS[case.given] if isinstance(case.given, str) else case.given


def served(group: Table, arrays: Sequence[Any]) -> SourceFunction:
    """Return a Keras model of all cases of a group, as a source."""
    calls = {f"y{i}": case.call for i, case in enumerate(group.values())}

    class Asked(keras.layers.Layer):  # type: ignore[misc]  # Keras ships no types
        def call(self, *tensors: Any) -> dict[str, Any]:
            return {key: call(*tensors) for key, call in calls.items()}

        def compute_output_spec(self, *tensors: Any) -> Any:
            return keras.src.backend.compute_output_spec(self.call, *tensors)

    batch = 1 if next(iter(group.values())).fixed else None
    given = [
        keras.Input(array.shape[1:], batch_size=batch, dtype=array.dtype.name, name=f"x{i}")
        for i, array in enumerate(arrays)
    ]
    layers = [call for call in calls.values() if isinstance(call, keras.layers.Layer)]
    if layers:
        outputs = {key: call(given[0] if len(given) == 1 else given) for key, call in calls.items()}
    else:
        outputs = Asked(name="asked")(*given)
    return keras3.serve(keras.Model(given, outputs), path=Path("sweep"), shapes={})


def _opened(model: SourceFunction, engine: str) -> LoadedModel:
    """Convert a source as `edgemm convert` does, and open the file as a device does."""
    made = targets.target_of(engine).exporter(model, None).make(Precision.FLOAT32)
    variant = Variant(
        id=f"{engine}:float32", engine=engine, precision=Precision.FLOAT32, minimum_engine=made.minimum_engine,
        blob=sha256(made.data), inputs=made.inputs, outputs=made.outputs,
    )  # fmt: skip
    return engines.load(variant, model.signature, made.data)
