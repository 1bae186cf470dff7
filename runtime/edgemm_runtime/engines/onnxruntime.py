"""The engine for ONNX files: ONNX Runtime on the CPU, with one session for any number of threads.

Where lengths in a file follow values, its session has an arena of its own with a limit: what needs more is refused
before it is allocated. The arena is given back after each inference.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib.resources import files
from typing import Any

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as states

from edgemm import library_errors
from edgemm.bundle.manifest import Variant
from edgemm.errors import EngineError, UnavailableError
from edgemm_runtime.engines.drivers import Described, FileTensor
from edgemm_runtime.engines.lengths.onnx_graph import read_graph
from edgemm_runtime.engines.lengths.value_lengths import ONNX, follow_values, too_long
from edgemm_runtime.engines.pacing import Rest, no_rest
from edgemm_runtime.memory import request_memory
from edgemm_runtime.tensors.named_arrays import Array, Arrays

_CREATING = threading.Lock()  # creating two sessions at once is a race inside ONNX Runtime
_ONLY_FATAL = 4
_MOST_OPTIONS = 256
_FULL = "Available memory of"
"""How the arena says that it is full."""
_COPIED = 2
"""Of each output a copy is made outside of the arena."""
_KEPT_BYTES = 1024 * 1024
_SAME_AS_REQUESTED = 1
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
    limit_bytes = _limit_bytes(model)
    return OnnxSession(_open(model, threads, limit_bytes=limit_bytes), variant, limit_bytes=limit_bytes)


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


def _limit_bytes(model: bytes) -> int | None:
    """Return what an inference may take; None where shapes say how much that is, or other versions of the engine."""
    try:
        follow = follow_values(read_graph(model), ONNX)
    except (ValueError, RecursionError):
        follow = True  # what cannot be read here may be anything
    return request_memory.most_bytes() if follow else None


def _register(limit_bytes: int) -> None:
    """Have sessions that ask for the environment's arena get a new one from now on.

    A release that allows but one for all of them refuses the next: they share it.
    """
    kind = onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR
    info = onnxruntime.OrtMemoryInfo("Cpu", kind, 0, onnxruntime.OrtMemType.DEFAULT)
    arena = {"max_mem": limit_bytes, "arena_extend_strategy": _SAME_AS_REQUESTED}
    with suppress(*_FAILURES):
        onnxruntime.create_and_register_allocator(info, onnxruntime.OrtArenaCfg(arena))


def _open(
    model: bytes, threads: int, *, level: Any = None, limit_bytes: int | None = None
) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    if level is not None:
        options.graph_optimization_level = level
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = _ONLY_FATAL
    # Idle threads that spin take the CPU from everything else on a small board.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if limit_bytes is not None:
        options.add_session_config_entry("session.use_env_allocators", "1")
        # The file's own numbers are no part of what a request takes.
        options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
    try:
        with _CREATING, _arena(limit_bytes):
            # There is nothing to fall back to, and the attempt prints to stdout.
            return onnxruntime.InferenceSession(
                model, options, providers=["CPUExecutionProvider"], enable_fallback=False
            )
    except _FAILURES as err:
        raise EngineError(f"ONNX Runtime cannot load the file: {library_errors.plain(err)}") from err


@contextmanager
def _arena(limit_bytes: int | None) -> Iterator[None]:
    """Have the session that is made in the block get an arena with this limit, which goes with it; None: its usual one.

    The environment keeps the last arena that it was given, with the memory that is in it: it is given an empty one.
    """
    if limit_bytes is None:
        yield
        return
    _register(limit_bytes // _COPIED)
    try:
        yield
    finally:
        _register(_KEPT_BYTES)


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
    """One inference session; `limit_bytes` is what its arena lets an inference take, None where that has no limit."""

    def __init__(
        self, session: onnxruntime.InferenceSession, variant: Variant, *, limit_bytes: int | None = None
    ) -> None:
        self._session, self._limit_bytes = session, limit_bytes
        self._running: set[int] = set()
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
        if self._limit_bytes is not None:
            return self._within(self._limit_bytes, feeds, options)
        return self._run(feeds, options)

    def _within(self, limit_bytes: int, feeds: Arrays, options: onnxruntime.RunOptions) -> dict[str, Array]:
        """Compute the outputs in an arena with a limit, which other threads use too."""
        thread = threading.get_ident()
        alone = not self._running
        self._running.add(thread)
        try:
            return self._run(feeds, options)
        except EngineError as err:
            if _FULL not in str(err.__cause__):
                raise
            if alone and self._running == {thread}:
                raise too_long(limit_bytes) from err
            raise UnavailableError("the model has no memory for so much at once: try again later") from err
        finally:
            self._running.discard(thread)

    def _run(self, feeds: Arrays, options: onnxruntime.RunOptions) -> dict[str, Array]:
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
        if self._limit_bytes is not None:
            options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        return options

    @property
    def members(self) -> int:
        """One, for any number of threads; see `Session`."""
        return 1

    def grow(self, members: int, *, rest: Rest = no_rest) -> None:
        """Nothing; see `Session`."""
