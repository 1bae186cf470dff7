"""Without a server: the bare interpreter beside `edgemm_runtime.load(...).predict`, in turns, in a process of its own.

    python -m benchmarks.serving.inprocess SUBJECT MODEL BUNDLE SAMPLE.npy

Prints two lines of JSON: `Started` as soon as the first answer is there, then `InProcess`.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from simulators import needs

with needs.imports(__name__, "runtime"):
    import msgspec
    import numpy as np

    import edgemm_runtime
    from benchmarks.serving import memory
    from benchmarks.serving.memory import Memory
    from benchmarks.serving.protocols import OUTPUT
    from benchmarks.serving.subjects import SUBJECTS, Int8

_ROUNDS, _CALLS = 30, 100


class Started(msgspec.Struct, frozen=True):
    """The first answer, int8 as a flat list."""

    scores: list[int]


class InProcess(msgspec.Struct, frozen=True):
    """Medians of one call, and the memory of the process before bare's own interpreter was made."""

    bare_us: float
    predict_us: float
    memory: Memory


def main() -> None:
    subject = SUBJECTS[sys.argv[1]]
    model_path, bundle, sample_path = map(Path, sys.argv[2:])
    sample = np.load(sample_path)
    model = edgemm_runtime.load(bundle)
    is_float = model.manifest.signature.inputs[0].dtype.value == "float32"
    x = subject.input.reals(sample) if is_float else sample
    scores = model.predict(x)[OUTPUT]
    say(Started((subject.output.codes(scores) if is_float else scores).ravel().tolist()))
    held = memory.of([os.getpid()])
    taken = measure({"bare": bare_call(model_path, sample), "predict": lambda: model.predict(x)})
    say(InProcess(taken["bare"], taken["predict"], held))


def bare_call(model: Path, sample: Int8) -> Callable[[], object]:
    """Return a call of the interpreter alone, as short as it can be written."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(model), num_threads=1)
    interpreter.allocate_tensors()
    into = interpreter.get_input_details()[0]["index"]
    out = interpreter.get_output_details()[0]["index"]

    def call() -> object:
        interpreter.set_tensor(into, sample)
        interpreter.invoke()
        return interpreter.get_tensor(out)

    return call


def measure(calls: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Return the median time of each call in µs; rounds take them in turn."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(_ROUNDS):
        for name, call in calls.items():
            for _ in range(_CALLS):
                start = time.perf_counter_ns()
                call()
                taken[name].append((time.perf_counter_ns() - start) / 1000)
    return {name: statistics.median(times) for name, times in taken.items()}


def say(value: msgspec.Struct) -> None:
    """Print a line for the process that waits for it."""
    print(msgspec.json.encode(value).decode(), flush=True)


if __name__ == "__main__":
    main()
