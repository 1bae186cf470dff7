"""LiteRT (`ai-edge-litert`), or `tflite-runtime` in its place: TFLite flatbuffers.

An interpreter is one set of tensors in memory, so a lock is held from writing its inputs to copying its outputs;
`invoke` itself releases the GIL. Variable dimensions are resized when a request's shape differs from the last one. A
file whose variable dimensions are more than the batch says 1 for each, a size that it may not be able to compute: such
a one gets its memory with the first request.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np

from edgemm.errors import EngineError
from edgemm.manifest import Variant, VariantTensor
from edgemm_runtime.engines import native_log
from edgemm_runtime.engines.interpreter import Interpreter
from edgemm_runtime.engines.model import Array, Arrays


def open_session(variant: Variant, model: bytes, threads: int) -> LiteRtSession:
    """Load a flatbuffer.

    Raises:
        EngineError: it is damaged, or lacks a tensor of `variant`.
    """
    try:
        with native_log.in_the_log():
            interpreter = Interpreter(model_content=model, num_threads=threads)
            if not _is_sized_by_requests(interpreter):
                interpreter.allocate_tensors()
        return LiteRtSession(interpreter, variant)
    except (ValueError, RuntimeError) as err:
        raise EngineError(f"LiteRT cannot load the file: {_one_line(err)}") from err


class LiteRtSession:
    """One interpreter and its lock."""

    def __init__(self, interpreter: Interpreter, variant: Variant) -> None:
        self._interpreter = interpreter
        self._lock = threading.Lock()
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        self._inputs = {t.tensor: _find(t, inputs, what="input") for t in variant.inputs}
        self._outputs = {t.tensor: _find(t, outputs, what="output") for t in variant.outputs}
        if unfed := {d["name"] for d in inputs} - set(self._inputs):
            raise EngineError(f"the file's input {min(unfed)!r} is not among the variant's")
        self._allocated = not _is_sized_by_requests(interpreter)
        self._shapes = {d["name"]: tuple(d["shape"]) for d in inputs}

    def invoke(self, feeds: Arrays) -> dict[str, Array]:
        """Compute the outputs; see `Session`."""
        try:
            with self._lock:
                self._resize(feeds)
                for name, array in feeds.items():
                    self._interpreter.set_tensor(self._inputs[name], array)
                self._interpreter.invoke()
                return {name: self._interpreter.get_tensor(index) for name, index in self._outputs.items()}
        except (ValueError, RuntimeError) as err:
            raise EngineError(f"LiteRT failed: {_one_line(err)}") from err

    def _resize(self, feeds: Arrays) -> None:
        changed = {name: a.shape for name, a in feeds.items() if self._shapes[name] != a.shape}
        if not changed and self._allocated:
            return
        # Forgotten first: if resizing fails half way, the next request resizes again.
        self._shapes.update(dict.fromkeys(changed, ()))
        for name, shape in changed.items():
            self._interpreter.resize_tensor_input(self._inputs[name], shape)
        with nullcontext() if self._allocated else native_log.in_the_log():
            self._interpreter.allocate_tensors()
        self._allocated = True
        self._shapes.update(changed)


def _is_sized_by_requests(interpreter: Interpreter) -> bool:
    return any(-1 in details["shape_signature"][1:] for details in interpreter.get_input_details())


def _find(tensor: VariantTensor, details: Iterable[Mapping[str, Any]], *, what: str) -> int:
    """Return the index of a tensor by its name in the file, where that name is unique."""
    found = {int(d["index"]): np.dtype(d["dtype"]) for d in details if d["name"] == tensor.tensor}
    if len(found) != 1:
        names = ", ".join(sorted(d["name"] for d in details))
        raise EngineError(f"expected one {what} {tensor.tensor!r} in the file, found {len(found)} among {names}")
    index, dtype = found.popitem()
    if dtype != np.dtype(tensor.dtype.value):
        raise EngineError(f"{what} {tensor.tensor!r} is {dtype} in the file, {tensor.dtype} in the manifest")
    return index


def _one_line(err: Exception) -> str:
    return " ".join(str(err).split())[:400]
