"""The engine for TFLite files: LiteRT (`ai-edge-litert`), or `tflite-runtime` in its place.

An interpreter is one set of tensors in memory, so one thread has it from writing its inputs to copying its outputs;
`invoke` itself releases the GIL. There is a pool of interpreters, all over the same bytes of the model. A quick model
has one more, with several CPU threads, for requests that have the machine to themselves.

Variable dimensions are resized when a request's shape differs from the interpreter's last one. A file may have variable
dimensions beside the batch. It says 1 for each, a size that it may not be able to compute. The interpreters of such a
file get their memory with the first request.

Where lengths in a file follow values, an inference runs in a limit on what this process allocates. An interpreter keeps
what its longest output took, so that one with a long output is replaced.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from importlib.resources import files
from typing import Any

import numpy as np

from edgemm import library_errors
from edgemm.bundle.manifest import DType, Variant, VariantTensor
from edgemm.errors import EngineError
from edgemm_runtime.engines import native_log
from edgemm_runtime.engines.drivers import Described, FileTensor
from edgemm_runtime.engines.interpreter import SURVIVES_LIMITS, Interpreter, OpResolverType
from edgemm_runtime.engines.lengths.tflite_graph import read_graph
from edgemm_runtime.engines.lengths.value_lengths import TFLITE, follow_values
from edgemm_runtime.engines.pacing import Rest, no_rest
from edgemm_runtime.engines.pool import Pool
from edgemm_runtime.engines.width import Wide
from edgemm_runtime.memory import data_limit, request_memory
from edgemm_runtime.tensors.named_arrays import Array, Arrays

_KEPT_BYTES = 4 * 1024 * 1024


def open_session(variant: Variant, model: bytes, threads: int) -> LiteRtSession:
    """Load a flatbuffer; it may compute as many requests at once as `threads` go into the machine's CPUs.

    Raises:
        EngineError: it is damaged, or lacks a tensor of `variant`.
    """
    for tensor in (*variant.inputs, *variant.outputs):
        if tensor.dtype is DType.STRING:
            raise EngineError(f"tensor {tensor.tensor!r} is of strings, which edgemm serves by ONNX Runtime alone")
    members = max(1, (os.cpu_count() or 1) // threads)
    limit_bytes = request_memory.most_bytes() if SURVIVES_LIMITS and _follow_values(model) else None
    return LiteRtSession(model, variant, threads=threads, members=members, limit_bytes=limit_bytes)


def _follow_values(model: bytes) -> bool:
    try:
        return follow_values(read_graph(model), TFLITE)
    except ValueError:
        return True  # what cannot be read here may be anything


def describe(model: bytes) -> Described:
    """Return the tensors of a plain file; see `Driver`.

    Raises:
        EngineError: it is damaged.
    """
    with _refusals(), native_log.in_the_log():
        interpreter = Interpreter(model_content=model)
    return _described(interpreter.get_input_details()), _described(interpreter.get_output_details())


def probe_model() -> bytes:
    """Return the model that tells whether the engine runs here; see `Driver`."""
    return files(__package__).joinpath("probe.tflite").read_bytes()


def kernels_model() -> bytes:
    """Return the model by which kernels are told; see `KernelDriver`."""
    return files(__package__).joinpath("kernels.tflite").read_bytes()


def open_others(variant: Variant, model: bytes) -> Iterator[LiteRtSession]:
    """Load a flatbuffer without XNNPACK, and with the reference kernels; see `KernelDriver`."""
    for resolver in (OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES, OpResolverType.BUILTIN_REF):
        yield LiteRtSession(model, variant, threads=1, members=1, resolver=resolver)


class LiteRtSession:
    """A pool of interpreters of one file; `limit_bytes` is what an inference may allocate, None where it is fixed."""

    def __init__(
        self,
        model: bytes,
        variant: Variant,
        *,
        threads: int,
        members: int,
        resolver: OpResolverType | None = None,
        limit_bytes: int | None = None,
    ) -> None:
        self._limit_bytes = limit_bytes
        # No method of this session: in a circle, what is swapped out would wait for a collection of garbage.
        make = partial(_open_member, model, threads, resolver)
        first, self._make = make(), make
        self._inputs = {t.tensor: _find(t, first.inputs, what="input") for t in variant.inputs}
        self._outputs = {t.tensor: _find(t, first.outputs, what="output") for t in variant.outputs}
        if unfed := {d["name"] for d in first.inputs} - set(self._inputs):
            raise EngineError(f"the file's input {min(unfed)!r} is not among the variant's")
        self._pool = Pool(first, make, size=members)
        self._make_wide = (
            partial(_open_member, model, max(2, (os.cpu_count() or 1) // 2), resolver)
            if members > 1 and limit_bytes is None
            else None
        )
        self._wide: Wide[_Member] | None = None

    def invoke(self, feeds: Arrays) -> dict[str, Array]:
        """Compute the outputs; see `Session`."""
        wide = self._wide
        is_wide = None if wide is None or self._pool.busy else wide.take()
        if wide is None or is_wide is None:
            return self._invoke_narrow(feeds)
        took, start_s = None, time.perf_counter()
        try:
            outputs = self._compute(wide.member, feeds) if is_wide else self._invoke_narrow(feeds)
            # By the byte, for requests of different sizes.
            took = (time.perf_counter() - start_s) / max(1, _size(feeds))
            return outputs
        finally:
            wide.give(took)

    def widen(self, feeds: Arrays) -> dict[str, Array] | None:
        """Let a lone inference take half the machine's CPUs, at least two, where that is quicker; see `Session`."""
        if self._make_wide is None:
            return None
        member = self._make_wide()
        found = self._compute(member, feeds)
        self._wide = Wide(member)
        return found

    def narrow(self) -> None:
        """Take back `widen`; see `Session`."""
        self._wide = None

    def give_up(self, thread: int) -> None:
        """Do without the interpreter that hangs in a thread; see `Session`."""
        if self._wide is not None and self._wide.give_up(thread):
            self._wide = None
        else:
            self._pool.give_up(thread)

    @property
    def members(self) -> int:
        """How many interpreters there are; see `Session`."""
        return self._pool.made

    def grow(self, members: int, *, rest: Rest = no_rest) -> None:
        """Make interpreters, and let each compute once: the first time takes as long as none after it."""
        while new := self._pool.grow(min(members, self._pool.made + 1)):
            rest()
            for member in new:
                member.warm_up()
                rest()

    def _invoke_narrow(self, feeds: Arrays) -> dict[str, Array]:
        member = self._pool.take()
        if self._limit_bytes is not None:
            return self._within(self._limit_bytes, member, feeds)
        try:
            return self._compute(member, feeds)
        finally:
            self._pool.give(member)

    def _within(self, limit_bytes: int, member: _Member, feeds: Arrays) -> dict[str, Array]:
        """Compute the outputs in a limit; an interpreter that may have much memory by then is replaced."""
        small = False
        try:
            with data_limit.within(limit_bytes):
                found = self._compute(member, feeds)
            small = _size(found) <= _KEPT_BYTES
        except EngineError as err:
            raise EngineError(f"{err}; it may take {limit_bytes:,} bytes of memory") from err
        else:
            return found
        finally:
            if not small:
                with suppress(EngineError):
                    member = self._make()
            self._pool.give(member)

    def _compute(self, member: _Member, feeds: Arrays) -> dict[str, Array]:
        interpreter = member.interpreter
        try:
            member.resize(feeds, self._inputs)
            for name, array in feeds.items():
                interpreter.set_tensor(self._inputs[name], array)
            interpreter.invoke()
            return {name: interpreter.get_tensor(index) for name, index in self._outputs.items()}
        except (ValueError, RuntimeError) as err:
            raise EngineError(f"LiteRT failed: {library_errors.plain(err)}") from err
        except MemoryError as err:
            raise EngineError("LiteRT failed: there is no memory for the output") from err


def _open_member(model: bytes, threads: int, resolver: OpResolverType | None) -> _Member:
    chosen = {"experimental_op_resolver_type": resolver} if resolver is not None else {}
    with _refusals(), native_log.in_the_log():
        return _Member(Interpreter(model_content=model, num_threads=threads, **chosen))


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except (ValueError, RuntimeError) as err:
        raise EngineError(f"LiteRT cannot load the file: {library_errors.plain(err)}") from err


class _Member:
    """One interpreter, and the shapes that its inputs have now."""

    def __init__(self, interpreter: Interpreter) -> None:
        self.interpreter = interpreter
        self.inputs, self.outputs = interpreter.get_input_details(), interpreter.get_output_details()
        self._shapes = {d["name"]: tuple(d["shape"]) for d in self.inputs}
        self._allocated = not any(-1 in details["shape_signature"][1:] for details in self.inputs)
        if self._allocated:
            interpreter.allocate_tensors()

    def warm_up(self) -> None:
        """Compute whatever is in memory, where its size is known."""
        if self._allocated:
            try:
                self.interpreter.invoke()
            except (ValueError, RuntimeError) as err:
                raise EngineError(f"LiteRT failed: {library_errors.plain(err)}") from err

    def resize(self, feeds: Arrays, indices: Mapping[str, int]) -> None:
        """Make room for inputs of other shapes than the last ones."""
        shapes = self._shapes
        for name, array in feeds.items():
            if shapes[name] != array.shape:
                break
        else:
            if self._allocated:
                return  # as most often
        changed = {name: a.shape for name, a in feeds.items() if shapes[name] != a.shape}
        # Forgotten first: if resizing fails half way, the next request resizes again.
        self._shapes.update(dict.fromkeys(changed, ()))
        for name, shape in changed.items():
            self.interpreter.resize_tensor_input(indices[name], shape)
        with nullcontext() if self._allocated else native_log.in_the_log():
            self.interpreter.allocate_tensors()
        self._allocated = True
        self._shapes.update(changed)


def _size(arrays: Arrays) -> int:
    """Return the bytes of arrays; a loop, for the sum of a generator takes thrice the time."""
    size = 0
    for array in arrays.values():
        size += array.nbytes
    return size


def _described(details: Iterable[Mapping[str, Any]]) -> tuple[FileTensor, ...]:
    return tuple(FileTensor(d["name"], np.dtype(d["dtype"]).name, tuple(d["shape"])) for d in details)


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
