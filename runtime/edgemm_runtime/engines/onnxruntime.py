"""The engine for ONNX files: ONNX Runtime on the CPU, with one session for any number of threads."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from importlib.resources import files
from typing import Any

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as states

from edgemm import library_errors
from edgemm.bundle.manifest import Variant
from edgemm.errors import EngineError
from edgemm_runtime.engines.drivers import Described, FileTensor
from edgemm_runtime.engines.pacing import Rest, no_rest
from edgemm_runtime.tensors.named_arrays import Array, Arrays

_CREATING = threading.Lock()  # creating two sessions at once is a race inside ONNX Runtime
_ONLY_FATAL = 4
_MOST_OPTIONS = 256
_DTYPES = {"float": "float32", "double": "float64"}
# Its exceptions have no common base but Exception, and which there are differs between releases.
_FAILURES: tuple[type[Exception], ...] = (
    RuntimeError, ValueError, *(e for e in vars(states).values() if isinstance(e, type) and issubclass(e, Exception)),
)  # fmt: skip


def open_session(variant: Variant, model: bytes, threads: int) -> OnnxSession:
    """Load an ONNX model.

    Raises:
        EngineError: it is damaged, or lacks a tensor of `variant`.
    """
    return OnnxSession(_open(model, threads), variant)


def describe(model: bytes) -> Described:
    """Return the tensors of a plain file; see `Driver`.

    Raises:
        EngineError: it is damaged.
    """
    session = _open(model, 1)
    return _described(session.get_inputs()), _described(session.get_outputs())


def probe_model() -> bytes:
    """Return the model that tells whether the engine runs here; see `Driver`."""
    return files(__package__).joinpath("probe.onnx").read_bytes()


def kernels_model() -> bytes:
    """Return the model by which kernels are told; see `KernelDriver`."""
    return files(__package__).joinpath("kernels.onnx").read_bytes()


def _open(model: bytes, threads: int, *, level: Any = None) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    if level is not None:
        options.graph_optimization_level = level
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = _ONLY_FATAL
    # Idle threads that spin take the CPU from everything else on a small board.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        with _CREATING:
            # There is nothing to fall back to, and the attempt prints to stdout.
            return onnxruntime.InferenceSession(
                model, options, providers=["CPUExecutionProvider"], enable_fallback=False
            )
    except _FAILURES as err:
        raise EngineError(f"ONNX Runtime cannot load the file: {library_errors.plain(err)}") from err


def _described(arguments: Iterable[Any]) -> tuple[FileTensor, ...]:
    return tuple(FileTensor(one.name, _dtype(one.type), tuple(one.shape)) for one in arguments)


def _dtype(text: str) -> str:
    """Return NumPy's name of `tensor(float)` and its like."""
    name = text.removeprefix("tensor(").removesuffix(")")
    return _DTYPES.get(name, name)


def open_others(variant: Variant, model: bytes) -> Iterator[OnnxSession]:
    """Load an ONNX model as it stands, without operations that were merged or put in another order."""
    yield OnnxSession(_open(model, 1, level=onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL), variant)


class OnnxSession:
    """One inference session."""

    def __init__(self, session: onnxruntime.InferenceSession, variant: Variant) -> None:
        self._session = session
        self._options: dict[int, onnxruntime.RunOptions] = {}
        self._outputs = [tensor.tensor for tensor in variant.outputs]
        inputs, outputs = {i.name for i in session.get_inputs()}, {o.name for o in session.get_outputs()}
        if inputs != (wanted := {t.tensor for t in variant.inputs}):
            raise EngineError(f"expected inputs {sorted(wanted)}, found {sorted(inputs)} in the file")
        if not set(self._outputs) <= outputs:
            raise EngineError(f"expected outputs {sorted(self._outputs)}, found {sorted(outputs)} in the file")

    def invoke(self, feeds: Arrays) -> dict[str, Array]:
        """Compute the outputs; see `Session`."""
        thread = threading.get_ident()
        options = self._options.get(thread) or self._options_of(thread)
        try:
            found = self._session.run(self._outputs, dict(feeds), options)
        except _FAILURES as err:
            raise EngineError(f"ONNX Runtime failed: {library_errors.plain(err)}") from err
        return {name: np.asarray(value) for name, value in zip(self._outputs, found, strict=True)}

    def widen(self, _feeds: Arrays) -> None:
        """Nothing: how many threads a session has is said when it is made; see `Session`."""

    def narrow(self) -> None:
        """Nothing; see `Session`."""

    def give_up(self, thread: int) -> None:
        """Have it end before its next operation; see `Session`."""
        options = self._options.pop(thread, None)
        if options is not None:
            options.terminate = True

    def _options_of(self, thread: int) -> onnxruntime.RunOptions:
        if len(self._options) >= _MOST_OPTIONS:
            self._options = {}
        options = self._options[thread] = onnxruntime.RunOptions()
        options.log_severity_level = _ONLY_FATAL
        return options

    @property
    def members(self) -> int:
        """One, for any number of threads; see `Session`."""
        return 1

    def grow(self, members: int, *, rest: Rest = no_rest) -> None:
        """Nothing; see `Session`."""
