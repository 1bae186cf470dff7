"""The subject of a measurement: a bundle's variant on a golden sample, or a plain model file on made-up input.

A plain file has no signature and no samples: floats are drawn from [0, 1), integers are 0, variable sizes are 1.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgemm.bundle import open_bundle
from edgemm.bundle.manifest import DType, Engine, Precision, Variant, VariantTensor
from edgemm.canonical import sha256
from edgemm.errors import EngineError, EngineUnavailableError, InputError
from edgemm_runtime.engines import golden, load
from edgemm_runtime.engines.interface import Array
from edgemm_runtime.engines.native_log import one_line
from edgemm_runtime.engines.opening import keep_to_itself, open_session
from edgemm_runtime.installed import available, entry_of

ENGINES_BY_SUFFIX = {".tflite": Engine.TFLITE, ".onnx": Engine.ONNX}
_ONNX_DTYPES = {"float": "float32", "double": "float64"}


@dataclass(frozen=True)
class Subject:
    """A loaded model: `run` is one inference, `grow` makes it ready for so many at once."""

    name: str
    file_bytes: int
    load_ms: float
    run: Callable[[], object]
    grow: Callable[[int], None]


def of_bundle(path: Path, variant_id: str, *, threads: int) -> Subject:
    """Load a variant; its inference goes through the whole signature.

    Raises:
        EngineError: the engine is missing or failed.
    """
    with open_bundle(path) as source:
        variant = source.manifest.variant(variant_id)
        data = source.read(variant.blob)
        sample = golden.read_samples(source).input(0)
        start = time.perf_counter()
        model = load(variant, source.manifest.signature, data, threads=threads)
        load_s = time.perf_counter() - start
    return Subject(variant_id, len(data), load_s * 1e3, lambda: model.run(sample), model.grow)


def of_file(path: Path, *, threads: int) -> Subject:
    """Load a `.tflite` or `.onnx` file; its inference is the engine's alone.

    Raises:
        InputError: it cannot be read.
        EngineError: the engine is missing or failed.
    """
    engine = ENGINES_BY_SUFFIX[path.suffix.lower()]
    try:
        data = path.read_bytes()
    except OSError as err:
        raise InputError(f"{path}: {err.strerror}") from err
    if engine not in available():
        entry = entry_of(engine)
        raise EngineUnavailableError(f"{path}: needs {entry.distribution}: pip install 'edgemm[{entry.extra}]'")
    keep_to_itself()
    described = _tflite(data) if engine is Engine.TFLITE else _onnx(data)
    variant = Variant(
        id=f"{engine.value}:file", engine=engine, precision=Precision.FLOAT32, minimum_engine="0",
        blob=sha256(data), inputs=described[0], outputs=described[1],
    )  # fmt: skip
    feeds = {tensor.tensor: _made_up(tensor) for tensor in variant.inputs}
    start = time.perf_counter()
    session = open_session(variant, data, threads=threads)
    load_s = time.perf_counter() - start
    return Subject(engine.value, len(data), load_s * 1e3, lambda: session.invoke(feeds), session.grow)


_Tensors = tuple[VariantTensor, ...]


def _tflite(data: bytes) -> tuple[_Tensors, _Tensors]:
    from edgemm_runtime.engines import native_log
    from edgemm_runtime.engines.interpreter import Interpreter

    try:
        with native_log.in_the_log():
            interpreter = Interpreter(model_content=data)
    except (ValueError, RuntimeError) as err:
        raise EngineError(f"LiteRT cannot load the file: {one_line(err)}") from err
    return (
        tuple(_tensor(d["name"], np.dtype(d["dtype"]).name, d["shape"]) for d in interpreter.get_input_details()),
        tuple(_tensor(d["name"], np.dtype(d["dtype"]).name, d["shape"]) for d in interpreter.get_output_details()),
    )


def _onnx(data: bytes) -> tuple[_Tensors, _Tensors]:
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    except Exception as err:
        raise EngineError(f"ONNX Runtime cannot load the file: {one_line(err)}") from err
    inputs, outputs = ([(d.name, _onnx_dtype(d.type), d.shape) for d in ds] for ds in _ends(session))
    return tuple(_tensor(*one) for one in inputs), tuple(_tensor(*one) for one in outputs)


def _ends(session: Any) -> tuple[list[Any], list[Any]]:
    return session.get_inputs(), session.get_outputs()


def _onnx_dtype(text: str) -> str:
    """Return NumPy's name of `tensor(float)` and its like."""
    name = text.removeprefix("tensor(").removesuffix(")")
    return _ONNX_DTYPES.get(name, name)


def _tensor(name: str, dtype: str, shape: Iterable[Any]) -> VariantTensor:
    try:
        kind = DType(dtype)
    except ValueError as err:
        raise EngineError(f"tensor {name!r} is of {dtype}, which is no number: it cannot be made up") from err
    sizes = tuple(int(size) if isinstance(size, (int, np.integer)) and size > 0 else 1 for size in shape)
    return VariantTensor(name=name, tensor=name, dtype=kind, shape=sizes)


def _made_up(tensor: VariantTensor) -> Array:
    dtype = np.dtype(tensor.dtype.value)
    if dtype.kind != "f":
        return np.zeros(tensor.shape, dtype)
    return np.random.default_rng(0).random(tensor.shape).astype(dtype)
